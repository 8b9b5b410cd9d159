"""Effects on speed: steps and time to a target, time of a step, loss at equal time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from bench.analysis import targets
from bench.analysis.bounds import Sample
from bench.analysis.quality import is_cut_off
from bench.analysis.step_costs import MIN_PROCESSES, is_timed, newest_session
from bench.claims.effects.evidence import (
    Bounds,
    NotMeasured,
    Pair,
    bounds_between,
    common_seeds,
    sample_of,
    undisturbed,
)


def _target(pair: Pair) -> float:
    if pair.target is not None:
        return pair.target
    medians = [runs["final_val_loss"].astype(float).median() for runs in pair.sides()]
    if not np.isfinite(medians).all():
        raise NotMeasured("no_validation_loss")
    return float(max(medians))


def steps_to_target(pair: Pair) -> Sample:
    """Compare gradient evaluations until the validation loss is at most the target: steps, but for L-BFGS several a step."""
    return _reached(pair, pair.sides(), "step")


def time_to_target(pair: Pair) -> Sample:
    """Compare steps to the target times the separately measured, interleaved step time; else the runs' own time.

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
    """Return differences of the logs of where runs of both sides reach the target, on an axis of the curves.

    Between two evaluations log loss is interpolated, so that equal evaluation points make no ties; where a step computes
    several gradients, their number is known to bounds instead.
    """
    target = _target(pair)
    return bounds_between(*(_reached_by(pair, runs, axis, target, counts_evaluations) for runs in sides))


def _reached_by(pair: Pair, runs: pd.DataFrame, axis: str, target: float, counts_evaluations: bool) -> Bounds:
    """Return what `_reached_anew` gives of one side, kept for its other opponents."""
    return pair.evidence.once(
        ("reached", *runs["run_id"], axis, target, counts_evaluations),
        lambda: _reached_anew(pair, runs, axis, target, counts_evaluations),
    )


def _reached_anew(pair: Pair, runs: pd.DataFrame, axis: str, target: float, counts_evaluations: bool) -> Bounds:
    """Return bounds of the log of where each run reaches the target.

    Raises:
        NotMeasured: One is there before its first step.
    """
    each = targets.steps_to_target(runs.assign(series="one"), pair.evidence.curves_of(runs), target)
    made = runs.set_index("run_id").loc[each["run_id"]]
    crossed = each["crossed_at" if axis == "step" else "crossed_s"].fillna(math.inf).to_numpy(float)
    at_end = each["censored_at"].to_numpy(float) if axis == "step" else made["train_s"].to_numpy(float)
    low, high = np.where(each["reached"], crossed, at_end), crossed.copy()
    several = (made["num_evaluations"] > made["num_steps"]).fillna(False).to_numpy(bool)
    if axis == "step" and counts_evaluations and several.any():
        low[several], high[several] = _gradients_computed(pair, runs, each[several])
    if (low <= 0).any():
        raise NotMeasured("target_reached_at_start", target=f"{target:g}")
    index = each["seed"].astype(int).to_numpy()
    return pd.Series(np.log(low), index), pd.Series(np.log(high), index)


def _gradients_computed(pair: Pair, runs: pd.DataFrame, each: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return bounds of the gradients computed until runs reach the target, where a step computes several.

    They lie between the numbers at the evaluation that first reaches it and at the one before: within a step of several
    nothing is interpolated.

    Raises:
        NotMeasured: They were not counted along the way.
    """
    counted = pair.points(runs, "train", "gradients")
    low, high = [], []
    for run in each.itertuples():
        points = counted[counted["run_id"] == run.run_id]
        if points.empty:
            raise NotMeasured("gradients_not_counted", there=False)
        steps, numbers = points["step"].to_numpy(float), points["value"].to_numpy(float)
        if run.reached:
            low.append(numbers[steps < run.steps_to_target].max(initial=0.0) + 1)
            high.append(numbers[steps <= run.steps_to_target].max())
        else:
            low.append(numbers.max())
            high.append(math.inf)
    return np.array(low), np.array(high)


def _sessions(pair: Pair, a: pd.DataFrame, b: pd.DataFrame, column: str) -> np.ndarray:
    """Return what `_measured_sessions` gives of two sides, kept for other claims about them."""
    wanted = [frozenset(runs["step_cost_id"].dropna()) for runs in (a, b)]
    costs = pair.evidence.step_costs
    return pair.evidence.once(("sessions", *wanted, column), lambda: _measured_sessions(costs, wanted, column))


def _measured_sessions(costs: pd.DataFrame, wanted: Sequence[frozenset[str]], column: str) -> np.ndarray:
    """Return log ratios of two times, one for each process of the newest session that took both undisturbed.

    Raises:
        NotMeasured: There is no such session.
    """
    session = newest_session(costs, wanted)
    if session is not None:
        rows = [session[session["step_cost_id"].isin(ids)] for ids in wanted]
        logs = [np.log(side[column]).groupby(side["process"]).mean() for side in rows]
        first, second = common_seeds(*logs)
        return np.asarray(first - second)
    if is_timed(costs, wanted):
        raise NotMeasured("step_times_contended")
    raise NotMeasured("step_times_not_measured", there=False)


def _step_time_ratio(pair: Pair, a: pd.DataFrame, b: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Return the mean log ratio of step times, its standard error and degrees of freedom."""
    if set(a["step_cost_id"].dropna()) & set(b["step_cost_id"].dropna()):
        return 0.0, 0.0, 1.0
    logs = _sessions(pair, a, b, column)
    return float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs)), len(logs) - 1.0


def step_time(pair: Pair) -> Sample:
    """Compare the time of the optimizer's step alone: a log ratio of each fresh process."""
    return sample_of(_sessions(pair, *pair.sides(), "step_us"))


def loss_at_equal_time(pair: Pair) -> Sample:
    """Compare the validation loss after as much time as the side takes whose whole budget is the shorter."""
    a, b = pair.sides()
    ratio, error, _ = _step_time_ratio(pair, a, b, "train_step_us")

    def differences(shift: float) -> Sample:
        """Return the differences of losses where a's step takes e^shift times b's."""
        steps_a, steps_b = (float(runs["num_steps_budget"].iloc[0]) for runs in (a, b))
        at_a = _loss_at(pair, a, min(steps_a, steps_b / math.exp(shift)))
        at_b = _loss_at(pair, b, min(steps_b, steps_a * math.exp(shift)))
        return bounds_between(at_a, at_b)

    found = differences(ratio)
    known = found.low == found.high
    slower, faster = (differences(ratio + sign * error).low[known] for sign in (1, -1))
    spread = abs(float((slower - faster).mean())) / 2 if known.any() else 0.0
    return replace(found, errors=((spread, MIN_PROCESSES - 1.0),))


def _loss_at(pair: Pair, runs: pd.DataFrame, step: float) -> Bounds:
    """Return bounds of the log validation loss of each seed at a step, interpolated between evaluations.

    A run whose loss left the finite numbers is no better than it began; of one that was cut off nothing is known.
    """
    points = dict(tuple(pair.points(runs[runs["status"] == "ok"], "val", "loss").groupby("run_id", sort=False)))
    low, high, cut_off = {}, {}, set(runs.loc[is_cut_off(runs), "run_id"])
    for run, seed, status, first in runs[["run_id", "seed", "status", "first_train_loss"]].itertuples(index=False):
        if status == "diverged":
            low[int(seed)], high[int(seed)] = -math.inf if run in cut_off else math.log(first), math.inf
        elif run in points:
            steps, logs = points[run]["step"].to_numpy(float), np.log(points[run]["value"].to_numpy(float))
            low[int(seed)] = high[int(seed)] = float(np.interp(step, steps, logs))
    return pd.Series(low, dtype=float), pd.Series(high, dtype=float)


def epoch_time(pair: Pair) -> Sample:
    """Compare the time of a step in the last quarter of training with that in the first, by the run's own clock."""
    runs = undisturbed(pair.evidence.of(pair.workload, pair.a, pair.at))
    found = []
    for _, group in pair.points(runs, "val", "loss").groupby("run_id"):
        step, seconds = group["step"].to_numpy(float), group["train_time_s"].to_numpy(float)
        # the first step makes the optimizer's state: not a matter of epochs
        at = [float(np.interp(share * step[-1], step, seconds)) for share in (0.05, 0.30, 0.75, 1.0)]
        if at[1] > at[0] and at[3] > at[2]:
            found.append(math.log(at[3] - at[2]) - math.log(at[1] - at[0]))
    return sample_of(np.array(found))
