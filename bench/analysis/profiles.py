"""Numbers over several workloads: performance profiles, their scores and how stable those are; Pareto fronts.

A table of *times* has a row for each submission (an optimizer with its tuning) and a column for each workload: the
time, or the steps, that it took to the target. Missing or infinite: it never got there.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from bench.analysis.section import SectionAnalysis
from bench.analysis.step_costs import step_times


def _ratios(times: pd.DataFrame) -> pd.DataFrame:
    """Each time over the best of its workload, at least 1; inf where it never got there."""
    t = times.astype(float).fillna(math.inf)
    if (t <= 0).any(axis=None):
        raise ValueError(
            f"times must be above 0, got {float(t.min(axis=None)):g}; leave out what was reached at the start"
        )
    best = t.min()
    return (t / best.where(np.isfinite(best), 1.0)).where(np.isfinite(t), math.inf)


def performance_profile(times: pd.DataFrame, tau_max: float = 4.0) -> pd.DataFrame:
    """Share of the workloads on which a submission is within a factor of the fastest.

    rho_s(tau) = share of the workloads w with r_sw <= tau, r_sw = t_sw / min over s' of t_s'w.

    Args:
        times: A row a submission, a column a workload, above 0; missing or inf where the target was never reached.
        tau_max: Largest factor, at least 1.

    Returns:
        Columns: submission, tau, share: the corners of the step function, which holds its share from each tau to the
        next; from tau = 1 to tau_max for every submission.

    Raises:
        ValueError: A time is 0 or less.

    References:
        Dolan and Moré, "Benchmarking optimization software with performance profiles" (2002), Math. Program. 91,
        arXiv cs/0102001.
    """
    ratios = _ratios(times)
    rows = []
    for submission, r in ratios.iterrows():
        corners = sorted({1.0, tau_max, *(float(value) for value in r if value <= tau_max)})
        rows += [{"submission": submission, "tau": tau, "share": float((r <= tau).mean())} for tau in corners]
    return pd.DataFrame(rows, columns=["submission", "tau", "share"])


def profile_score(times: pd.DataFrame, tau_max: float = 4.0, num_points: int | None = None) -> pd.Series:
    """Mean height of each `performance_profile` from 1 to tau_max, between 0 and 1.

    The exact integral of the step function: mean over workloads of max(0, tau_max - r) / (tau_max - 1).

    Args:
        times: As for `performance_profile`.
        tau_max: Above 1.
        num_points: Instead, that many equally spaced points and the trapezoid rule; AlgoPerf publishes scores with 100.

    Returns:
        A score a submission, as in the index of `times`.

    References:
        Dahl et al., "Benchmarking Neural Network Training Algorithms" (2023), arXiv 2306.07179.
    """
    ratios = _ratios(times)
    if num_points is None:
        return ((tau_max - ratios).clip(lower=0) / (tau_max - 1)).mean(axis=1).rename("score")
    tau = np.linspace(1, tau_max, num_points)
    shares = (ratios.to_numpy()[:, :, None] <= tau).mean(axis=1)
    return pd.Series(np.trapezoid(shares, tau, axis=1) / (tau_max - 1), index=times.index, name="score")


def leave_one_out(times: pd.DataFrame, score: Callable[[pd.DataFrame], pd.Series] = profile_score) -> pd.DataFrame:
    """Scores of the others when each submission in turn is left out.

    A profile compares with the best of the field, so who took part decides the scores, and with them the ranks.

    Args:
        times: As for `performance_profile`.
        score: From times to a score a submission.

    Returns:
        A row a submission, a column for who was left out; missing on the diagonal.
    """
    return pd.DataFrame({out: score(times.drop(index=out)) for out in times.index}).reindex(times.index)


def rank_flips(scores: pd.Series, without: pd.DataFrame) -> pd.DataFrame:
    """Pairs of submissions that change places when a third is left out.

    Args:
        scores: Of the whole field; higher is better.
        without: What `leave_one_out` gave.

    Returns:
        Columns: left_out, above (the one that is ahead without it, though behind with it), below, above_score and
        below_score without it. Sorted by the better rank of the two in the whole field.
    """
    rows = []
    for out in without:
        column = without[out].drop(index=out)
        rows += [
            {"left_out": out, "above": a, "below": b, "above_score": column[a], "below_score": column[b]}
            for a, b in itertools.permutations(column.index, 2)
            if column[a] > column[b] and scores[a] < scores[b]
        ]
    table = pd.DataFrame(rows, columns=["left_out", "above", "below", "above_score", "below_score"])
    rank = scores.rank(ascending=False, method="first")
    return table.iloc[np.argsort(table["below"].map(rank).to_numpy(float), kind="stable")].reset_index(drop=True)


def pareto_front(table: pd.DataFrame, x: str, y: str) -> pd.Series:
    """Whether no other row is at least as low in both columns, and lower in one.

    Args:
        table: Any.
        x: A column, lower is better.
        y: Another.

    Returns:
        A bool a row; a row with a missing value is never on the front, nor beats another.
    """
    points = table[[x, y]].astype(float).to_numpy()
    known = ~np.isnan(points).any(axis=1)
    no_worse = (points[:, None, :] <= points[None, :, :]).all(axis=2)
    better = (points[:, None, :] < points[None, :, :]).any(axis=2)
    beaten = (no_worse & better & known[:, None]).any(axis=0)
    return pd.Series(known & ~beaten, index=table.index)


def times_of(analyses: Sequence[SectionAnalysis], in_seconds: bool = False) -> pd.DataFrame:
    """Return the steps, or seconds, to the target: optimizers by workloads, to make a profile of.

    Each section has its own target. Each optimizer stands with its best series, and its
    implementation where there are several.

    Args:
        analyses: Sections of different workloads, all tuned or none.
        in_seconds: Give steps x step time, and leave out sections whose step times were not measured.

    Returns:
        A column a section, by its title, of medians over seeds; inf where half the seeds or more never got there,
        missing where an optimizer was not run. Sections without a target are left out.
    """
    columns: dict[str, pd.Series] = {}
    for found in analyses:
        runs = found.section.runs
        if found.target is None:
            continue
        times = step_times(runs, found.leaders, found.step_cost_rows) if in_seconds else None
        if in_seconds and times is None:
            continue
        table = found.time_to_target.set_index("series")["steps_to_target"]
        if times is not None:
            table = table * times.set_index("series")["step_s"]
        first = runs.drop_duplicates("series").set_index("series").loc[found.leaders]
        several = first["optimizer"].duplicated(keep=False)
        names = first["optimizer"].where(~several, first["optimizer"] + " " + first["implementation"])
        values = table.loc[found.leaders].fillna(math.inf).to_numpy(float)
        columns[found.section.title] = pd.Series(values, index=names.to_numpy())
    return pd.DataFrame(columns)
