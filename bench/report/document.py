"""Parts of a document: figures, table cells, blocks, and the sheet that collects them."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.plots.palette import Color
from bench.tables.csv import write_csv

MAX_NARROW_INCHES = 9.0
"""Wider figures do not stand two in a row."""


MISSING = ("", "—", "contended", "not measured")
"""Texts of cells that hold no number: they sort last either way."""


NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


PIXELS_PER_INCH = 96


NAMES_IN_FILES = {"significant": "told_apart", "time_significant": "time_told_apart"}
"""Columns that CSV files call otherwise than the code does, so that what reads the files of earlier versions still can."""


@dataclass(frozen=True)
class Picture:
    """A figure of the report, its SVG as a data URI; a wide one takes the whole width of the page."""

    name: str
    alt: str
    caption: str
    uri: str
    width: int
    height: int
    wide: bool


def saved_figure(figure: Figure, path: Path) -> Picture:
    """Save a figure as SVG, and return it without words.

    Args:
        figure: What to save.
        path: Of the file, without suffix.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    path.with_name(f"{path.name}.svg").write_bytes(buffer.getvalue())
    width, height = figure.get_size_inches()
    return Picture(
        name=path.name,
        alt="",
        caption="",
        uri="data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(),
        width=round(PIXELS_PER_INCH * width),
        height=round(PIXELS_PER_INCH * height),
        wide=bool(width > MAX_NARROW_INCHES),
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


@dataclass(frozen=True)
class Sheet:
    """Where the figures and tables of one section go, and in which colours.

    Attributes:
        folder: Of the report, with figures/ and tables/.
        prefix: Of the names of files, "2-" for the second section.
        palette: A colour for each optimizer.
        setting: What stands beside every figure: default or tuned, trials, seeds.
    """

    folder: Path
    prefix: str
    palette: dict[str, Color]
    setting: str = ""

    def pictures(self, *figures: tuple[str, str, Figure | None]) -> list[Picture]:
        """Save figures, each with its name and caption; leave out those that are None."""
        made = []
        for name, caption, figure in figures:
            if figure is None:
                continue
            path = self.folder / "figures" / f"{self.prefix}{name}"
            alt = re.split(r"[.:](?:\s|$)", caption, maxsplit=1)[0]
            whole = " ".join(text for text in (caption, self.setting) if text)
            made.append(replace(saved_figure(figure, path), alt=alt, caption=whole))
            figure.set_layout_engine(None)  # it has been laid out
            figure.savefig(path.with_name(f"{path.name}.png"), dpi=110)
        return made

    def write(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write a table as CSV, its columns by the names that files have always had; return it."""
        write_csv(table.rename(columns=NAMES_IN_FILES), self.folder / "tables" / f"{self.prefix}{name}.csv")
        return table

    def anchor(self, title: str) -> str:
        """Return a title as it may stand in a link."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.prefix}{title}".lower()).strip("-")

    def anchored(self, blocks: list[Block]) -> list[Block]:
        """Return the blocks that show anything, each with its place in the page."""
        return [replace(b, anchor=f"{self.prefix}table-{b.key}") for b in blocks if b.table is not None or b.pictures]
