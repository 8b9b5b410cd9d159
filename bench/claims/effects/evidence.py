"""What claims are judged by: tables, pairs of sides, and bounds of what was cut short."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from bench.analysis.bounds import Sample
from bench.analysis.quality import enough_undisturbed, is_cut_off, is_undisturbed
from bench.claims.catalogue import catalogue

T = TypeVar("T")


DEFAULT, TUNED, RATES = "default", "tuned", "rates"
"""Why a run was made: at a side's settings, with the best learning rate of equally many trials, at every rate."""


TRAIN_LOSS, STEPS_TO_TARGET, VAL_LOSS = "train_loss", "steps_to_target", "final_val_loss"
"""What learning rates are chosen by: values of `sweep.select`."""


TUNED_FOR = {
    VAL_LOSS: TUNED,
    STEPS_TO_TARGET: f"{TUNED}-{STEPS_TO_TARGET}",
    TRAIN_LOSS: f"{TUNED}-{TRAIN_LOSS}",
}
"""Why a run of a tuned side was made, by what its learning rate was chosen by."""


NUM_TRIALS = 9
"""Learning rates that are tried: every half decade of four."""


CHOSEN_BY = {why: select for select, why in TUNED_FOR.items()}
"""What the learning rate of a tuned side was chosen by, by why its runs were made."""


SEEDS_PER_TRIAL = 3
"""Seeds on which the learning rates that may be best are tried."""


MIXED = "mixed"
"""What is judged from one side (or several, with | between them) as they come and the other tuned."""


ENDED = ("ok", "diverged")
"""How a run may end whose result counts."""


COLUMNS = [
    "run_id", "seed", "status", "reason", "lr", "optimizer", "environment_id", "launcher", "timing_quality", "step_cost_id",
    "num_steps", "num_steps_budget", "num_evaluations", "train_s", "first_train_loss", "final_train_loss", "final_val_loss",
    "best_val_loss", "final_test_loss", "test_loss_at_best_val", "test_accuracy_at_best_val", "moved_test_accuracy",
    "peak_tensors_mib", "latency_ms", "num_looks", "edge",
]  # fmt: skip
"""Columns of `runs` that quantities are made of."""


class NotMeasured(Exception):
    """Say why these tables do not give a quantity.

    Args:
        key: Why: a key of the reasons in `bench.claims.catalogue`.
        there: Whether there are runs nevertheless, so that the verdict is "cannot tell"; otherwise it is "not run".
        values: What the reason has in its braces.

    Examples:
        >>> why = NotMeasured("not_run", there=False, side="adam")
        >>> str(why)
        'adam was not run'
        >>> why.text("zh")
        'adam 未运行'
    """

    def __init__(self, key: str, there: bool = True, **values: object) -> None:
        self.key, self.there, self.values = key, there, values
        super().__init__(self.text("en"))

    def text(self, language: str) -> str:
        """Return the reason in a language, such as "en"."""
        return catalogue(language)["reasons"][self.key].format(**self.values)


@dataclass(frozen=True)
class Evidence:
    """The tables that claims are judged by.

    Attributes:
        runs: Table `runs`.
        curves: Table `curves`.
        step_costs: Side table `step_costs`.
        claim_runs: Side table `claim_runs`: which runs are of which workload and side.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    step_costs: pd.DataFrame
    claim_runs: pd.DataFrame

    @functools.cached_property
    def _memo(self) -> dict[tuple[Hashable, ...], Any]:
        return {}

    def once(self, key: tuple[Hashable, ...], compute: Callable[[], T]) -> T:
        """Return what was computed from these tables under a key, computing it first: a side stands against several others."""
        if key not in self._memo:
            self._memo[key] = compute()
        found: T = self._memo[key]
        return found

    @functools.cached_property
    def _sides(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """Return the runs of every side, with the columns that quantities are made of."""
        runs = self.runs.reindex(columns=COLUMNS).drop_duplicates("run_id").set_index("run_id", drop=False)
        groups = self.claim_runs.groupby(["workload", "side", "at"], sort=False)["run_id"]
        return {key: runs[runs.index.isin(ids)].reset_index(drop=True) for key, ids in groups}

    @functools.cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Return where the points of each run stand in `curves`."""
        return dict(self.curves.groupby("run_id", sort=False).indices)

    def curves_of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Return the points of the curves of some runs."""
        places = [self._places[run] for run in runs["run_id"] if run in self._places]
        return self.curves.iloc[np.concatenate(places) if places else []]

    def num_looks(self, workload: str, made_for: Iterable[tuple[str, str]]) -> int:
        """Return at how many numbers of seeds runs were to be looked at, 1 unless seeds were added in rounds.

        Args:
            workload: Its name.
            made_for: Sides, each with why its runs were made.
        """
        runs = [self._sides[workload, side, at]["num_looks"] for side, at in made_for if self.has(workload, side, at)]
        planned = pd.concat(runs).dropna() if runs else pd.Series(dtype=float)
        return int(planned.max()) if len(planned) else 1

    def is_at_edge(self, workload: str, side: str, at: str) -> bool:
        """Tell whether the hyperparameters of a tuned side lie at the end of what was tried."""
        return self.has(workload, side, at) and bool(self._sides[workload, side, at]["edge"].notna().any())

    def has(self, workload: str, side: str, at: str) -> bool:
        """Tell whether there are runs of one side of a comparison."""
        return (workload, side, at) in self._sides

    def of(self, workload: str, side: str, at: str) -> pd.DataFrame:
        """Return the runs of one side of a comparison, one row each, to be read only.

        Raises:
            NotMeasured: There are none.
        """
        return self.once(("of", workload, side, at), lambda: self._of(workload, side, at))

    def _of(self, workload: str, side: str, at: str) -> pd.DataFrame:
        runs = self._sides.get((workload, side, at))
        if runs is None or runs.empty:
            raise NotMeasured("not_run", there=False, side=side)
        lost = runs[~runs["status"].isin(ENDED)]
        if len(lost) and len(lost) == len(runs):
            raise NotMeasured("no_run_ended", side=side, reason=lost["reason"].iloc[0])
        return runs[runs["status"].isin(ENDED)].sort_values("seed", kind="stable")

    def without(self, ats: Collection[str]) -> Evidence:
        """Return these tables less the runs made for some reasons; what was computed is shared."""
        kept = ~self.claim_runs["at"].isin(ats)
        other = replace(self, claim_runs=self.claim_runs[kept].reset_index(drop=True))
        # keys of sides end in what their runs were made for, all others hold for any choice of runs
        other._memo.update({key: value for key, value in self._memo.items() if key[-1] not in ats})
        return other


@dataclass(frozen=True)
class Pair:
    """Two sides of a comparison; `b` is None where a quantity is held against a number.

    Attributes:
        at: Why its runs were made: DEFAULT, one of TUNED_FOR, or RATES or MIXED.
        target: Validation loss to reach; None: the higher of the sides' median final ones.
    """

    evidence: Evidence
    workload: str
    a: str
    b: str | None
    at: str
    target: float | None

    def sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the runs of both."""
        assert self.b is not None
        return self.evidence.of(self.workload, self.a, self.at), self.evidence.of(self.workload, self.b, self.at)

    def points(self, runs: pd.DataFrame, split: str, metric: str) -> pd.DataFrame:
        """Return the points of the curves of some runs, in order."""
        curves = self.evidence.curves_of(runs)
        chosen = (curves["split"] == split) & (curves["metric"] == metric)
        return curves[chosen].sort_values(["run_id", "step"], kind="stable")


def common_seeds(a: pd.Series, b: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of both at the seeds they have in common."""
    first, second = a.align(b, join="inner")
    return first.to_numpy(float), second.to_numpy(float)


Bounds = tuple[pd.Series, pd.Series]
"""What a number is at least and at most, by seed."""


def bounds_between(a: Bounds, b: Bounds) -> Sample:
    """Return the differences of two numbers that are known to bounds, at the seeds they have in common.

    Raises:
        NotMeasured: Fewer than two have both.
    """
    low = np.subtract(*common_seeds(a[0], b[1]))
    high = np.subtract(*common_seeds(a[1], b[0]))
    usable = ~(np.isnan(low) | np.isnan(high))
    if usable.sum() < 2:
        raise NotMeasured("too_few_common_seeds")
    return Sample(low[usable], high[usable])


def sample_of(differences: np.ndarray) -> Sample:
    """Return differences that are known exactly as a sample, missing values left out.

    Raises:
        NotMeasured: Fewer than two are left.
    """
    differences = differences[np.isfinite(differences)]
    if len(differences) < 2:
        raise NotMeasured("too_few_common_seeds")
    return Sample(differences, differences)


def column_of(name: str, scale: float = 1.0, log: bool = True) -> Callable[[Pair], Sample]:
    """Return the function that takes a quantity from a column of `runs`.

    Of a run whose loss left the finite numbers, what was best on the way is known, where it was evaluated; else a loss is at
    least that of the first step, and an accuracy something from 0 to 1. Of a run that was cut off for a high loss, nothing
    bounds what it would have come to.
    """

    def sample(pair: Pair) -> Sample:
        bounds = []
        for runs in pair.sides():
            by_seed = runs.set_index("seed")
            diverged = (by_seed["status"] == "diverged").to_numpy(bool)
            if name not in runs or (by_seed.loc[~diverged, name].isna().all() and not diverged.all()):
                raise NotMeasured("not_recorded", there=False, column=name)
            values = by_seed[name].astype(float)
            unknown = diverged & (values.isna().to_numpy(bool) | ("at_best_val" not in name))
            least = by_seed["first_train_loss"].astype(float) if "loss" in name else 0.0 * values.fillna(0.0)
            least = least.mask(is_cut_off(by_seed), 0.0) if "loss" in name else least
            low = values.where(~unknown, least)
            high = values.where(~unknown, math.inf if "loss" in name else 1.0)
            if log and (low[~unknown] <= 0).any():
                raise NotMeasured("no_ratio", column=name)
            with np.errstate(divide="ignore"):
                bounds.append((np.log(low), np.log(high)) if log else (scale * low, scale * high))
        return bounds_between(*bounds)

    return sample


def undisturbed(runs: pd.DataFrame) -> pd.DataFrame:
    """Return those runs whose own times may be used, see `is_undisturbed`.

    Raises:
        NotMeasured: They are too few, see `enough_undisturbed`.
    """
    if not enough_undisturbed(runs):
        raise NotMeasured("contended")
    return runs[is_undisturbed(runs)]
