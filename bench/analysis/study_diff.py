"""Compare two studies, configuration by configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench import tables
from bench.analysis.inference import mean_interval, p_value, with_holm
from bench.analysis.quality import is_undisturbed
from bench.analysis.sections import sections
from bench.analysis.verdict import CANNOT_TELL, NO_DIFFERENCE, is_significant, standing
from bench.base.errors import UserError

QUANTITIES = {"loss": "final loss", "time": "step time", "memory": "peak memory"}
"""What is compared, and its title."""


COLUMNS = {"loss": ("final_val_loss",), "time": ("step_ms",), "memory": ("peak_tensors_mib", "peak_allocated_mib")}
"""Columns of `runs` that it is taken from: the first that both studies have. The process's resident memory is no such
column: runs of one process are not independent of each other in it."""


ONCE_A_CELL = ("peak_tensors_mib",)
"""Columns that are measured once for all seeds of a cell: a number without an interval."""


LOST = ("diverged", "oom", "timeout", "failed")
"""Statuses that are worse than `ok`."""


NO_RESULT = ("skipped", "interrupted", "pruned")


VERDICTS = ("same", "lost", "worse", "better", NO_DIFFERENCE, CANNOT_TELL)
"""What may become of a quantity of a cell: `lost` where runs that ended ok no longer do."""


FAILURES = ("lost", "worse")


@dataclass(frozen=True)
class TwoStudies:
    """What two studies have in common, and what became of it.

    Attributes:
        comparisons: One row a workload, series and quantity, with the columns `_NAMES`.
        num_paired: Runs, by cell and seed, that both studies have.
        num_identical: Of these, runs with the same curves to the bit, times apart.
        only: What only the first and only the second has, a line each.
        environments: Where the runs of each were made, a sentence each.
        notes: What else must be known.
    """

    comparisons: pd.DataFrame
    num_paired: int
    num_identical: int
    only: tuple[list[str], list[str]]
    environments: tuple[list[str], list[str]]
    notes: list[str]


def compare_studies(a: tables.Study, b: tables.Study, tolerance: float) -> TwoStudies:
    """Compare the cells that two studies share.

    Args:
        a: The first study: before.
        b: The second: after.
        tolerance: Relative increase that does not matter, >= 0: 0.05 for 5 %.

    Raises:
        UserError: They share no cell or only trials, or not its data, or no seed of it.
    """
    first, second = (_results(study.runs) for study in (a, b))
    shared = set(first["cell_id"]) & set(second["cell_id"])
    if not shared:
        raise UserError(
            "STUDY_B must share at least one cell (a configuration without its seed) with STUDY_A, got none in common;"
            " run the same commands for both"
        )
    both = pd.concat([first.assign(side="a"), second.assign(side="b")], ignore_index=True)
    rows, only = _cells(both, tolerance)
    if both.loc[both["cell_id"].isin(shared), "stage"].eq("tune").all():
        raise UserError(
            "STUDY_B must share more than trials with STUDY_A, got trials of a sweep only; finish both sweeps with the"
            " same command"
        )
    if not rows:
        raise UserError(
            "STUDY_B must hold runs on the data of STUDY_A, got other data under every cell that both have; run both on"
            " the same"
        )
    pairs = first.merge(second, on=["cell_id", "seed"], suffixes=("_a", "_b"))
    if pairs.empty:
        raise UserError(
            "STUDY_B must share at least one seed of a cell with STUDY_A, got none in common; run the same seeds for both"
        )
    return TwoStudies(
        comparisons=_judged(rows, tolerance),
        num_paired=len(pairs),
        num_identical=int(_identical(pairs, a.curves, b.curves).sum()),
        only=only,
        environments=(_environments(first), _environments(second)),
        notes=[*_doubled("A", a.runs, first), *_doubled("B", b.runs, second)],
    )


def _cells(both: pd.DataFrame, tolerance: float) -> tuple[list[dict[str, object]], tuple[list[str], list[str]]]:
    """Compare cell by cell; return the rows of `TwoStudies.comparisons` so far, and what only one study has."""
    only: tuple[list[str], list[str]] = ([], [])
    rows: list[dict[str, object]] = []
    for section in sections(both, mix_environments=True):
        for (series, _), cell in section.runs.groupby(["series", "cell_id"], sort=False):
            sides = set(cell["side"])
            if len(sides) == 2:
                rows += _cell(section.title, str(series), cell, tolerance)
            else:
                seeds = f"{len(cell)} seed{'s' * (len(cell) > 1)}"
                only["ab".index(sides.pop())].append(f"{section.title}: {series} ({seeds})")
    return rows, only


def _judged(rows: list[dict[str, object]], tolerance: float) -> pd.DataFrame:
    """Return the comparisons as a table, with p after Holm's correction, a quantity at a time, and verdicts."""
    table = pd.DataFrame(rows, columns=_NAMES)
    for _, group in table.groupby("quantity"):
        table.loc[group.index, "p_holm"] = with_holm(group)["p_holm"]
    table["verdict"] = [_verdict(row, tolerance) for row in table.itertuples()]
    return table


def _doubled(name: str, runs: pd.DataFrame, kept: pd.DataFrame) -> list[str]:
    """Return a note where a study holds several results of one cell and seed."""
    doubled = int((~runs["status"].isin(NO_RESULT) & (runs["stage"] != "predicted")).sum()) - len(kept)
    return (
        [f"{name} holds {doubled} runs made again in another environment; the newest of each counts."]
        if doubled
        else []
    )


_NAMES = [
    "workload", "series", "cell_id", "quantity", "column", "num_pairs", "num_lost", "num_regained",
    "ratio", "ratio_low", "ratio_high", "p", "p_holm", "verdict",
]  # fmt: skip


def _results(runs: pd.DataFrame) -> pd.DataFrame:
    """Keep the newest run of each cell and seed; predictions and runs that were not carried out are no results."""
    made = runs[(runs["stage"] != "predicted") & ~runs["status"].isin(NO_RESULT)]
    return made.sort_values("started_at", kind="stable").drop_duplicates(["cell_id", "seed"], keep="last")


def _cell(workload: str, series: str, cell: pd.DataFrame, tolerance: float) -> Iterator[dict[str, object]]:
    """Yield a row of `TwoStudies.comparisons` for each quantity of one cell that both studies have."""
    a, b = (cell[cell["side"] == side].set_index("seed") for side in "ab")
    seeds = a.index.intersection(b.index)
    a, b = a.loc[seeds], b.loc[seeds]
    ended = (a["status"] == "ok") & (b["status"] == "ok")
    for quantity, columns in COLUMNS.items():
        row: dict[str, object] = {"workload": workload, "series": series, "cell_id": cell["cell_id"].iloc[0]}
        row |= {"quantity": quantity, "num_lost": 0, "num_regained": 0, "p": math.nan, "p_holm": math.nan}
        usable = ended & is_undisturbed(a) & is_undisturbed(b) if quantity == "time" else ended
        measured = [c for c in columns if c in cell and (usable & (a[c] > 0) & (b[c] > 0)).any()]
        column = measured[0] if measured else columns[0]
        logs = [np.log(side.loc[usable, column].astype(float).where(lambda x: x > 0)) for side in (a, b)]
        differences = (logs[1] - logs[0]).dropna().to_numpy()
        if quantity == "loss":
            row["num_lost"] = int(((a["status"] == "ok") & b["status"].isin(LOST)).sum())
            row["num_regained"] = int((a["status"].isin(LOST) & (b["status"] == "ok")).sum())
        if column in ONCE_A_CELL:
            differences = differences[:1]
        mean, low, high = mean_interval(differences)
        if len(differences) > 1:
            row["p"] = _p_beyond(differences, tolerance)
        ratios = zip(("ratio", "ratio_low", "ratio_high"), np.exp([mean, low, high]).tolist(), strict=True)
        yield row | {"column": column, "num_pairs": len(differences)} | dict(ratios)


def _p_beyond(differences: np.ndarray, tolerance: float) -> float:
    """Return the two-sided p that the mean log-ratio lies no further from 0 than the tolerance; 1 where it is seen to.

    It is below .05 just where the 95 % interval lies wholly beyond the tolerance.
    """
    edge, mean = math.log1p(tolerance), float(differences.mean())
    return p_value(differences - math.copysign(edge, mean)) if abs(mean) > edge else 1.0


def _verdict(row: Any, tolerance: float) -> str | None:
    """Return one of `VERDICTS`; None where there is nothing to compare."""
    if row.num_lost:
        return "lost"
    num_pairs, ratio, low, high = row.num_pairs, row.ratio, row.ratio_low, row.ratio_high
    if not num_pairs:
        return None
    if row.column in ONCE_A_CELL:
        low = high = ratio
    if ratio == 1 and (low == high == 1 or num_pairs == 1):
        return "same"
    significant = is_significant(row.p_holm) or row.column in ONCE_A_CELL
    found = standing(low, high, 1 / (1 + tolerance), 1 + tolerance, significant)
    return {"within": NO_DIFFERENCE, "above": "worse", "below": "better", "unclear": CANNOT_TELL}[found]


def _identical(pairs: pd.DataFrame, curves_a: pd.DataFrame, curves_b: pd.DataFrame) -> pd.Series:
    """Tell for each pair of runs whether they went through the same values, to the bit, and ended alike.

    Args:
        pairs: With run_id_a, run_id_b, status_a and status_b.
        curves_a: Rows of `curves` of the first study.
        curves_b: Rows of `curves` of the second.
    """
    at = ["pair", "step", "split", "metric"]
    numbered = pairs.assign(pair=range(len(pairs)))
    sides = [
        curves.merge(numbered[["pair", f"run_id_{side}"]], left_on="run_id", right_on=f"run_id_{side}")[[*at, "value"]]
        for side, curves in (("a", curves_a), ("b", curves_b))
    ]
    points = sides[0].merge(sides[1], on=at, how="outer", suffixes=("_a", "_b"))
    alike = (points["value_a"] == points["value_b"]).groupby(points["pair"]).all()
    return alike.reindex(numbered["pair"], fill_value=False) & (pairs["status_a"] == pairs["status_b"]).to_numpy(bool)


def _environments(runs: pd.DataFrame) -> list[str]:
    told = []
    for _, row in runs.drop_duplicates(["environment_id", "bench_version", "git_commit"]).iterrows():
        machine = row["gpu"] if pd.notna(row["gpu"]) else row["cpu"]
        parts = [
            None if pd.isna(machine) else str(machine),
            None if pd.isna(row["num_cores"]) else f"{row['num_cores']} cores",
            None if pd.isna(row["torch_version"]) else f"torch {row['torch_version']}",
            None if pd.isna(row["python_version"]) else f"Python {row['python_version']}",
            None if pd.isna(row["bench_version"]) else f"bench {row['bench_version']}",
            None if pd.isna(row["git_commit"]) else f"at {row['git_commit']}",
        ]
        told.append(", ".join(part for part in parts if part))
    return told
