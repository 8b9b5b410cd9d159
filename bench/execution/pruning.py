"""Decide when a trial is stopped early, from the histories of earlier trials."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.base.errors import UserError
from bench.base.files import replacing

NUM_BEFORE_PRUNING = 4
"""Trials of an optimizer that end before a later one may be given up."""


def write_history(path: Path, trials: Sequence[Mapping[int, float]]) -> None:
    """Write the histories of finished trials: the validation loss by step of each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(json.dumps([{str(step): value for step, value in seen.items()} for seen in trials]).encode())


def pruner(path: str) -> Callable[[int, float], bool]:
    """Return a function that decides whether to stop a trial: its lowest loss so far is above the median of finished trials.

    By Optuna's MedianPruner, once `NUM_BEFORE_PRUNING` trials have finished. It knows only what stood in the
    file before, so that runs side by side are judged as runs in a row.

    Args:
        path: What `write_history` wrote.

    Raises:
        UserError: It cannot be read.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        finished = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"trial.history must be a file that sweep=tuned wrote, got {path} ({error}); leave it out"
        ) from None
    study: Any = optuna.create_study(pruner=optuna.pruners.MedianPruner(NUM_BEFORE_PRUNING))
    for seen in finished:
        values = {int(step): value for step, value in seen.items()}
        study.add_trial(optuna.trial.create_trial(value=min(values.values()), intermediate_values=values))
    trial = study.ask()

    def should_prune(step: int, value: float) -> bool:
        trial.report(value, step)
        return bool(trial.should_prune())

    return should_prune
