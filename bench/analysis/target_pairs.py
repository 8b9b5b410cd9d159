"""Comparisons by steps and time to a target loss; a run that never reaches it needs more steps than it was given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.bounds import Sample, p_above, p_below
from bench.analysis.paired import RATIO_COLUMNS, chances, corrected, ratio_row
from bench.analysis.targets import steps_to_target


def target_pairs(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    series: Sequence[str],
    target: float,
    times: pd.DataFrame | None = None,
    num_settings: Mapping[str, int] | None = None,
    num_looks: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Compare every two series by steps to the target, and by time, over their common seeds.

    Steps are where the loss, interpolated between evaluations, crosses the target. Of a run that does not reach it, it is
    known that it needs more than it was given: a pair with such a run is known to a bound, see `bench.analysis.bounds.effect`.

    Time is steps x step time: the two step times' errors are added to those of the steps, as if independent, though
    they were measured side by side: the interval is rather too wide.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        series: What to compare.
        target: The loss to reach.
        times: What `step_times` gave, or None: then the columns of time are missing values.
        num_settings: Of each series, among how many it was chosen by these runs; 1 where it is not named.
        num_looks: Of each series, at how many numbers of seeds it was to be looked at whether there are enough; likewise.

    Returns:
        Columns: a, b (a is the one that needs less), num_censored (pairs of which one run does not reach the target),
        num_both_censored, wins_a, wins_b, `RATIO_COLUMNS` (of a's steps to b's), p_holm, significant, adjusted_low,
        adjusted_high, and the same of time with time_ before: time_ratio, _low, _high, time_p, time_p_holm,
        time_significant, time_adjusted_low, _high. Fewer than two common seeds: left out.
    """
    each = steps_to_target(runs[runs["series"].isin(series)], curves, target)
    keys = ["seed", "environment_id"]
    by_series = {name: each[each["series"] == name].set_index(keys) for name in series}
    step_times = None if times is None else times.set_index("series")
    rows: list[dict[str, Any]] = []
    samples: list[Sample] = []
    timed: list[Sample] = []
    for i, one in enumerate(series):
        for other in list(series)[i + 1 :]:
            both = by_series[one].add_suffix("_a").join(by_series[other].add_suffix("_b"), how="inner")
            if len(both) < 2:
                continue
            sample, a, b = _difference(both), one, other
            if p_below(sample, 0.0) > p_above(sample, 0.0):
                sample, a, b = -sample, other, one
            counted = chances(a, b, num_settings, num_looks)
            samples.append(sample)
            timed.append(_of_time(sample, a, b, step_times))
            time = {f"time_{key}": value for key, value in ratio_row(timed[-1], *counted).items()}
            rows.append({"a": a, "b": b, **_counts(both, a == one), **ratio_row(sample, *counted), **time})
    return _table(rows, samples, timed)


def _table(rows: list[dict[str, Any]], samples: list[Sample], timed: list[Sample]) -> pd.DataFrame:
    """Return the rows with Holm's correction, separately for steps and time."""
    counts = ("a", "b", "num_censored", "num_both_censored", "wins_a", "wins_b")
    table = corrected(rows, samples, [*counts, *RATIO_COLUMNS])
    plain = [{key: row[f"time_{key}"] for key in RATIO_COLUMNS} for row in rows]
    time = corrected(plain, timed, RATIO_COLUMNS).drop(columns=["num_pairs", "num_bounded", "bound", "log_sd", "skew"])
    return table.join(time.add_prefix("time_"))


def _difference(both: pd.DataFrame) -> Sample:
    """Return the differences of log steps, given `steps_to_target` of both with suffixes _a and _b, a row for each seed."""
    low, high = {}, {}
    for side in "ab":
        reached = both[f"reached_{side}"].to_numpy(bool)
        steps = np.where(reached, both[f"crossed_at_{side}"], both[f"censored_at_{side}"]).astype(float)
        with np.errstate(divide="ignore"):
            low[side] = np.log(steps)  # -inf: reached at the start
        high[side] = np.where(reached, np.log(np.maximum(steps, 1.0)), math.inf)
    with np.errstate(invalid="ignore"):
        least, most = low["a"] - high["b"], high["a"] - low["b"]
    return Sample(np.where(np.isnan(least), -math.inf, least), np.where(np.isnan(most), math.inf, most))


def _counts(both: pd.DataFrame, a_first: bool) -> dict[str, int]:
    """Return how many pairs are censored, and how many each side wins."""
    steps = [both[f"crossed_at_{side}"].fillna(math.inf).to_numpy(float) for side in ("ab" if a_first else "ba")]
    there = [np.isfinite(values) for values in steps]
    return {
        "num_censored": int((there[0] != there[1]).sum()),
        "num_both_censored": int((~there[0] & ~there[1]).sum()),
        "wins_a": int((steps[0] < steps[1]).sum()),
        "wins_b": int((steps[1] < steps[0]).sum()),
    }


def _of_time(steps: Sample, a: str, b: str, times: pd.DataFrame | None) -> Sample:
    """Return the differences of log times, with the errors of both step times; nothing where one was not measured."""
    if times is None or not {a, b} <= set(times.index):
        return Sample(np.array([]), np.array([]))
    shift = math.log(times.loc[a, "step_s"] / times.loc[b, "step_s"])
    errors = [(float(times.loc[name, "log_se"]), float(times.loc[name, "df"])) for name in (a, b)]
    return Sample(steps.low + shift, steps.high + shift, errors=errors)


class Disagreement(NamedTuple):
    """The winner by steps to the target is not the winner by time. Ratios are those of the former to the latter."""

    by_steps: str
    by_time: str
    steps_ratio: float
    steps_ratio_low: float
    steps_ratio_high: float
    steps_significant: bool
    time_ratio: float
    time_ratio_low: float
    time_ratio_high: float
    time_significant: bool


def winners_disagree(targets: pd.DataFrame, pairs: pd.DataFrame) -> Disagreement | None:
    """Return the winners by steps and by time to the target, where they differ.

    Both are read from means over seeds of series that all got there and whose step times are known.

    Args:
        targets: What `time_to_target` gave.
        pairs: What `target_pairs` gave of the same series.

    Returns:
        None where they agree, or where fewer than two series can be compared.
    """
    known = targets[targets["mean_steps"].notna() & targets["time_to_target_s"].notna()].set_index("series")
    if len(known) < 2:
        return None
    by_steps, by_time = str(known["mean_steps"].idxmin()), str(known["time_to_target_s"].idxmin())
    pair = pairs[pairs["a"].isin((by_steps, by_time)) & pairs["b"].isin((by_steps, by_time))]
    if by_steps == by_time or pair.empty or known["mean_steps"].nunique() == 1:
        return None
    row = pair.iloc[0]
    flip = row["a"] != by_steps
    found: dict[str, float] = {}
    for name in ("ratio", "time_ratio"):
        prefix = name.removesuffix("ratio")
        ratio, low, high = row[name], row[f"{prefix}adjusted_low"], row[f"{prefix}adjusted_high"]
        found |= dict(
            zip(
                (name, f"{name}_low", f"{name}_high"),
                (1 / ratio, 1 / high, 1 / low) if flip else (ratio, low, high),
                strict=True,
            )
        )
    return Disagreement(
        by_steps, by_time, found["ratio"], found["ratio_low"], found["ratio_high"], bool(row["significant"]),
        found["time_ratio"], found["time_ratio_low"], found["time_ratio_high"], bool(row["time_significant"]),
    )  # fmt: skip
