"""Tables of verdicts and comparisons, for a terminal and a page."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from bench.claims.effects.evidence import DEFAULT, TUNED
from bench.claims.evaluate import FACT, UNTESTABLE, at_key
from bench.claims.ledger import Claim, Ledger
from bench.claims.report.forest import reach, small_forest
from bench.claims.report.i18n import Words

FEW = 2
"""Comparisons of a claim at one setting that its row spells out; of more it says how many came out how."""


MAX_COLUMNS, WIDEST_CELL = 130, 38
"""Of the table for a terminal."""


def shown(ledger: Ledger, judged: pd.DataFrame) -> pd.DataFrame:
    """Comparisons with what a reader is shown of them.

    Args:
        ledger: The claims.
        judged: What `bench.claims.evaluate.comparisons` gave.

    Returns:
        The same rows. Estimates and limits of a quantity that is held against a number are in its own unit rather than
        ratios to that number, which is `center` (else 1 for ratios, 0 for differences); band_low and band_high: between
        them a difference does not count; opponent_key: what it is compared with, in English.
    """
    ratio = (judged["unit"] == "ratio").to_numpy(bool)
    references = [ledger.claims[name].reference for name in judged["claim"]]
    center = np.array([float(ratio[i]) if value is None else value for i, value in enumerate(references)], dtype=float)
    scale = np.where(ratio, center, 1.0)
    shift = np.where(ratio, 0.0, center)
    delta = judged["delta"].to_numpy(float)
    table = judged.assign(
        center=center,
        band_low=np.where(ratio, center / (1 + delta), center - delta),
        band_high=np.where(ratio, center * (1 + delta), center + delta),
    )
    for name in ("estimate", "low", "high"):
        table[name] = table[name].astype(float) * scale + shift
    table["estimate"] = table["estimate"].where(np.isfinite(table["estimate"]))
    table["low"] = table["low"].mask(ratio & (table["low"] <= 0), -math.inf)
    words = Words("en")
    table["opponent_key"] = pd.Series([words.opponent(row) for row in table.itertuples()], table.index, dtype=object)
    return table


def distinct_tests(judged: pd.DataFrame) -> pd.DataFrame:
    """Return the comparisons that have a p, each once: one may serve several claims."""
    tested = judged[judged["p"].notna() & (judged["method"] != "exact")]
    sides = [tuple(sorted((row.a, str(row.b)))) for row in tested.itertuples()]
    return tested.assign(sides=sides).drop_duplicates(["quantity", "workload", "at", "sides", "delta"])


@dataclass(frozen=True)
class TableCell:
    """What the table of all claims says of one claim at one setting.

    Attributes:
        at: The setting.
        verdict: The word of it, a key of the words.
        holds: Whether the claim holds; None: nothing was run.
        text: The effect, or how many comparisons came out how.
        plot: A small forest plot.
    """

    at: str
    verdict: str
    holds: str | None
    text: str
    plot: Markup


def comparison_cells(
    claim: Claim, lines: pd.DataFrame, found: pd.DataFrame, words: Words, few: int = FEW
) -> dict[str, TableCell]:
    """Return the verdicts on a claim, by setting."""
    cells = {}
    scales = {str(unit): reach(group) for unit, group in lines.groupby("unit", sort=False)}
    for verdict in found[found["claim"] == claim.id].itertuples():
        rows = lines[at_key(lines) == verdict.at]
        text = _cell_text(rows, str(verdict.verdict), words, few)
        label = f"{words.at(str(verdict.at))}: {words(verdict.verdict)}. {text}"
        plot = small_forest(rows, scales, label, words) if len(rows) else Markup("")
        holds = verdict.holds if isinstance(verdict.holds, str) else None
        cells[str(verdict.at)] = TableCell(str(verdict.at), verdict.verdict, holds, text, plot)
    return cells


def _cell_text(rows: pd.DataFrame, verdict: str, words: Words, few: int) -> str:
    """Return the effects of few comparisons; of many how they came out."""
    run = rows[rows["verdict"] != "not run"]
    if run.empty:
        return ""
    if len(run) <= few:
        several = len(rows) > 1
        differs = rows["quantity"].nunique() > 1
        return words.semicolon.join(
            f"{(words.quantity(row.quantity) if differs else row.workload) + ' ' if several else ''}{words.effect(row)}"
            for row in run.itertuples()
        )
    counts = run["verdict"].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    if few < FEW:
        if verdict == "mixed":
            return words("count of", num=counts.get("supported", 0), all=len(run), verdict=words("supported"))
        return words("of", num=counts.get(verdict, 0), all=len(run))
    (first, most), *others = counts.items()
    said = [words("count of", num=most, all=len(run), verdict=words(str(first)))]
    said += [words("count", num=num, verdict=words(str(verdict))) for verdict, num in others]
    return words.listed(said)


def _short(cell: TableCell | None, words: Words) -> str:
    """Return `supported (yes) 0.62 [0.55, 0.7]`."""
    if cell is None:
        return ""
    verdict = words(cell.verdict)
    if cell.holds is not None:
        verdict = words("short", verdict=verdict, answer=words(cell.holds))
    return f"{verdict} {cell.text}".rstrip()


def verdict_table(ledger: Ledger, judged: pd.DataFrame, found: pd.DataFrame, language: str = "en") -> pd.DataFrame:
    """Return the verdicts on all claims as texts.

    Args:
        ledger: The claims.
        judged: What `bench.claims.evaluate.comparisons` gave.
        found: What `bench.claims.evaluate.verdicts` gave.
        language: en or zh.

    Returns:
        One row a claim: its id, what it says, and how it came out as given, and tuned. A statement of fact, and a claim
        that cannot be tested, stand in the first of the two.

    Raises:
        ValueError: There is no such language.
    """
    return _table(ledger, judged, found, Words(language), FEW)


def _table(ledger: Ledger, judged: pd.DataFrame, found: pd.DataFrame, words: Words, few: int) -> pd.DataFrame:
    """Return `verdict_table`, which spells out the comparisons of a claim at one setting if there are so few."""
    lines = shown(ledger, judged[judged["claim"].isin(ledger.claims)])
    rows = []
    for claim in ledger.claims.values():
        cells = comparison_cells(claim, lines[lines["claim"] == claim.id], found, words, few)
        rows.append([claim.id, words.of(claim, "claim"), *verdict_row(cells, words)])
    return pd.DataFrame(rows, columns=[words("claim"), words("what is said"), words.at(DEFAULT), words.at(TUNED)])


def verdict_row(cells: Mapping[str, TableCell], words: Words) -> tuple[str, str]:
    """Return how a claim came out as given, and tuned; a check, and what cannot be tested, stands in the first."""
    first = cells.get(DEFAULT, cells.get(FACT, cells.get(UNTESTABLE)))
    checked = f" {words.at(FACT)}" if first is not None and first.at == FACT and first.holds is not None else ""
    return _short(first, words) + checked, _short(cells.get(TUNED), words)


def verdict_text(ledger: Ledger, judged: pd.DataFrame, found: pd.DataFrame) -> str:
    """Return the verdicts on all claims for a terminal, at most 130 columns wide, with what the words mean.

    Args:
        ledger: The claims.
        judged: What `bench.claims.evaluate.comparisons` gave.
        found: What `bench.claims.evaluate.verdicts` gave.
    """
    words = Words("en")
    table = _table(ledger, judged, found, words, few=1)
    rows = [list(table), *table.to_numpy().tolist()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    widths[2:] = [min(width, WIDEST_CELL) for width in widths[2:]]
    widths[1] = min(widths[1], MAX_COLUMNS - widths[0] - widths[2] - widths[3] - 6)
    lines = []
    for row in rows:
        cells = [[row[0]], [textwrap.shorten(row[1], widths[1], placeholder=" …")]]
        cells += [textwrap.wrap(row[i], widths[i]) for i in (2, 3)]
        lines += [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in itertools.zip_longest(*cells, fillvalue="")
        ]
    return "\n".join([*lines, "", words("terminal")])
