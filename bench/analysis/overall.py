"""What several workloads say together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.inference import mean_interval, safe_exp
from bench.analysis.leaderboard import Leaderboard, leaderboard
from bench.analysis.profiles import profile_score, times_of
from bench.analysis.section import SectionAnalysis


def comparable(analyses: Sequence[SectionAnalysis]) -> list[SectionAnalysis]:
    """Return the sections that can be put together: those of one environment, tuned ones rather than others.

    Args:
        analyses: The sections of a study.

    Returns:
        None of them where they are of fewer than two workloads.
    """
    keys = ["device", "precision", "num_threads", "environment_id"]
    known = [found for found in analyses if len(found.section.runs) and not found.section.predicted]
    known = [found for found in known if found.section.tuned == any(each.section.tuned for each in known)]
    kinds = [tuple(found.section.runs[keys].iloc[0]) for found in known]
    together = [found for found, kind in zip(known, kinds, strict=True) if kind == max(kinds, key=kinds.count)]
    workloads = {found.section.runs["workload_id"].iloc[0] for found in together}
    return together if len(workloads) > 1 else []


def overall_board(together: Sequence[SectionAnalysis]) -> pd.DataFrame:
    """Return the leaderboard over workloads, see `overall_leaderboard`; empty where there are none.

    Args:
        together: What `comparable` gave.
    """
    if not together:
        return pd.DataFrame()
    return overall_leaderboard(together, [leaderboard(found) for found in together])


def overall_leaderboard(found: Sequence[SectionAnalysis], boards: Sequence[Leaderboard]) -> pd.DataFrame:
    """Return the leaderboard over several workloads.

    Args:
        found: Sections of different workloads that may be put together, at least two.
        boards: The leaderboard of each.

    Returns:
        A row for each optimizer that was compared on all of them, best first. Columns: name; mean_rank: mean of its ranks,
        the last one where it did not learn or did not finish;
        ratio, low, high: geometric mean of its losses relative to those of the first row, with the 95 % interval over
        workloads (Student's t on logarithms), NaN where a workload has none; score: see `profiles.profile_score`,
        missing where the targets give none; num_workloads. Empty where fewer than two optimizers were run on all.
    """
    columns = ["name", "mean_rank", "ratio", "low", "high", "score", "num_workloads"]
    ranks = pd.DataFrame({i: _ranks(board) for i, board in enumerate(boards)}).dropna()
    losses = pd.DataFrame({i: board.rows.set_index("name")["loss"] for i, board in enumerate(boards)}).loc[ranks.index]
    if len(ranks) < 2:
        return pd.DataFrame(columns=columns)
    logs = np.log(losses.where(losses > 0))
    order = pd.DataFrame({"rank": ranks.mean(axis=1), "log": logs.mean(axis=1)}).sort_values(["rank", "log"]).index
    times = times_of(found)
    times = times.loc[:, ~(times <= 0).any()] if times.size else times
    scores = profile_score(times) if min(times.shape) > 1 else pd.Series(dtype=float)
    rows: list[dict[str, Any]] = []
    for name in order:
        apart = (logs.loc[name] - logs.loc[order[0]]).to_numpy(float)
        known = np.isfinite(apart).all()
        limits = [safe_exp(value) for value in mean_interval(apart)] if known else [math.nan] * 3
        rows.append(
            {
                "name": name, "mean_rank": float(ranks.loc[name].mean()), **dict(zip(("ratio", "low", "high"), limits, strict=True)),
                "score": float(scores.get(name, math.nan)), "num_workloads": len(boards),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _ranks(board: Leaderboard) -> pd.Series:
    rows = board.rows.set_index("name")
    lost = rows["badge"].isin(("did not learn", "diverged", "did not finish"))
    return rows["rank"].astype(float).mask(lost, float(len(rows)))
