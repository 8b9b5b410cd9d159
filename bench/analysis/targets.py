"""Steps and time to a target loss, with runs that never reach it treated as censored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.inference import half_width, mean_interval, safe_exp, sum_of_variances
from bench.analysis.quality import is_cut_off, is_undisturbed


def steps_to_target(
    runs: pd.DataFrame, curves: pd.DataFrame, target: float, metric: str = "loss", split: str = "val"
) -> pd.DataFrame:
    """Return the steps of each run until an evaluation first reaches the target.

    Reached means at most the target, or at least it for accuracy. A run that never gets there is censored: it needs
    more than `censored_at` steps, and counts as longer than any that did. A run whose loss left the finite numbers would not
    have got there in the rest of its budget either; of one that was cut off for a high loss that is not known. Runs that ended for another reason than their own (failed, interrupted)
    say nothing and are left out.

    Args:
        runs: Rows of one section, with `series`.
        curves: Rows of `curves`.
        target: The value to reach.
        metric: Of `curves`.
        split: Of `curves`.

    Returns:
        One row a run: run_id, series, optimizer, seed, environment_id, reached; steps_to_target: of the first evaluation
        that reaches the target (missing where censored); crossed_at, crossed_s: steps, and seconds of training, at which the
        logarithm of the loss, interpolated between the two evaluations, is at the target (the loss itself where it is not
        positive; 0 where the first evaluation is there already); censored_at (missing where reached); resolution: steps
        since the evaluation before, or between the last two; end_to_end_s: training time at that evaluation, missing where
        the processor was contended or runs were made side by side.

    >>> runs = pd.DataFrame(
    ...     {
    ...         "run_id": ["a", "b"],
    ...         "series": "adam",
    ...         "optimizer": "adam",
    ...         "seed": [0, 1],
    ...         "environment_id": "e",
    ...         "status": "ok",
    ...         "num_steps": 20,
    ...         "num_steps_budget": 20,
    ...     }
    ... )
    >>> curves = pd.DataFrame(
    ...     {
    ...         "run_id": ["a", "a", "a", "b", "b", "b"],
    ...         "step": [0, 10, 20, 0, 10, 20],
    ...         "value": [1.0, 0.5, 0.2, 1.0, 0.7, 0.6],
    ...         "split": "val",
    ...         "metric": "loss",
    ...         "train_time_s": 0.0,
    ...     }
    ... )
    >>> steps_to_target(runs, curves, target=0.5)[["seed", "reached", "steps_to_target", "censored_at"]]
       seed  reached  steps_to_target  censored_at
    0     0     True             10.0          NaN
    1     1    False              NaN         20.0
    """
    wanted = [
        "run_id",
        "series",
        "optimizer",
        "seed",
        "environment_id",
        "status",
        "reason",
        "num_steps",
        "num_steps_budget",
    ]
    table = runs[runs["status"].isin(("ok", "diverged", "timeout", "oom"))]
    table = table.reindex(columns=wanted).assign(_undisturbed=is_undisturbed(table))
    points = curves[
        (curves["split"] == split) & (curves["metric"] == metric) & curves["run_id"].isin(table["run_id"])
    ].sort_values(["run_id", "step"], kind="stable")
    points = points.assign(
        resolution=points.groupby("run_id")["step"].diff().astype(float),
        seconds=points.groupby("run_id")["train_time_s"].diff().astype(float),
    )
    points = points.assign(share=_share(points, target))
    there = points["value"] >= target if metric.endswith("accuracy") else points["value"] <= target
    first = points[there].drop_duplicates("run_id").set_index("run_id")
    last = points.drop_duplicates("run_id", keep="last").set_index("run_id")
    at = first.reindex(table["run_id"])
    reached = at["step"].notna().to_numpy()
    made = table["num_steps"].astype(float).to_numpy()
    made = np.where(np.isnan(made), last["step"].reindex(table["run_id"]).astype(float).to_numpy(), made)
    budget = table["num_steps_budget"].astype(float).to_numpy()
    for_good = (table["status"] == "diverged").to_numpy(bool) & ~is_cut_off(table)
    never = np.where(for_good, np.fmax(budget, made), made)
    return table[["run_id", "series", "optimizer", "seed", "environment_id"]].assign(
        reached=reached,
        steps_to_target=at["step"].astype(float).to_numpy(),
        censored_at=np.where(reached, math.nan, never),
        crossed_at=(at["step"] - (1 - at["share"]) * at["resolution"].fillna(at["step"].astype(float))).to_numpy(float),
        crossed_s=(at["train_time_s"] - (1 - at["share"]) * at["seconds"].fillna(at["train_time_s"])).to_numpy(float),
        resolution=np.where(reached, at["resolution"], last["resolution"].reindex(table["run_id"])).astype(float),
        end_to_end_s=np.where(table["_undisturbed"], at["train_time_s"].astype(float), math.nan),
    ).reset_index(drop=True)  # fmt: skip


def _share(points: pd.DataFrame, target: float) -> np.ndarray:
    """Return how far between the point before and each point a curve is at the target, from 0 to 1, where it passes it there.

    Logarithms are interpolated where they exist, and a first point counts as just passed.
    """
    after = points["value"].to_numpy(float)
    before = points.groupby("run_id")["value"].shift().to_numpy(float)
    positive = (after > 0) & (before > 0) & (target > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = [np.log(np.where(positive, values, 1.0)) for values in (before, after)]
        aim = math.log(target) if target > 0 else 0.0
        by_log = (logs[0] - aim) / (logs[0] - logs[1])
        share = np.where(positive, by_log, (before - target) / (before - after))
    return np.where(np.isnan(before), 0.0, np.clip(np.nan_to_num(share, nan=1.0), 0.0, 1.0))


def time_to_target(
    runs: pd.DataFrame, curves: pd.DataFrame, series: Sequence[str], target: float, times: pd.DataFrame | None
) -> pd.DataFrame:
    """Return the steps, and time, until the validation loss is at most the target for the first time.

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
        mean_steps with _low and _high (geometric mean of the interpolated steps and its t interval) and time_to_target_s with _low and _high
        (mean_steps x step time), both where all seeds got there, end_to_end_s: median training time of the runs at
        that point, of those timed alone, and resolution: median steps between evaluations there.
    """
    each = steps_to_target(runs[runs["series"].isin(series)], curves, target)
    made = []
    for name in series:
        group = each[each["series"] == name]
        reached = group[group["reached"]]
        steps = group["steps_to_target"].fillna(math.inf).to_numpy(float)
        crossed = reached["crossed_at"].to_numpy(float)
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
            if len(reached) == len(group) and (crossed > 0).all():
                means = [safe_exp(value) for value in mean_interval(np.log(crossed))]
                row |= dict(zip(("mean_steps", "mean_steps_low", "mean_steps_high"), means, strict=True))
            if times is not None and name in set(times["series"]):
                row |= _times_to_target(crossed, len(group), times.set_index("series").loc[name])
        made.append(row)
    return pd.DataFrame(made)


def _times_to_target(steps: np.ndarray, num_runs: int, step_time: pd.Series) -> dict[str, float]:
    """Return steps x step time; its interval carries both errors (delta method on logs, see `sum_of_variances`)."""
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
