"""The comparison of two studies in words and tables."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench.analysis.study_diff import FAILURES, ONCE_A_CELL, QUANTITIES, TwoStudies
from bench.report.formatting import aligned_table


def readable_comparisons(table: pd.DataFrame) -> pd.DataFrame:
    """Return `comparisons` of one workload as people read them: a row a series, a column a quantity."""
    rows = []
    for series, group in table.groupby("series", sort=False):
        by_quantity = {str(row.quantity): row for row in group.itertuples()}
        cells = {f"{title} B/A": _cell_words(by_quantity[name]) for name, title in QUANTITIES.items()}
        rows.append({"optimizer": str(series), **cells})
    return pd.DataFrame(rows)


def _cell_words(row: Any) -> str:
    told = []
    if row.num_pairs:
        ratio, low, high = row.ratio, row.ratio_low, row.ratio_high
        interval = "" if math.isnan(low) or low == high else f" [{low:.4g}, {high:.4g}]"
        pairs = "" if row.column in ONCE_A_CELL else f" ({row.num_pairs} pair{'s' * (row.num_pairs != 1)})"
        told.append(f"{ratio:.4g}{interval}{pairs}" + ("" if row.num_lost else f" {row.verdict}"))
    if row.num_lost:
        told.append(f"{_runs(row.num_lost)} no longer ok")
    if row.num_regained:
        told.append(f"{_runs(row.num_regained)} now ok")
    return "; ".join(told) or "not compared"


def _runs(num: int) -> str:
    return f"{num} run{'s' * (num != 1)}"


def conclusion(found: TwoStudies, tolerance: float, fail_on: Sequence[str]) -> str:
    """Return in a few sentences what got worse, and what is undecided."""
    table = found.comparisons
    percent = f"{100 * tolerance:.3g} %"
    said = []
    for verdict, title in (
        ("lost", "No longer ending ok"),
        ("worse", f"Worse by more than {percent}"),
        ("better", f"Better by more than {percent}"),
    ):
        rows = table[table["verdict"] == verdict]
        listed = [
            f"{QUANTITIES[str(row.quantity)]} of {row.series} ({row.workload}), {_cell_words(row)}"
            for row in rows.itertuples()
        ]
        if listed:
            said.append(f"{title}: {'; '.join(listed)}.")
    if not table["verdict"].isin(FAILURES).any():
        said.append(f"Nothing is significantly worse by more than {percent}.")
    unknown = table.loc[
        (table["verdict"] == "cannot tell") & table["quantity"].isin(fail_on), "quantity"
    ].value_counts()
    if len(unknown):
        counts = ", ".join(f"{QUANTITIES[str(name)]} of {count}" for name, count in unknown.items())
        said.append(f"Cannot tell: {counts} of {table['cell_id'].nunique()} cells; more seeds would decide.")
    missing = table.loc[table["verdict"].isna() & table["quantity"].isin(fail_on), "quantity"].value_counts()
    if len(missing):
        counts = ", ".join(f"{QUANTITIES[str(name)]} of {count}" for name, count in missing.items())
        said.append(f"Not compared: {counts} of {table['cell_id'].nunique()} cells.")
    return " ".join(said)


def method(found: TwoStudies, tolerance: float) -> list[str]:
    """Return how the comparison was made, a sentence each."""
    percent = f"{100 * tolerance:.3g} %"
    return [
        *found.notes,
        "Runs are paired by cell and seed; a ratio is B's over A's, its 95 % interval Student's t on the log-ratios, unadjusted.",
        f"Worse and better: beyond {percent} after Holm's correction over all comparisons of that quantity."
        f" No difference: the interval lies within {percent}.",
        "Step times are end to end and not interleaved: they include whatever else differed between the two measurements, which"
        " their interval does not cover. Contended runs, and runs made side by side, are left out.",
        "Peak memory is that of the tensors, measured once a cell: a number without an interval.",
    ]


def text(found: TwoStudies, names: tuple[str, str], tolerance: float, fail_on: Sequence[str]) -> str:
    """Return the comparison for a terminal.

    Args:
        found: What `compare_studies` gave.
        names: The two studies in words.
        tolerance: As it was given.
        fail_on: Quantities that decide the exit status.
    """
    lines = [*head(found, names), ""]
    for workload, group in found.comparisons.groupby("workload", sort=False):
        lines += [str(workload), *aligned_table(readable_comparisons(group)), ""]
    for name, cells in zip("AB", found.only, strict=True):
        if cells:
            lines += [f"Only in {name}:", *(f"  {cell}" for cell in cells), ""]
    lines += [textwrap.fill(sentence, 110) for sentence in method(found, tolerance)]
    return "\n".join([*lines, "", textwrap.fill(conclusion(found, tolerance, fail_on), 110)])


def markdown(found: TwoStudies, names: tuple[str, str], tolerance: float, fail_on: Sequence[str]) -> str:
    """Return the comparison as Markdown, in which names are texts; arguments as for `text`."""
    from bench.report.markdown import markdown_table, markdown_text

    def listed(sentences: Sequence[str]) -> str:
        return "\n".join(f"- {markdown_text(sentence)}" for sentence in sentences)

    parts = ["# Two studies", markdown_text(conclusion(found, tolerance, fail_on)), listed(head(found, names))]
    for workload, group in found.comparisons.groupby("workload", sort=False):
        parts += [f"## {markdown_text(workload)}", markdown_table(readable_comparisons(group))]
    for name, cells in zip("AB", found.only, strict=True):
        if cells:
            parts += [f"## Only in {name}", listed(cells)]
    return "\n\n".join([*parts, "## Method", listed(method(found, tolerance))]) + "\n"


def head(found: TwoStudies, names: tuple[str, str]) -> list[str]:
    """Return what was compared, a sentence each."""
    where = [
        f"{letter}: {name} ({'; '.join(told)})"
        for letter, name, told in zip("AB", names, found.environments, strict=True)
    ]
    num, same = found.num_paired, found.num_identical
    told = "all" if num and same == num else f"{same} of {num}"
    return [*where, f"{num} paired runs; {told} with bit-identical curves."]
