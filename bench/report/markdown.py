"""Texts and tables as Markdown."""

from __future__ import annotations

import pandas as pd

from bench.base.console import printable


def markdown_text(value: object) -> str:
    """Return a text in which Markdown finds neither HTML nor links, on one line."""
    return _without_html(value).replace("](", "]\\(")


def _without_html(value: object) -> str:
    return " ".join(printable(str(value)).split("\n")).replace("<", "&lt;")


def markdown_table(table: pd.DataFrame, linked: int = 0) -> str:
    """Return a table of texts as a Markdown table.

    Args:
        table: Texts, which are shown as they are.
        linked: So many columns, the first ones, hold links of our own, which stay links.
    """
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    cells = [[_without_html(v) if i < linked else markdown_text(v) for i, v in enumerate(line)] for line in lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)
