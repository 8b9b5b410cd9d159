"""Parts of a document: figures, table cells and blocks."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

MAX_NARROW_INCHES = 9.0
"""Wider figures do not stand two in a row."""


MISSING = ("", "—", "contended", "not measured")
"""Texts of cells that hold no number: they sort last either way."""


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


PIXELS_PER_INCH = 96


TAG = re.compile(rb"<\w[^>]*>")
MORE_DIGITS = re.compile(rb"([1-9]\d*\.\d)\d{2,}")
LINE_BREAKS = re.compile(rb" ?\n(?=[MLQCz\"])")
INDENTS = re.compile(rb"\n +")


@dataclass(frozen=True)
class Picture:
    """A figure of the report; a wide one takes the whole width of the page.

    Attributes:
        svg: The bytes of its SVG file.
        chart: JSON of the interactive chart that takes its place on a screen, see `bench.report.charts`; empty: none does.
    """

    name: str
    alt: str
    caption: str
    svg: bytes
    width: int
    height: int
    wide: bool
    chart: str = ""

    @property
    def uri(self) -> str:
        """Return its SVG as a data URI; written out, it takes a quarter less than in base64."""
        return "data:image/svg+xml," + quote(self.svg, safe=" =;/,-.")


def picture_of(figure: Figure, name: str, caption: str, chart: str = "") -> Picture:
    """Return a figure as SVG; what it shows is the caption up to its first full stop or colon.

    Args:
        figure: What to show.
        name: Of it, in the page and of its files.
        caption: In words.
        chart: As in `Picture`.
    """
    buffer = io.BytesIO()
    with rc_context(
        {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans"]}
    ):  # letters as paths are half of a small figure
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    width, height = figure.get_size_inches()
    return Picture(
        name=name,
        alt=re.split(r"[.:](?:\s|$)", caption, maxsplit=1)[0],
        caption=caption,
        svg=_smaller(buffer.getvalue()),
        width=round(PIXELS_PER_INCH * width),
        height=round(PIXELS_PER_INCH * height),
        wide=bool(width > MAX_NARROW_INCHES),
        chart=chart,
    )


def _smaller(svg: bytes) -> bytes:
    """Return a drawing with places to a tenth of a point and without the space between its parts; scales below 1 and texts stay."""
    without_space = INDENTS.sub(b"\n", svg)
    return TAG.sub(lambda tag: LINE_BREAKS.sub(b"", MORE_DIGITS.sub(rb"\1", tag[0])), without_space)


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
