"""Summaries of runs over seeds, paired comparisons between optimizers, and bands of curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.inference import RATIO_COLUMNS, mean_interval, mean_log_ratio, with_holm


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a series: n, how the runs ended, and metrics, times and memory with their spread.

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
        "latency_ms",
        "latency_batch_ms",
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


def paired_ratios(runs: pd.DataFrame, series: Sequence[str], metric: str = "final_val_loss") -> pd.DataFrame:
    """Compare every two series over the seeds that both finished: paired log-ratios, see `mean_log_ratio`.

    Intervals are unadjusted; `p_holm` is adjusted over all comparisons of the table.

    Args:
        runs: Rows of one section, with `series`.
        series: What to compare.
        metric: A column of positive numbers.

    Returns:
        Columns: a, b (a is the one with the lower geometric mean over the pairs), num_pairs, ratio
        (of a to b), ratio_low, ratio_high, p, log_sd (of the paired log-ratios), method (t or bootstrap), p_holm,
        significant (p_holm < .05). A pair with fewer than two seeds in common is left out.
    """
    ok = runs[(runs["status"] == "ok") & (runs[metric] > 0)]
    keys = ["seed", "environment_id"]
    logs = {name: np.log(ok[ok["series"] == name].set_index(keys)[metric].astype(float)) for name in series}
    rows = []
    for i, a in enumerate(series):
        for b in list(series)[i + 1 :]:
            first, second = logs[a].align(logs[b], join="inner")
            difference = first - second
            if len(difference) < 2:
                continue
            lower_first = difference.mean() <= 0
            strata = difference.index.get_level_values("environment_id").to_numpy()
            found = mean_log_ratio((difference if lower_first else -difference).to_numpy(), strata)
            rows.append({"a": a if lower_first else b, "b": b if lower_first else a, **found})
    table = pd.DataFrame(rows, columns=["a", "b", *RATIO_COLUMNS])
    return with_holm(table)


def indistinguishable_groups(pairs: pd.DataFrame, order: Sequence[str]) -> list[list[str]]:
    """Maximal groups of series of which no two can be told apart.

    A series may stand in several groups: if a and b cannot be told apart, nor b and c, a and c still may. Two that
    were not compared cannot be told apart either. The groups are the maximal cliques of that relation, found by
    splitting a group at each pair that is told apart and dropping what another group holds (insert and absorb).

    Args:
        pairs: What `paired_ratios` gave: columns a, b, significant.
        order: The series, best first.

    Returns:
        Each group in that order; groups by their members' ranks.

    References:
        Piepho, "An algorithm for a letter-based representation of all-pairwise comparisons" (2004), J. Comput. Graph.
        Stat. 13.
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
    """Median and range over the seeds of a series, at each point that all of its runs reached.

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
    """The path of each series over the plane, that of its first seed, as far as it is finite.

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
    """A function on its grid: a row for each y, a column for each x, both ascending; None where it is not known.

    Args:
        surfaces: Rows of the side table `surfaces`, of any workloads.
        workload_id: Which.
    """
    rows = surfaces[surfaces["workload_id"] == workload_id] if pd.notna(workload_id) else surfaces.iloc[:0]
    grid = rows.drop_duplicates(["x", "y"]).pivot(index="y", columns="x", values="value").sort_index(axis=1)
    return grid if min(grid.shape) > 1 and grid.notna().any(axis=None) else None


def lowest_point(grid: pd.DataFrame) -> tuple[float, float, float]:
    """(x, y, value) where a `surface` is lowest."""
    row, column = np.unravel_index(np.nanargmin(grid.to_numpy(float)), grid.shape)
    return float(grid.columns[column]), float(grid.index[row]), float(grid.iloc[int(row), int(column)])
