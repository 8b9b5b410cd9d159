"""Which loss is to be reached: given, that of a baseline, or one that most runs of most optimizers reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.base.errors import UserError

MOST = 0.75
"""Share of the runs, and of the optimizers, that are to reach the default target."""


SHARES = {0.5: "half", 0.75: "three quarters", 1.0: "all"}
"""Shares of the budget in which they are to reach it, in words: one target each, the middle one by default."""


LEARNED = 0.1
"""Share of the largest fall of the validation loss that an optimizer must show to have a say in the default target."""


class Target(NamedTuple):
    """A loss to reach, and where it comes from, in words."""

    value: float
    words: str


class Goal(NamedTuple):
    """How the target of every section is chosen: a loss, or the baseline whose loss it is; by default neither."""

    value: float | None = None
    baseline: str | None = None

    def target(self, runs: pd.DataFrame, curves: pd.DataFrame, shown: Sequence[str]) -> Target | None:
        """Return the target of one section; None where its baseline was not run there, or there is nothing to compare.

        Args:
            runs: Rows of one section, with `series`.
            curves: Rows of `curves`.
            shown: The series that figures show, which the default rule goes by.

        Raises:
            UserError: `value` is not finite.
        """
        if self.value is not None:
            if not math.isfinite(self.value):
                raise UserError(f"target must be a finite number, got {self.value}; give a loss")
            return Target(float(self.value), "as given")
        if self.baseline is not None:
            return loss_of_baseline(runs, self.baseline)
        levels = default_targets(runs[runs["series"].isin(shown)], curves)
        return levels[(len(levels) - 1) // 2] if levels else None


BY_RULE = Goal()
"""The default rule: `default_targets`."""


def loss_of_baseline(runs: pd.DataFrame, baseline: str) -> Target | None:
    """Return the median final validation loss of a series, or of an optimizer's series where that is lowest.

    Args:
        runs: Rows of one section, with `series`.
        baseline: Name of a series or an optimizer.

    Returns:
        None where it was not run, or no run of it ended ok.
    """
    known = runs[(runs["stage"] != "predicted") & (runs["status"] == "ok")].astype({"final_val_loss": float})
    named = known[(known["series"] == baseline) | (known["optimizer"] == baseline)]
    medians = named.groupby("series")["final_val_loss"].median().dropna().sort_values()
    return Target(float(medians.iloc[0]), f"the median final one of {medians.index[0]}") if len(medians) else None


def default_targets(runs: pd.DataFrame, curves: pd.DataFrame) -> list[Target]:
    """Return validation losses that most runs of most optimizers reach in half, three quarters and all of the budget.

    Of each series, the loss that three quarters of its runs are at or below by then; of these losses, one that three
    quarters of the series are at or below. A series whose validation loss falls by less than a tenth of the largest fall
    has not learned, and has no say: its chance level is no target.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.

    Returns:
        The loosest first; none where there are fewer than two series, or no curves. Losses that runs begin at or below are
        left out.
    """
    made = runs[(runs["stage"] != "predicted") & runs["status"].isin(("ok", "diverged", "timeout", "oom"))]
    if made["series"].nunique() < 2:
        return []
    of_runs = curves["run_id"].isin(made["run_id"])
    points = curves[(curves["split"] == "val") & (curves["metric"] == "loss") & of_runs].sort_values(["run_id", "step"])
    if points.empty:
        return []
    table = points.merge(made[["run_id", "series", "num_steps_budget"]], on="run_id")
    start = table.groupby("run_id")["value"].first()
    series = made.set_index("run_id")["series"]
    falls = float(start.median()) - table.groupby("run_id")["value"].min().groupby(series).median()
    if not falls.max() > 0:
        return []
    learned = falls.index[falls >= LEARNED * falls.max()]
    found: list[Target] = []
    for share, words in SHARES.items():
        by_then = table[(table["step"] <= share * table["num_steps_budget"]) & table["series"].isin(learned)]
        lowest = by_then.groupby(["series", "run_id"])["value"].min()
        value = _reached_by_most(lowest.groupby("series").agg(_reached_by_most))
        if value < start.min() and value not in [target.value for target in found]:
            found.append(
                Target(value, f"which 3 in 4 runs of 3 in 4 optimizers that learn reach within {words} of the budget")
            )
    return found


def _reached_by_most(losses: pd.Series) -> float:
    """Return the lowest of some losses that three quarters of them are at or below."""
    return float(np.sort(losses.to_numpy(float))[math.ceil(MOST * len(losses)) - 1])
