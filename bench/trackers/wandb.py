"""Runs in Weights & Biases: a project for each study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import wandb

from bench.base.files import remove_folder
from bench.trackers.mapping import Point, TrackedRun


class Tracker:
    """Projects of Weights & Biases, or files for them.

    Args:
        mode: offline or online.
        entity: User or team; None: the account's own.
        folder: Of the files.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(
        self, mode: Literal["offline", "online"] = "offline", entity: str | None = None, folder: str = "wandb"
    ) -> None:
        self._mode, self._entity, self._folder = mode, entity, Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        offline = f"wandb sync {folder}/wandb/offline-run-* sends them to its server"
        self.where = offline if mode == "offline" else "https://wandb.ai shows them"

    def begin(self, run: TrackedRun) -> _RunLog:
        """See `bench.trackers.base.Tracker`."""
        return _RunLog(self._new_run(run.study, run.name, run.settings), run.started)

    def add_figures(self, study: str, figures: Sequence[Path]) -> None:
        """See `bench.trackers.base.Tracker`."""
        made = self._new_run(study, "report", {})
        made.log({figure.stem: wandb.Image(str(figure)) for figure in figures})
        made.finish()

    def _new_run(self, study: str, name: str, settings: Mapping[str, Any]) -> Any:
        key = f"{study}-{name}"  # of its own in all projects; `wandb sync` replaces what it sent under it before
        for old in (self._folder / "wandb").glob(f"offline-run-*-{key}"):
            remove_folder(old)
        return wandb.init(
            project=study, entity=self._entity, id=key, name=name, config=dict(settings), mode=self._mode, dir=self._folder,
            reinit="create_new", settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )  # fmt: skip


class _RunLog:
    def __init__(self, made: Any, started: float) -> None:
        self._made, self._started = made, started

    def add(self, points: Sequence[Point]) -> None:
        """See `bench.trackers.base.RunLog`."""
        for step, same in groupby(points, key=lambda point: point[0]):
            together = list(same)
            self._made.log(
                {**{tag: value for _, _, tag, value in together}, "train_time_s": together[-1][1] - self._started},
                step=step,
            )

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """See `bench.trackers.base.RunLog`."""
        self._made.summary.update({**results, "status": status})
        self._made.finish(exit_code=int(status not in ("ok", "pruned")))
