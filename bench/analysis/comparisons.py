"""Summaries of runs over seeds, paired comparisons between optimizers, and bands of curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.bounds import Sample, p_above, p_below
from bench.analysis.inference import mean_interval
from bench.analysis.paired import RATIO_COLUMNS, chances, corrected, ratio_row
from bench.analysis.quality import is_cut_off
from bench.base.metrics import SUMMARIZED


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarise each series in a row: runs, how they ended, and metrics, times and memory with their spread.

    Args:
        runs: Rows of one section, with `series`.

    Returns:
        Columns: series, optimizer, num_runs, num_ok, statuses ("3 ok"), and for each quantity q of
        the table its mean q, q_low and q_high (95 % t interval over seeds of the runs that ended ok).
        Sorted by mean final validation loss; series without an ok run come last.
    """
    quantities = (
        "final_train_loss",
        "final_train_gap",
        "final_val_loss",
        "best_val_loss",
        "final_test_loss",
        "final_test_accuracy",
        "test_accuracy_at_best_val",
        "num_steps",
        "num_evaluations",
        "step_ms",
        "train_s",
        *SUMMARIZED,
        "peak_rss_mib",
        "peak_allocated_mib",
    )
    runs = runs.reindex(columns=list(dict.fromkeys([*runs, *quantities])))  # tables made by hand may lack some
    rows = []
    for series, group in runs.groupby("series", sort=False):
        ok = group[group["status"] == "ok"]
        counts = group["status"].value_counts()
        row = {
            "series": series,
            "optimizer": group["optimizer"].iloc[0],
            "num_runs": len(group),
            "num_ok": len(ok),
            "statuses": ", ".join(f"{count} {status}" for status, count in counts.items()),
        }
        for quantity in quantities:
            row[quantity], row[f"{quantity}_low"], row[f"{quantity}_high"] = mean_interval(ok[quantity].to_numpy(float))
        rows.append(row)
    spread = [f"{quantity}{bound}" for quantity in quantities for bound in ("", "_low", "_high")]
    table = pd.DataFrame(rows, columns=["series", "optimizer", "num_runs", "num_ok", "statuses", *spread])
    complete = table["num_ok"] == table["num_runs"]
    return (
        table.assign(_incomplete=~complete)
        .sort_values(["_incomplete", "final_val_loss", "series"], kind="stable")
        .drop(columns="_incomplete")
        .reset_index(drop=True)
    )


def paired_ratios(
    runs: pd.DataFrame,
    series: Sequence[str],
    metric: str = "final_val_loss",
    num_settings: Mapping[str, int] | None = None,
    num_looks: Mapping[str, int] | None = None,
) -> pd.DataFrame:
    """Compare every two series over the seeds that both ran, by the logarithms of their ratios, see `ratio_row`.

    A run whose loss left the finite numbers ends no lower than it began; of one that was cut off for a high loss nothing is
    known, and it has no pair. A loss of 0 is below every positive one. Such pairs are known to a
    bound. Where a loss is negative, ratios say nothing, and only who ends lower is compared (order statistics).

    Args:
        runs: Rows of one section, with `series`.
        series: What to compare.
        metric: A column of losses.
        num_settings: Of each series, among how many it was chosen by these runs; 1 where it is not named.
        num_looks: Of each series, at how many numbers of seeds it was to be looked at whether there are enough; likewise.

    Returns:
        Columns: a, b (a is the one that ends lower), `RATIO_COLUMNS` (of a to b), p_holm (adjusted over all comparisons of
        the table), significant (p_holm < .05), adjusted_low and adjusted_high, see `corrected`. A pair with fewer than
        two seeds in common is left out.

    >>> runs = pd.DataFrame(
    ...     {
    ...         "series": ["adam", "adam", "sgd", "sgd"],
    ...         "seed": [0, 1, 0, 1],
    ...         "environment_id": "e",
    ...         "status": "ok",
    ...         "final_val_loss": [0.20, 0.21, 0.30, 0.33],
    ...     }
    ... )
    >>> paired_ratios(runs, ["adam", "sgd"]).round(3)[["a", "b", "ratio", "ratio_low", "ratio_high", "p_holm"]]
          a    b  ratio  ratio_low  ratio_high  p_holm
    0  adam  sgd  0.651      0.485       0.875   0.035
    """
    known = {name: _losses(runs[runs["series"] == name], metric) for name in series}
    rows: list[dict[str, Any]] = []
    samples: list[Sample] = []
    for i, one in enumerate(series):
        for other in list(series)[i + 1 :]:
            both = known[one].add_suffix("_a").join(known[other].add_suffix("_b"), how="inner")
            if len(both) < 2:
                continue
            sample, a, b = _difference(both), one, other
            if p_below(sample, 0.0) > p_above(sample, 0.0):
                sample, a, b = -sample, other, one
            samples.append(sample)
            rows.append({"a": a, "b": b, **ratio_row(sample, *chances(a, b, num_settings, num_looks))})
    table = corrected(rows, samples, ["a", "b", *RATIO_COLUMNS])
    only_order = [bool((np.abs([sample.low, sample.high]) == TINY).any()) for sample in samples]
    unknown = ["ratio", "ratio_low", "ratio_high", "adjusted_low", "adjusted_high"]
    table.loc[only_order, unknown] = math.nan
    table.loc[only_order, "bound"] = ""
    return table


def _losses(runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return, by seed and environment, the least and the most that a loss can be; runs that say nothing are left out."""
    ok, diverged = ((runs["status"] == status).to_numpy(bool) for status in ("ok", "diverged"))
    values = runs[metric].to_numpy(float)
    start = runs["first_train_loss"].to_numpy(float) if "first_train_loss" in runs else np.full(len(runs), math.nan)
    least = np.where(ok, values, start)
    table = pd.DataFrame({"least": least, "most": np.where(ok, values, math.inf)}, index=runs.index)
    table = table.set_index(pd.MultiIndex.from_frame(runs[["seed", "environment_id"]]))
    return table[(ok | (diverged & ~is_cut_off(runs))) & ~np.isnan(least)]


SMALLEST = math.log(5e-324)
"""Logarithm of the smallest positive number: a loss of 0 is at most that."""


def _difference(both: pd.DataFrame) -> Sample:
    """Return bounds of the differences of log losses; where a loss is negative, of nothing but their signs."""
    least_a, most_a, least_b, most_b = (
        both[name].to_numpy(float) for name in ("least_a", "most_a", "least_b", "most_b")
    )
    if min(most_a.min(), most_b.min()) < 0:
        low = np.where(least_a > most_b, 0.0 + TINY, np.where((least_a == most_b), 0.0, -math.inf))
        high = np.where(most_a < least_b, -TINY, np.where((most_a == least_b), 0.0, math.inf))
        return Sample(low, high)
    with np.errstate(divide="ignore", invalid="ignore"):
        lows = [np.where(values > 0, np.log(values), -math.inf) for values in (least_a, least_b)]
        highs = [np.maximum(np.log(values), SMALLEST) for values in (most_a, most_b)]
        low, high = lows[0] - highs[1], highs[0] - lows[1]
    zeros = (most_a == 0) & (most_b == 0)
    low, high = (np.where(zeros, 0.0, bound) for bound in (low, high))
    return Sample(np.where(np.isnan(low), -math.inf, low), np.where(np.isnan(high), math.inf, high))


TINY = 1e-300
"""A difference of which only the sign is known."""


def indistinguishable_groups(pairs: pd.DataFrame, order: Sequence[str]) -> list[list[str]]:
    """Return the maximal groups of series of which no two differ significantly.

    A series may belong to several groups: a may not differ significantly from b, nor b from c, while a and c do. Two
    series that were not compared count as not significantly different. The groups are the maximal cliques of that
    relation. They are found by splitting a group at each significant pair and dropping every group that is contained
    in another (insert and absorb).

    Args:
        pairs: What `paired_ratios` gave: columns a, b, significant.
        order: The series, best first.

    Returns:
        Each group in that order; groups by their members' ranks.

    References:
        Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons" (2004), J. Comput. Graph.
        Stat. 13.

    >>> pairs = pd.DataFrame({"a": ["a", "a", "b"], "b": ["b", "c", "c"], "significant": [False, True, False]})
    >>> indistinguishable_groups(pairs, ["a", "b", "c"])
    [['a', 'b'], ['b', 'c']]
    """
    rank = {name: i for i, name in enumerate(order)}
    groups: list[frozenset[str]] = [frozenset(order)] if rank else []
    for pair in pairs[pairs["significant"].astype(bool)].itertuples():
        if pair.a not in rank or pair.b not in rank:
            continue
        split = []
        for group in groups:
            split += [group - {pair.a}, group - {pair.b}] if {pair.a, pair.b} <= group else [group]
        distinct = list(dict.fromkeys(split))
        groups = [group for group in distinct if not any(group < other for other in distinct)]
    return sorted((sorted(group, key=rank.__getitem__) for group in groups), key=lambda g: [rank[name] for name in g])


def bands(curves: pd.DataFrame, x: str) -> pd.DataFrame:
    """Return the median and range over the seeds of each series, at each point that all of its runs reached.

    Args:
        curves: Rows of `curves` of one split and metric, with `series`.
        x: "step", "epoch" or "train_time_s". Times differ between seeds: the median time is taken
            at each step.

    Returns:
        Columns: series, x, median, low, high, num_runs.
    """
    grouped = curves.groupby(["series", "step"], sort=True)
    table = grouped.agg(
        x=(x, "median"),
        median=("value", "median"),
        low=("value", "min"),
        high=("value", "max"),
        num_runs=("run_id", "nunique"),
    ).reset_index()
    most = table.groupby("series")["num_runs"].transform("max")
    return table[table["num_runs"] == most].drop(columns="step" if x != "step" else []).reset_index(drop=True)


def paths(runs: pd.DataFrame, trajectories: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """Return the path of each series over the plane, that of its first seed, as far as it is finite.

    Args:
        runs: Rows of one section, with `series`.
        trajectories: Rows of the side table `trajectories`.
        series: Which, and in what order.

    Returns:
        Columns: series, status, step, x, y, value; by step within a series. Series without a path are
        left out.
    """
    known = runs[runs["series"].isin(series) & runs["run_id"].isin(trajectories["run_id"])]
    first = known.sort_values("seed", kind="stable").drop_duplicates("series")[["run_id", "series", "status"]]
    table = first.merge(trajectories.dropna(subset=["x", "y"]), on="run_id")
    rank = table["series"].map({name: i for i, name in enumerate(series)})
    table = table.assign(_rank=rank).sort_values(["_rank", "step"], kind="stable")
    return table[["series", "status", "step", "x", "y", "value"]].reset_index(drop=True)


def surface(surfaces: pd.DataFrame, workload_id: object) -> pd.DataFrame | None:
    """Return a function on its grid, a row for each y, a column for each x, both ascending; None where it is unknown.

    Args:
        surfaces: Rows of the side table `surfaces`, of any workloads.
        workload_id: Which.
    """
    rows = surfaces[surfaces["workload_id"] == workload_id] if pd.notna(workload_id) else surfaces.iloc[:0]
    return grid_of(rows)


def grid_of(points: pd.DataFrame) -> pd.DataFrame | None:
    """Return the values of points of a grid, columns x, y and value, as `surface` does."""
    grid = points.drop_duplicates(["x", "y"]).pivot(index="y", columns="x", values="value").sort_index(axis=1)
    return grid if min(grid.shape) > 1 and grid.notna().any(axis=None) else None


def lowest_point(grid: pd.DataFrame) -> tuple[float, float, float]:
    """Return (x, y, value) of the lowest point of a `surface`."""
    row, column = np.unravel_index(np.nanargmin(grid.to_numpy(float)), grid.shape)
    return float(grid.columns[column]), float(grid.index[row]), float(grid.iloc[int(row), int(column)])
