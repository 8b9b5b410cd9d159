"""What claims are measured by: from tables to a paired sample of each quantity.

A quantity gives for each seed how `a` stands to `b`: the difference of natural logs where it is a ratio, the
plain difference otherwise. What is only known to exceed something (the steps of a run that never got to the
target) enters as a bound.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bench.claims.judge import Sample, Spread
from bench.report import stats
from bench.report.tuning import basin_width, best_of_k

DEFAULT, TUNED, RATES = "default", "tuned", "rates"
"""Why a run was made: at a side's settings, with the best learning rate of equally many trials, at every rate."""

NUM_TRIALS = 9
"""Learning rates that are tried: every half decade of four."""

MIXED = "mixed"
"""What is judged from one side (or several, with | between them) as they come and the other tuned."""

ENDED = ("ok", "diverged")
"""How a run may end whose result counts."""


COLUMNS = [
    "run_id", "seed", "status", "reason", "lr", "optimizer", "environment_id", "launcher", "timing_quality", "step_cost_id",
    "num_steps", "num_steps_budget", "num_evaluations", "train_s", "first_train_loss", "final_train_loss", "final_val_loss",
    "best_val_loss", "final_test_loss", "test_loss_at_best_val", "test_accuracy_at_best_val", "moved_test_accuracy",
    "peak_tensors_mib", "latency_ms",
]  # fmt: skip
"""Columns of `runs` that quantities are made of."""


class NotMeasured(Exception):
    """Why a quantity cannot be had from these tables.

    Attributes:
        there: Whether runs are there all the same, so that it cannot be told; otherwise it was not run.
    """

    def __init__(self, why: str, there: bool = True) -> None:
        super().__init__(why)
        self.there = there


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
    def _sides(self) -> dict[tuple[str, str, str], pd.DataFrame]:
        """The runs of every side, with the columns that quantities are made of."""
        runs = self.runs.reindex(columns=COLUMNS).drop_duplicates("run_id").set_index("run_id", drop=False)
        groups = self.claim_runs.groupby(["workload", "side", "at"], sort=False)["run_id"]
        return {key: runs[runs.index.isin(ids)].reset_index(drop=True) for key, ids in groups}

    @functools.cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Where the points of each run stand in `curves`."""
        return dict(self.curves.groupby("run_id", sort=False).indices)

    def curves_of(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Points of the curves of some runs."""
        places = [self._places[run] for run in runs["run_id"] if run in self._places]
        return self.curves.iloc[np.concatenate(places) if places else []]

    def of(self, workload: str, side: str, at: str) -> pd.DataFrame:
        """The runs of one side of a comparison, one row each.

        Raises:
            NotMeasured: There are none.
        """
        runs = self._sides.get((workload, side, at))
        if runs is None or runs.empty:
            raise NotMeasured(f"{side} was not run", there=False)
        lost = runs[~runs["status"].isin(ENDED)]
        if len(lost) and len(lost) == len(runs):
            raise NotMeasured(f"no run of {side} ended: {lost['reason'].iloc[0]}")
        return runs[runs["status"].isin(ENDED)].sort_values("seed", kind="stable")


@dataclass(frozen=True)
class Pair:
    """Two sides of a comparison; `b` is None where a quantity is held against a number.

    Attributes:
        at: DEFAULT or TUNED; RATES for quantities over learning rates.
        target: Validation loss to reach; None: the higher of the sides' median final ones.
    """

    evidence: Evidence
    workload: str
    a: str
    b: str | None
    at: str
    target: float | None

    def sides(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The runs of both."""
        assert self.b is not None
        return self.evidence.of(self.workload, self.a, self.at), self.evidence.of(self.workload, self.b, self.at)

    def points(self, runs: pd.DataFrame, split: str, metric: str) -> pd.DataFrame:
        """Points of the curves of some runs, in order."""
        curves = self.evidence.curves_of(runs)
        chosen = (curves["split"] == split) & (curves["metric"] == metric)
        return curves[chosen].sort_values(["run_id", "step"], kind="stable")


def _joined(a: pd.Series, b: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Values of both at the seeds they have in common."""
    first, second = a.align(b, join="inner")
    return first.to_numpy(float), second.to_numpy(float)


Bounds = tuple[pd.Series, pd.Series]
"""What a number is at least and at most, by seed."""


def _between(a: Bounds, b: Bounds) -> Sample:
    """Differences of two numbers that are known to bounds, at the seeds they have in common.

    Raises:
        NotMeasured: Fewer than two have both.
    """
    low = np.subtract(*_joined(a[0], b[1]))
    high = np.subtract(*_joined(a[1], b[0]))
    usable = ~(np.isnan(low) | np.isnan(high))
    if usable.sum() < 2:
        raise NotMeasured("fewer than two seeds have it on both sides")
    return Sample(low[usable], high[usable])


def _known(differences: np.ndarray) -> Sample:
    differences = differences[np.isfinite(differences)]
    if len(differences) < 2:
        raise NotMeasured("fewer than two seeds have it on both sides")
    return Sample(differences, differences)


def _column(name: str, scale: float = 1.0, log: bool = True) -> Callable[[Pair], Sample]:
    """A quantity that stands in `runs`.

    Of a run that diverged, what was best on the way is known, where it was evaluated; else a loss is at least that of
    the first step, and an accuracy something from 0 to 1.
    """

    def sample(pair: Pair) -> Sample:
        bounds = []
        for runs in pair.sides():
            by_seed = runs.set_index("seed")
            diverged = (by_seed["status"] == "diverged").to_numpy(bool)
            if name not in runs or (by_seed.loc[~diverged, name].isna().all() and not diverged.all()):
                raise NotMeasured(f"{name} was not recorded", there=False)
            values = by_seed[name].astype(float)
            unknown = diverged & (values.isna().to_numpy(bool) | ("at_best_val" not in name))
            least = by_seed["first_train_loss"].astype(float) if "loss" in name else 0.0 * values.fillna(0.0)
            low = values.where(~unknown, least)
            high = values.where(~unknown, math.inf if "loss" in name else 1.0)
            if log and (low <= 0).any():
                raise NotMeasured(f"{name} is 0 in some run, so that it has no ratio")
            bounds.append((np.log(low), np.log(high)) if log else (scale * low, scale * high))
        return _between(*bounds)

    return sample


# --- speed ------------------------------------------------------------------------------------------


def _target(pair: Pair) -> float:
    if pair.target is not None:
        return pair.target
    medians = [runs["final_val_loss"].astype(float).median() for runs in pair.sides()]
    if not np.isfinite(medians).all():
        raise NotMeasured("no run of one side ended with a validation loss")
    return float(max(medians))


def steps_to_target(pair: Pair) -> Sample:
    """Gradient evaluations until the validation loss is at most the target: steps, but several a step for L-BFGS."""
    return _reached(pair, pair.sides(), "step")


def time_to_target(pair: Pair) -> Sample:
    """Steps to the target times the separately measured, interleaved time of a training step; else the runs' own time.

    A step whose time was measured alone computes one gradient; that of L-BFGS, which computes more, cannot be.
    """
    a, b = pair.sides()
    try:
        ratio, error, df = _step_time_ratio(pair, a, b, "train_step_us")
    except NotMeasured:
        if all((runs["launcher"].fillna("local") == "local").all() for runs in (a, b)):
            return _reached(pair, (undisturbed(a), undisturbed(b)), "train_time_s")
        raise
    steps = _reached(pair, (a, b), "step", counts_evaluations=False)
    return replace(steps, low=steps.low + ratio, high=steps.high + ratio, errors=((error, df),))


def _reached(
    pair: Pair, sides: tuple[pd.DataFrame, pd.DataFrame], axis: str, counts_evaluations: bool = True
) -> Sample:
    """Differences of the logs of where runs of both sides reach the target, on an axis of the curves.

    Between two evaluations log loss is interpolated, so that equal evaluation points make no ties.
    """
    target = _target(pair)
    bounds = []
    for runs in sides:
        each = stats.steps_to_target(runs.assign(series="one"), pair.evidence.curves_of(runs), target)
        made = runs.set_index("run_id").loc[each["run_id"]]
        points = dict(tuple(pair.points(runs, "val", "loss").groupby("run_id", sort=False)))
        crossed = np.array(
            [
                _crossing(points[run], target, axis) if ok else math.inf
                for run, ok in zip(each["run_id"], each["reached"], strict=True)
            ]
        )
        at_end = each["censored_at"].to_numpy(float) if axis == "step" else made["train_s"].to_numpy(float)
        low, high = np.where(each["reached"], crossed, at_end), crossed
        if axis == "step" and counts_evaluations:
            evaluations = (made["num_evaluations"].astype(float) / made["num_steps"].astype(float)).fillna(1.0)
            scale = evaluations.clip(lower=1.0).to_numpy()
            low, high = low * scale, high * scale
        if (low <= 0).any():
            raise NotMeasured(f"the target, {target:g}, was reached before training")
        index = each["seed"].astype(int).to_numpy()
        bounds.append((pd.Series(np.log(low), index), pd.Series(np.log(high), index)))
    return _between(*bounds)


def _crossing(points: pd.DataFrame, target: float, axis: str) -> float:
    """Where a curve that gets there first is at the target; 0 where it begins there."""
    loss, where = points["value"].to_numpy(float), points[axis].to_numpy(float)
    after = int(np.argmax(loss <= target))
    if after == 0:
        return 0.0
    above, below = math.log(loss[after - 1]), math.log(max(loss[after], 1e-300))
    share = (above - math.log(target)) / (above - below)
    return float(where[after - 1] + share * (where[after] - where[after - 1]))


BUSY = "the machine was busy, or runs were made side by side, while it was measured"

LEAST_UNDISTURBED = 5
"""Runs whose times nothing disturbed from which a time is taken."""


def undisturbed(runs: pd.DataFrame) -> pd.DataFrame:
    """Those runs whose own times count: made one at a time, with the processor to themselves.

    Raises:
        NotMeasured: They are fewer than half, or than LEAST_UNDISTURBED where there are as many.
    """
    clean = (runs["timing_quality"].fillna("") != "contended") & (runs["launcher"].fillna("local") == "local")
    if 2 * clean.sum() < len(runs) or clean.sum() < min(LEAST_UNDISTURBED, len(runs)):
        raise NotMeasured(BUSY)
    return runs[clean.astype(bool)]


def _sessions(pair: Pair, a: pd.DataFrame, b: pd.DataFrame, column: str) -> np.ndarray:
    """Log ratios of a's time to b's, one of each process of the newest session that timed both undisturbed.

    Raises:
        NotMeasured: There is no such session.
    """
    costs = pair.evidence.step_costs
    ids = [set(runs["step_cost_id"].dropna()) for runs in (a, b)]
    costs = costs[costs["status"] == "ok"] if len(costs) else costs
    if costs.empty or not all(ids):
        raise NotMeasured("step times were not measured", there=False)
    was_contended = False
    newest = sorted(costs.groupby("session_id"), key=lambda item: item[1]["started_at"].max(), reverse=True)
    for _, session in newest:
        sides = [session[session["step_cost_id"].isin(some)] for some in ids]
        if not all(len(side) for side in sides):
            continue
        quiet = [side[side["timing_quality"] != "contended"] for side in sides]
        logs = [np.log(side[column]).groupby(side["process"]).mean() for side in quiet]
        first, second = _joined(*logs)
        if len(first) >= stats.MIN_PROCESSES:
            return np.asarray(first - second)
        was_contended = True
    if was_contended:
        raise NotMeasured("the machine was busy while step times were measured")
    raise NotMeasured("step times were not measured", there=False)


def _step_time_ratio(pair: Pair, a: pd.DataFrame, b: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Mean log ratio of step times, its standard error and degrees of freedom."""
    if set(a["step_cost_id"].dropna()) & set(b["step_cost_id"].dropna()):
        return 0.0, 0.0, 1.0
    logs = _sessions(pair, a, b, column)
    return float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs)), len(logs) - 1.0


def step_time(pair: Pair) -> Sample:
    """Time of the optimizer's step alone: a log ratio of each fresh process."""
    return _known(_sessions(pair, *pair.sides(), "step_us"))


def loss_at_equal_time(pair: Pair) -> Sample:
    """Validation loss after as much time as the side takes whose whole budget is the shorter."""
    a, b = pair.sides()
    ratio, error, _ = _step_time_ratio(pair, a, b, "train_step_us")

    def differences(shift: float) -> Sample:
        """Where a's step takes e^shift times b's."""
        steps_a, steps_b = (float(runs["num_steps_budget"].iloc[0]) for runs in (a, b))
        at_a = _loss_at(pair, a, min(steps_a, steps_b / math.exp(shift)))
        at_b = _loss_at(pair, b, min(steps_b, steps_a * math.exp(shift)))
        return _between(at_a, at_b)

    found = differences(ratio)
    known = found.low == found.high
    slower, faster = (differences(ratio + sign * error).low[known] for sign in (1, -1))
    spread = abs(float((slower - faster).mean())) / 2 if known.any() else 0.0
    return replace(found, errors=((spread, stats.MIN_PROCESSES - 1.0),))


def _loss_at(pair: Pair, runs: pd.DataFrame, step: float) -> Bounds:
    """Bounds of the log validation loss of each seed at a step, interpolated between evaluations.

    A run that diverged is known to be no better than it began.
    """
    points = dict(tuple(pair.points(runs[runs["status"] == "ok"], "val", "loss").groupby("run_id", sort=False)))
    low, high = {}, {}
    for run, seed, status, first in runs[["run_id", "seed", "status", "first_train_loss"]].itertuples(index=False):
        if status == "diverged":
            low[int(seed)], high[int(seed)] = math.log(first), math.inf
        elif run in points:
            steps, logs = points[run]["step"].to_numpy(float), np.log(points[run]["value"].to_numpy(float))
            low[int(seed)] = high[int(seed)] = float(np.interp(step, steps, logs))
    return pd.Series(low, dtype=float), pd.Series(high, dtype=float)


# --- memory, latency, training ------------------------------------------------------------------------


def peak_memory(pair: Pair) -> Sample:
    """Peak memory in tensors, from the memory pass of each cell: bytes, in which nothing is random."""
    values = []
    for runs in pair.sides():
        known = runs["peak_tensors_mib"].dropna()
        if known.empty:
            raise NotMeasured("memory was not measured", there=False)
        values.append(math.log(float(known.iloc[0])))
    difference = np.array([values[0] - values[1]])
    return Sample(difference, difference, exact=True)


def latency(pair: Pair) -> Sample:
    """A forward pass of the trained model for one example."""
    sides = [undisturbed(runs).set_index("seed") for runs in pair.sides()]
    if any("latency_ms" not in runs or runs["latency_ms"].isna().all() for runs in sides):
        raise NotMeasured("latency_ms was not recorded", there=False)
    first, second = _joined(*(np.log(runs["latency_ms"].astype(float)) for runs in sides))
    return _known(first - second)


def roughness(pair: Pair) -> Sample:
    """How far the training loss strays from its running median, where both runs of a seed are at the same losses.

    The mean over points of |log loss - its running median over 9 points|, over those points of each run whose running median
    lies between the losses that both runs of the pair pass through.
    """
    sides = []
    for runs in pair.sides():
        points = pair.points(runs[runs["status"] == "ok"], "train", "loss")
        seeds = runs.set_index("run_id")["seed"]
        sides.append({int(seeds[run]): group["value"].to_numpy(float) for run, group in points.groupby("run_id")})
    differences = []
    for seed in sorted(set(sides[0]) & set(sides[1])):
        logs = [np.log(side[seed][side[seed] > 0]) for side in sides]
        if min(map(len, logs)) < ROUGH_POINTS:
            continue
        trends = [pd.Series(values).rolling(9, center=True, min_periods=5).median().to_numpy() for values in logs]
        low = max(float(np.min(trend)) for trend in trends)
        high = min(float(np.max(trend)) for trend in trends)
        rough = []
        for values, trend in zip(logs, trends, strict=True):
            inside = (trend >= low) & (trend <= high)
            if inside.sum() >= ROUGH_POINTS:
                rough.append(float(np.abs(values - trend)[inside].mean()))
        if len(rough) == 2 and min(rough) > 0:
            differences.append(math.log(rough[0]) - math.log(rough[1]))
    if len(differences) < 2:
        raise NotMeasured(f"the two do not pass through the same losses for {ROUGH_POINTS} points of their curves")
    return _known(np.array(differences))


ROUGH_POINTS = 8
"""Points of a training-loss curve within the losses in common from which its roughness is taken, at least."""


def seed_spread(pair: Pair) -> Spread:
    """Standard deviation over seeds of the log of the final validation loss; nothing is paired."""
    values = []
    for runs in pair.sides():
        if (runs["status"] == "diverged").any():
            raise NotMeasured("some run diverged, so that the spread over seeds has no number")
        fall = runs["first_train_loss"].astype(float) / runs["final_val_loss"].astype(float)
        if fall.median() < LEAST_FALL:
            raise NotMeasured(
                "one side hardly trained: its loss fell by less than a fifth, so that its spread says nothing"
            )
        losses = runs["final_val_loss"].astype(float).to_numpy()
        values.append(np.log(losses[losses > 0]))
    if min(map(len, values)) < 3:
        raise NotMeasured("fewer than three seeds ended")
    return Spread(*values)


LEAST_FALL = 1.25
"""Training loss at the start over validation loss at the end from which a side counts as trained."""


def gradient_reach(pair: Pair) -> Sample:
    """Norm of the first layer's gradient over that of the last layer's, geometric mean over training."""
    found = []
    for runs in pair.sides():
        first, last = (pair.points(runs, "train", f"grad_norm_{end}") for end in ("first", "last"))
        both = first.merge(last, on=["run_id", "step"], suffixes=("_first", "_last"))
        both = both[(both["value_first"] > 0) & (both["value_last"] > 0)]
        if both.empty:
            raise NotMeasured("gradients of single layers were not recorded", there=False)
        logs = np.log(both["value_first"].astype(float)) - np.log(both["value_last"].astype(float))
        means = logs.groupby(both["run_id"]).mean()
        seeds = runs.set_index("run_id")["seed"].astype(int)
        found.append(pd.Series(means.to_numpy(), seeds.loc[means.index].to_numpy()))
    first_side, second_side = _joined(*found)
    return _known(first_side - second_side)


def generalization_gap(pair: Pair) -> Sample:
    """Test loss less training loss at the end."""
    gaps = []
    for runs in pair.sides():
        if (runs["status"] == "diverged").any():
            raise NotMeasured("some run diverged, so that it has no loss at the end")
        ok = runs[runs["status"] == "ok"].set_index("seed")
        gaps.append(ok["final_test_loss"].astype(float) - ok["final_train_loss"].astype(float))
    first, second = _joined(*gaps)
    return _known(first - second)


# --- learning rates -----------------------------------------------------------------------------------


def _rates(pair: Pair, side: str) -> pd.DataFrame:
    """Final validation loss by seed and learning rate, of runs at every rate; infinite where a run diverged."""
    runs = pair.evidence.of(pair.workload, side, RATES)
    loss = runs["final_val_loss"].astype(float).where(runs["status"] == "ok", math.inf)
    table = runs.assign(value=loss, lr=runs["lr"].astype(float))[["seed", "lr", "value"]]
    if not (np.isfinite(table["value"]) & (table["value"] > 0)).groupby(table["seed"]).any().all():
        raise NotMeasured("every run of a seed diverged")
    return table


def basin(pair: Pair) -> Sample:
    """Decades of learning rate that end within a tenth of the side's own lowest validation loss, of each seed.

    A basin that reaches the lowest or highest rate tried is at least as wide.
    """
    bounds = []
    for side in (pair.a, pair.b):
        assert side is not None
        table = _rates(pair, side)
        finite = table[np.isfinite(table["value"])]
        worst = 1e3 * float(finite["value"].max())  # a run that diverged ends the basin right beside its rate
        table = table.assign(value=table["value"].clip(upper=worst), optimizer=table["seed"].astype(str), setting="")
        found = basin_width(table)
        widths = found["decades"].to_numpy(float)
        seeds = found["optimizer"].astype(int).to_numpy()
        at_most = np.where(found["open"] != "", math.inf, widths)
        bounds.append((pd.Series(widths, seeds), pd.Series(at_most, seeds)))
    return _between(*bounds)


def best_rate(pair: Pair) -> Sample:
    """Log10 of the learning rate with the lowest final validation loss, of each seed.

    It is the vertex of the parabola through the log losses of the best rate tried and its two neighbours; at the end of
    what was tried, or beside a run that diverged, the rate itself.
    """
    found = []
    for side in (pair.a, pair.b):
        assert side is not None
        by_seed = _rates(pair, side).sort_values("lr").groupby("seed")
        found.append(
            by_seed.apply(lambda runs: _vertex(np.log10(runs["lr"].to_numpy(float)), runs["value"].to_numpy(float)))
        )
    first, second = _joined(*found)
    return _known(first - second)


def _vertex(x: np.ndarray, loss: np.ndarray) -> float:
    best = int(np.argmin(loss))
    near = slice(best - 1, best + 2)
    if not 0 < best < len(x) - 1 or not np.isfinite(loss[near]).all() or (loss[near] <= 0).any():
        return float(x[best])
    bend, slope, _ = np.polyfit(x[near] - x[best], np.log(loss[near]), 2)
    return float(x[best] - slope / (2 * bend)) if bend > 0 else float(x[best])


def rate_matters(pair: Pair) -> Sample:
    """Final validation loss a decade off the best learning rate, over the lowest: the milder of the two sides."""
    table = _rates(pair, pair.a)
    found, high = [], []
    for _, group in table.groupby("seed"):
        group = group.sort_values("lr")
        rate, loss = np.log10(group["lr"].to_numpy(float)), group["value"].to_numpy(float)
        best = int(np.argmin(loss))
        off = [i for i in range(len(rate)) if abs(abs(rate[i] - rate[best]) - 1) < 0.26]
        if not off:
            continue
        mildest = float(min(loss[i] for i in off))
        bound = 100.0 * loss[best] if math.isinf(mildest) else mildest
        found.append(math.log(bound / loss[best]))
        high.append(math.inf if math.isinf(mildest) else found[-1])
    if len(found) < 2:
        raise NotMeasured("no learning rate a decade off the best was tried")
    return Sample(np.array(found), np.array(high))


def best_of_three(pair: Pair) -> Sample:
    """Final validation loss that three learning rates drawn at random of those tried give on average, of each seed."""
    found = []
    for side in (pair.a, pair.b):
        assert side is not None
        by_seed = _rates(pair, side).groupby("seed")["value"]
        found.append(by_seed.apply(lambda losses: math.log(_expected_best(losses.to_numpy(float)))))
    first, second = _joined(*found)
    return _known(first - second)


def _expected_best(losses: np.ndarray) -> float:
    """Expected lowest of three of these; a run that diverged counts as no better than any that did not."""
    if len(losses) < 3:
        raise NotMeasured("fewer than three learning rates were tried")
    finite = losses[np.isfinite(losses)]
    return float(best_of_k(np.where(np.isfinite(losses), losses, finite.max()), [3])["expected"].iloc[0])


def untuned_choice(pair: Pair) -> Sample:
    """Test loss of the best of several optimizers, each as it comes, over that of one tuned: the best by validation loss."""
    assert pair.b is not None
    sides = [pair.evidence.of(pair.workload, side, DEFAULT) for side in pair.a.split("|")]
    several = pd.concat(sides, ignore_index=True)
    ended = several[several["status"] == "ok"].astype({"best_val_loss": float}).dropna(subset=["best_val_loss"])
    if ended.empty:
        raise NotMeasured("no run of the untuned optimizers ended ok")
    chosen = ended.loc[ended.groupby("seed")["best_val_loss"].idxmin()].set_index("seed")
    tuned = pair.evidence.of(pair.workload, pair.b, TUNED)
    tuned = tuned[tuned["status"] == "ok"].set_index("seed")
    first, second = _joined(*(np.log(runs["test_loss_at_best_val"].astype(float)) for runs in (chosen, tuned)))
    return _known(first - second)


# --- of one side ----------------------------------------------------------------------------------------


def loss_fall(pair: Pair) -> Sample:
    """Training loss of the first step over that at the end."""
    runs = pair.evidence.of(pair.workload, pair.a, pair.at)
    if (runs["status"] == "diverged").any():
        raise NotMeasured("some run diverged, so that it has no loss at the end")
    ok = runs[runs["status"] == "ok"]
    return _known(np.log(ok["first_train_loss"].astype(float)) - np.log(ok["final_train_loss"].astype(float)))


def epoch_time(pair: Pair) -> Sample:
    """Time of a step in the last quarter of training over that in the first, by the run's own clock."""
    runs = undisturbed(pair.evidence.of(pair.workload, pair.a, pair.at))
    found = []
    for _, group in pair.points(runs, "val", "loss").groupby("run_id"):
        step, seconds = group["step"].to_numpy(float), group["train_time_s"].to_numpy(float)
        # the first step makes the optimizer's state: not a matter of epochs
        at = [float(np.interp(share * step[-1], step, seconds)) for share in (0.05, 0.30, 0.75, 1.0)]
        if at[1] > at[0] and at[3] > at[2]:
            found.append(math.log(at[3] - at[2]) - math.log(at[1] - at[0]))
    return _known(np.array(found))


# --- the list -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quantity:
    """Something that claims are measured by.

    Attributes:
        words: What it is; `words_zh` in Chinese.
        unit: "ratio" of a to b, or the unit of a less b.
        sample: Takes it from the tables.
        lower_is_better: Whether the lower is the better.
        over: The runs it needs: DEFAULT, those at which a claim is judged; RATES; or MIXED, a's as they come and b's tuned.
        tuned: Whether it depends on how a side is tuned.
        step_costs: Whether it needs step times.
        alone: Whether runs have to be made one at a time.
        metrics: What runs have to record beside the loss.
        memory: Whether it needs the memory pass.
        one_sided: Whether it is of one side, held against a number.
    """

    words: str
    words_zh: str
    unit: str
    sample: Callable[[Pair], Any]
    lower_is_better: bool = True
    over: str = DEFAULT
    tuned: bool = True
    step_costs: bool = False
    alone: bool = False
    metrics: tuple[str, ...] = ()
    memory: bool = False
    one_sided: bool = False

    @property
    def is_ratio(self) -> bool:
        """Whether samples are natural logs of ratios."""
        return self.unit == "ratio"


QUANTITIES: dict[str, Quantity] = {
    "steps_to_target": Quantity("steps to the target", "达到目标所需步数", "ratio", steps_to_target),
    "time_to_target": Quantity("time to the target", "达到目标所需时间", "ratio", time_to_target, step_costs=True),
    "loss_at_equal_time": Quantity(
        "validation loss after equal time", "相同时间后的验证损失", "ratio", loss_at_equal_time, step_costs=True
    ),
    "val_loss": Quantity("final validation loss", "最终验证损失", "ratio", _column("final_val_loss")),
    "train_loss": Quantity("final training loss", "最终训练损失", "ratio", _column("final_train_loss")),
    "test_loss": Quantity("test loss", "测试损失", "ratio", _column("test_loss_at_best_val")),
    "test_accuracy": Quantity(
        "test accuracy",
        "测试准确率",
        "points",
        _column("test_accuracy_at_best_val", 100.0, log=False),
        lower_is_better=False,
    ),
    "moved_accuracy": Quantity(
        "test accuracy on moved images",
        "平移旋转后测试图像上的准确率",
        "points",
        _column("moved_test_accuracy", 100.0, log=False),
        lower_is_better=False,
        metrics=("moved_accuracy",),
    ),
    "generalization_gap": Quantity("test loss less training loss", "测试损失减训练损失", "nats", generalization_gap),
    "peak_memory": Quantity("peak memory", "峰值内存", "ratio", peak_memory, tuned=False, memory=True),
    "step_time": Quantity(
        "time of the optimizer's step", "优化器单步耗时", "ratio", step_time, tuned=False, step_costs=True
    ),
    "latency": Quantity(
        "latency of the trained model",
        "训练后模型的推理延迟",
        "ratio",
        latency,
        tuned=False,
        alone=True,
        metrics=("latency",),
    ),
    "roughness": Quantity("roughness of the training curve", "训练曲线的粗糙度", "ratio", roughness),
    "seed_spread": Quantity("spread over seeds", "不同随机种子间的离散程度", "ratio", seed_spread),
    "basin": Quantity(
        "width of good learning rates", "可用学习率的宽度", "decades", basin, lower_is_better=False, over=RATES
    ),
    "best_rate": Quantity("best learning rate", "最佳学习率", "decades", best_rate, over=RATES),
    "rate_matters": Quantity(
        "loss a decade off the best learning rate, over the lowest",
        "学习率偏离最佳值十倍时的损失与最低损失之比",
        "ratio",
        rate_matters,
        over=RATES,
        one_sided=True,
    ),
    "best_of_three": Quantity(
        "validation loss after three trials of the learning rate",
        "随机试三个学习率后的验证损失",
        "ratio",
        best_of_three,
        over=RATES,
    ),
    "untuned_choice": Quantity(
        "test loss of the best of several untuned",
        "若干未调参优化器中最佳者的测试损失",
        "ratio",
        untuned_choice,
        over=MIXED,
    ),
    "gradient_reach": Quantity(
        "first layer's gradient over the last's",
        "首层与末层梯度范数之比",
        "ratio",
        gradient_reach,
        lower_is_better=False,
        metrics=("layer_grad_norm",),
    ),
    "loss_fall": Quantity(
        "training loss at the start over the end",
        "训练损失的下降倍数",
        "ratio",
        loss_fall,
        lower_is_better=False,
        one_sided=True,
    ),
    "epoch_time": Quantity(
        "time of a late step over an early one",
        "后期与前期单步耗时之比",
        "ratio",
        epoch_time,
        tuned=False,
        alone=True,
        one_sided=True,
    ),
}
"""Everything that a claim can be measured by, by name."""
