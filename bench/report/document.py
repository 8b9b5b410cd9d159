"""Parts of a document: figures, table cells and blocks."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

MAX_NARROW_INCHES = 9.0
"""Wider figures do not stand two in a row."""


MISSING = ("", "—", "contended", "not measured")
"""Texts of cells that hold no number: they sort last either way."""


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


PIXELS_PER_INCH = 96


SVG_URI = "data:image/svg+xml;base64,"


@dataclass(frozen=True)
class Picture:
    """A figure of the report, its SVG as a data URI; a wide one takes the whole width of the page.

    Attributes:
        chart: JSON of the interactive chart that takes its place on a screen, see `bench.report.charts`; empty: none does.
    """

    name: str
    alt: str
    caption: str
    uri: str
    width: int
    height: int
    wide: bool
    chart: str = ""

    @property
    def svg(self) -> bytes:
        """Return it as the bytes of an SVG file."""
        return base64.b64decode(self.uri.removeprefix(SVG_URI))


def picture_of(figure: Figure, name: str, caption: str, chart: str = "") -> Picture:
    """Return a figure as SVG; what it shows is the caption up to its first full stop or colon.

    Args:
        figure: What to show.
        name: Of it, in the page and of its files.
        caption: In words.
        chart: As in `Picture`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    width, height = figure.get_size_inches()
    return Picture(
        name=name,
        alt=re.split(r"[.:](?:\s|$)", caption, maxsplit=1)[0],
        caption=caption,
        uri=SVG_URI + base64.b64encode(buffer.getvalue()).decode(),
        width=round(PIXELS_PER_INCH * width),
        height=round(PIXELS_PER_INCH * height),
        wide=bool(width > MAX_NARROW_INCHES),
        chart=chart,
    )


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: its text, the number it sorts by (None: by its text), and its class in the page."""

    text: str
    sort: str | None
    kind: str


@dataclass(frozen=True)
class Block:
    """A table, its figures and how to read them, under one heading.

    Attributes:
        key: What answers name it by.
        heading: In words.
        table: Texts, a row each; None where there are only figures.
        notes: How to read them, a paragraph each.
        pictures: Its figures.
        folded: What the closed table is called; empty: it stands open.
        anchor: Its place in the page.
    """

    key: str
    heading: str
    table: pd.DataFrame | None = None
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    folded: str = ""
    anchor: str = ""

    @property
    def rows(self) -> Iterator[list[TableCell]]:
        """The cells of its table."""
        if self.table is None:
            return
        columns = []
        for name in self.table:
            texts = [str(value) for value in self.table[name]]
            sorts = sort_numbers(texts)
            kind = {"command": "code", "reason": "text"}.get(str(name), "")
            if not kind and sorts is not None and not any(re.search("[a-df-z]", text) for text in texts):
                kind = "number"
            columns.append([TableCell(text, sorts[i] if sorts else None, kind) for i, text in enumerate(texts)])
        yield from (list(row) for row in zip(*columns, strict=True))


def sort_numbers(texts: Sequence[str]) -> list[str] | None:
    """Return the numbers that cells begin with, as JavaScript reads them, where every cell has one or is missing.

    What was not reached is longer than any number; a missing one is empty.
    """
    numbers = []
    for text in texts:
        if text in MISSING:
            numbers.append("")
        elif text.startswith("not reached"):
            numbers.append("Infinity")
        elif match := NUMBER.match(text):
            numbers.append(match.group().replace(",", ""))
        else:
            return None
    return numbers if any(numbers) else None
