"""Steps and time to a target loss, with runs that never reach it treated as censored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from bench.analysis.inference import (
    half_width,
    mean_interval,
    mean_log_ratio,
    safe_exp,
    sign_test,
    sum_of_variances,
    with_holm,
)
from bench.analysis.quality import is_undisturbed
from bench.base.errors import UserError


class Target(NamedTuple):
    """A loss to reach, and where it comes from, in words."""

    value: float
    words: str


class Goal(NamedTuple):
    """How the target of every section is chosen: a loss, or the baseline whose loss it is; by default neither."""

    value: float | None = None
    baseline: str | None = None

    def target(self, runs: pd.DataFrame, shown: Sequence[str]) -> Target | None:
        """The target of one section, by `target_loss`; None where its baseline was not run there.

        Args:
            runs: Rows of one section, with `series`.
            shown: The series that figures show, of which the default rule takes one.
        """
        if self.baseline is None:
            return target_loss(runs[runs["series"].isin(shown)], self.value)
        there = self.baseline in set(runs["series"]) | set(runs["optimizer"])
        return target_loss(runs, baseline=self.baseline) if there else None


SECOND_LOWEST = Goal()
"""The default rule of `target_loss`."""


def target_loss(runs: pd.DataFrame, value: float | None = None, baseline: str | None = None) -> Target | None:
    """The validation loss to reach: given, or the median final one over seeds of a named baseline.

    By default the baseline is the series with the second lowest median, so that at least two get there and there is
    something to compare.

    Args:
        runs: Rows of one section, with `series`.
        value: The loss itself.
        baseline: A series, or an optimizer, of which then the series with the lowest median counts.

    Returns:
        None where no run of the baseline, or fewer than two series, ended ok.

    Raises:
        UserError: `value` is not finite, or there is no such baseline.
    """
    if value is not None:
        if not math.isfinite(value):
            raise UserError(f"target must be a finite number, got {value}; give a loss")
        return Target(float(value), "as given")
    known = runs[runs["stage"] != "predicted"]
    ok = known[known["status"] == "ok"].astype({"final_val_loss": float})
    medians = ok.groupby("series")["final_val_loss"].median().dropna().sort_values()
    if baseline is None:
        if len(medians) < 2:
            return None
        return Target(float(medians.iloc[1]), f"the median final one of {medians.index[1]}, the second lowest")
    named = known[(known["series"] == baseline) | (known["optimizer"] == baseline)]["series"].unique()
    if len(named) == 0:
        there = ", ".join(sorted(set(known["optimizer"]) | set(known["series"])))
        raise UserError(f"baseline must be an optimizer or series of the study, got {baseline}; choose of {there}")
    lowest = medians.reindex(named).dropna().sort_values()
    return Target(float(lowest.iloc[0]), f"the median final one of {lowest.index[0]}") if len(lowest) else None


def steps_to_target(
    runs: pd.DataFrame, curves: pd.DataFrame, target: float, metric: str = "loss", split: str = "val"
) -> pd.DataFrame:
    """Steps of each run until an evaluation first reaches the target.

    Reached means at most the target, or at least it for accuracy. A run that never gets there is censored: it needs
    more than `censored_at` steps, and counts as longer than any that did. A run that diverged would not have got
    there in the rest of its budget either. Runs that ended for another reason than their own (failed, interrupted)
    say nothing and are left out.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        target: The value to reach.
        metric: Of `curves`.
        split: Of `curves`.

    Returns:
        One row a run: run_id, series, optimizer, seed, environment_id, reached, steps_to_target (missing where
        censored), censored_at (missing where reached), resolution: steps since the evaluation before, or between the
        last two, since the crossing itself lies in between; end_to_end_s: training time at that point, missing
        where the processor was contended or runs were made side by side.
    """
    wanted = ["run_id", "series", "optimizer", "seed", "environment_id", "status", "num_steps", "num_steps_budget"]
    table = runs[runs["status"].isin(("ok", "diverged", "timeout", "oom"))]
    table = table.reindex(columns=wanted).assign(_undisturbed=is_undisturbed(table))
    points = curves[
        (curves["split"] == split) & (curves["metric"] == metric) & curves["run_id"].isin(table["run_id"])
    ].sort_values(["run_id", "step"], kind="stable")
    points = points.assign(resolution=points.groupby("run_id")["step"].diff().astype(float))
    there = points["value"] >= target if metric.endswith("accuracy") else points["value"] <= target
    first = points[there].drop_duplicates("run_id").set_index("run_id")
    last = points.drop_duplicates("run_id", keep="last").set_index("run_id")
    at = first.reindex(table["run_id"])
    reached = at["step"].notna().to_numpy()
    made = table["num_steps"].astype(float).to_numpy()
    made = np.where(np.isnan(made), last["step"].reindex(table["run_id"]).astype(float).to_numpy(), made)
    budget = table["num_steps_budget"].astype(float).to_numpy()
    never = np.where((table["status"] == "diverged").to_numpy(bool), np.fmax(budget, made), made)
    return table[["run_id", "series", "optimizer", "seed", "environment_id"]].assign(
        reached=reached,
        steps_to_target=at["step"].astype(float).to_numpy(),
        censored_at=np.where(reached, math.nan, never),
        resolution=np.where(reached, at["resolution"], last["resolution"].reindex(table["run_id"])).astype(float),
        end_to_end_s=np.where(table["_undisturbed"], at["train_time_s"].astype(float), math.nan),
    ).reset_index(drop=True)  # fmt: skip


def time_to_target(
    runs: pd.DataFrame, curves: pd.DataFrame, series: Sequence[str], target: float, times: pd.DataFrame | None
) -> pd.DataFrame:
    """Steps, and time, until the validation loss is at most the target for the first time.

    Steps are known to the spacing of evaluations. A run that never gets there is censored: it counts as
    longer than any, and a series of which half or more are censored has no median.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        series: What to show.
        target: The loss to reach.
        times: What `step_times` gave: then time is steps x step time, and both uncertainties go into its
            interval. None: no time but the end-to-end one.

    Returns:
        Columns: series, num_runs, num_reached, steps_to_target (median over seeds; missing where censored),
        mean_steps with _low and _high (geometric mean and its t interval) and time_to_target_s with _low and _high
        (mean_steps x step time), both where all seeds got there, end_to_end_s: median training time of the runs at
        that point, of those timed alone, and resolution: median steps between evaluations there.
    """
    each = steps_to_target(runs[runs["series"].isin(series)], curves, target)
    made = []
    for name in series:
        group = each[each["series"] == name]
        reached = group[group["reached"]]
        steps = group["steps_to_target"].fillna(math.inf).to_numpy(float)
        row: dict[str, object] = {"series": name, "num_runs": len(group), "num_reached": len(reached)}
        row |= dict.fromkeys(
            (
                "steps_to_target", "mean_steps", "mean_steps_low", "mean_steps_high",
                "time_to_target_s", "time_to_target_s_low", "time_to_target_s_high", "end_to_end_s",
            ),
            math.nan,
        )  # fmt: skip
        row["resolution"] = group["resolution"].median()
        if 2 * len(reached) > len(group):
            row["steps_to_target"] = float(np.median(steps))
            row["end_to_end_s"] = reached["end_to_end_s"].median()
            if len(reached) == len(group) and (steps > 0).all():
                means = [safe_exp(value) for value in mean_interval(np.log(steps))]
                row |= dict(zip(("mean_steps", "mean_steps_low", "mean_steps_high"), means, strict=True))
            if times is not None and name in set(times["series"]):
                row |= _times_to_target(
                    reached["steps_to_target"].to_numpy(float), len(group), times.set_index("series").loc[name]
                )
        made.append(row)
    return pd.DataFrame(made)


def target_pairs(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    series: Sequence[str],
    target: float,
    times: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare every two series by steps to the target, and by time, over their common seeds.

    Where both runs of every pair got there, as in `mean_log_ratio`. With a censored pair there is no interval, but an
    exact sign test: of two runs the one that got there first wins, a pair in which both are censored, or both took as
    many steps, says nothing. Then the ratio is that of the geometric means with each censored run at the steps it is
    known to exceed: if only b's are censored, a's ratio to b is at most that; if both have censored runs, there is
    none.

    Time is steps x step time: the two step times' errors are added to those of the steps, as if independent, though
    they were measured side by side: the interval is rather too wide. With a censored pair the sign test of time takes
    step times as known.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        series: What to compare.
        target: The loss to reach.
        times: What `step_times` gave, or None: then the columns of time are missing values.

    Returns:
        Columns: a, b (a is the one with more pairs won, or fewer steps), num_pairs, num_censored (one of the two),
        num_both_censored, wins_a, wins_b, ratio (of a's steps to b's), ratio_low, ratio_high, bound ("" or "at
        most"), test (t, bootstrap or sign), p, p_holm, significant, and for time time_ratio, _low, _high, time_p,
        time_p_holm, time_significant. Fewer than two common seeds: left out.
    """
    each = steps_to_target(runs[runs["series"].isin(series)], curves, target)
    keys = ["seed", "environment_id"]
    by_series = {name: each[each["series"] == name].set_index(keys) for name in series}
    step_times = None if times is None else times.set_index("series")
    rows = []
    for i, a in enumerate(series):
        for b in list(series)[i + 1 :]:
            both = by_series[a].add_suffix("_a").join(by_series[b].add_suffix("_b"), how="inner")
            if len(both) >= 2:
                rows.append(_target_pair(a, b, both, step_times))
    columns = [
        "a", "b", "num_pairs", "num_censored", "num_both_censored", "wins_a", "wins_b", "ratio", "ratio_low", "ratio_high", "bound",
        "test", "p", "time_ratio", "time_ratio_low", "time_ratio_high", "time_p",
    ]  # fmt: skip
    table = with_holm(pd.DataFrame(rows, columns=columns))
    time = with_holm(table[["time_p"]].rename(columns={"time_p": "p"}))
    return table.assign(time_p_holm=time["p_holm"], time_significant=time["significant"])


def _target_pair(a: str, b: str, both: pd.DataFrame, times: pd.DataFrame | None) -> dict[str, object]:
    """A row of `target_pairs`; `both` has a row a common seed, and columns of `steps_to_target` with _a and _b."""
    steps_a, steps_b = (both[f"steps_to_target_{s}"].fillna(math.inf).to_numpy(float) for s in "ab")
    won_a, won_b = int((steps_a < steps_b).sum()), int((steps_b < steps_a).sum())
    known = np.isfinite(steps_a) & np.isfinite(steps_b)
    positive = bool((steps_a > 0).all() and (steps_b > 0).all())
    # a run that is censored needs more steps than it was given
    least_a = both["steps_to_target_a"].fillna(both["censored_at_a"]).to_numpy(float)
    least_b = both["steps_to_target_b"].fillna(both["censored_at_b"]).to_numpy(float)
    logs = np.log(least_a) - np.log(least_b) if positive else np.full(len(both), math.nan)
    more = 0 if known.all() else won_b - won_a
    if more > 0 or (more == 0 and logs.mean() > 0):
        a, b, steps_a, steps_b, won_a, won_b, logs = b, a, steps_b, steps_a, won_b, won_a, -logs
    finite_a, finite_b = np.isfinite(steps_a), np.isfinite(steps_b)
    row: dict[str, object] = {
        "a": a,
        "b": b,
        "num_pairs": len(both),
        "num_censored": int((finite_a != finite_b).sum()),
        "num_both_censored": int((~finite_a & ~finite_b).sum()),
        "wins_a": won_a,
        "wins_b": won_b,
        "bound": "",
        **dict.fromkeys(("ratio", "ratio_low", "ratio_high"), math.nan),
        **dict.fromkeys(("time_ratio", "time_ratio_low", "time_ratio_high", "time_p"), math.nan),
    }
    if known.all() and positive:
        found = mean_log_ratio(logs, both.index.get_level_values("environment_id").to_numpy())
        row |= {key: found[key] for key in ("ratio", "ratio_low", "ratio_high", "p")} | {"test": found["method"]}
    else:
        row |= {"test": "sign", "p": sign_test(won_a, won_b)}
        if finite_a.all() and positive:
            row |= {"ratio": math.exp(logs.mean()), "bound": "at most"}
    if times is not None and {a, b} <= set(times.index):
        row |= _time_ratio(row, logs, steps_a, steps_b, times.loc[a], times.loc[b])
    return row


def _time_ratio(
    row: dict[str, object], logs: np.ndarray, steps_a: np.ndarray, steps_b: np.ndarray, a: pd.Series, b: pd.Series
) -> dict[str, float]:
    """The columns of time of `target_pairs`: Welch and Satterthwaite over steps and both step times."""
    shift = math.log(a["step_s"] / b["step_s"])
    if row["test"] == "sign":
        time_a, time_b = steps_a * a["step_s"], steps_b * b["step_s"]
        p = sign_test(int((time_a < time_b).sum()), int((time_b < time_a).sum()))
        bound = {"time_ratio": math.exp(logs.mean() + shift)} if row["bound"] else {}
        return {"time_p": p, **bound}
    mean = float(logs.mean()) + shift
    variance, df = sum_of_variances(
        [
            (float(logs.var(ddof=1)) / len(logs), len(logs) - 1),
            *((float(t["log_se"]) ** 2, float(t["df"])) for t in (a, b)),
        ]
    )
    if variance == 0:
        return {
            **dict.fromkeys(("time_ratio", "time_ratio_low", "time_ratio_high"), math.exp(mean)),
            "time_p": float(mean == 0),
        }
    half = half_width(df) * math.sqrt(variance)
    return {
        "time_ratio": math.exp(mean),
        "time_ratio_low": safe_exp(mean - half),
        "time_ratio_high": safe_exp(mean + half),
        "time_p": float(2 * special.stdtr(df, -abs(mean) / math.sqrt(variance))),
    }


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
    """The winners by steps and by time to the target, where they differ.

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
        ratio, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
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


def _times_to_target(steps: np.ndarray, num_runs: int, step_time: pd.Series) -> dict[str, float]:
    """Steps x step time; the interval carries both uncertainties (delta method on logs, Welch and Satterthwaite)."""
    if len(steps) < num_runs or (steps <= 0).any():
        return {}
    logs = np.log(steps)
    mean = float(logs.mean()) + math.log(step_time["step_s"])
    result = {"time_to_target_s": math.exp(mean)}
    if len(steps) > 1:
        variance, df = sum_of_variances(
            [
                (float(logs.var(ddof=1)) / len(logs), len(logs) - 1),
                (float(step_time["log_se"]) ** 2, float(step_time["df"])),
            ]
        )
        half = half_width(df) * math.sqrt(variance)
        result |= {"time_to_target_s_low": math.exp(mean - half), "time_to_target_s_high": math.exp(mean + half)}
    return result
