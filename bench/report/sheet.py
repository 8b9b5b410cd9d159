"""Where the figures and tables of a section of a report go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from bench.plots.palette import Color
from bench.report.document import Block, Picture, picture_of
from bench.report.export import Export
from bench.tables.csv import write_csv

NAMES_IN_FILES = {"significant": "told_apart", "time_significant": "time_told_apart"}
"""Columns that CSV files call otherwise than the code does, so that what reads the files of earlier versions still can."""


@dataclass(frozen=True)
class Sheet:
    """Where the figures and tables of one section go, and in which colours.

    Attributes:
        folder: Of the report, with figures/ and tables/.
        prefix: Of the names of files, "2-" for the second section.
        palette: A colour for each optimizer.
        setting: What stands beside every figure: default or tuned, trials, seeds.
        export: Where figures and tables go beside that, for a paper or a talk.
    """

    folder: Path
    prefix: str
    palette: dict[str, Color]
    setting: str = ""
    export: Export | None = None

    def pictures(
        self, *figures: tuple[str, str, Figure | None], charts: Mapping[str, str] | None = None
    ) -> list[Picture]:
        """Save figures, and return those there are.

        Args:
            figures: Each with its name and caption; those that are None are left out.
            charts: Interactive ones by the name of the figure whose place they take, see `bench.report.charts`.
        """
        made = []
        for name, caption, figure in figures:
            if figure is None:
                continue
            path = self.folder / "figures" / f"{self.prefix}{name}"
            whole = " ".join(text for text in (caption, self.setting) if text)
            picture = picture_of(figure, path.name, whole, (charts or {}).get(name, ""))
            made.append(picture)
            path.with_name(f"{path.name}.svg").write_bytes(picture.svg)
            figure.set_layout_engine(None)  # it has been laid out
            figure.savefig(path.with_name(f"{path.name}.png"), dpi=110)
            if self.export is not None:
                self.export.figure(path.name, figure)
        return made

    def write(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write a table as CSV, its columns by the names that files have always had; return it."""
        write_csv(table.rename(columns=NAMES_IN_FILES), self.folder / "tables" / f"{self.prefix}{name}.csv")
        return table

    def anchor(self, title: str) -> str:
        """Return a title as it may stand in a link."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.prefix}{title}".lower()).strip("-")

    def anchored(self, blocks: list[Block]) -> list[Block]:
        """Return the blocks that show anything, each with its place in the page; export their tables."""
        if self.export is not None:
            self.export.tables(self.prefix, blocks)
        return [replace(b, anchor=f"{self.prefix}table-{b.key}") for b in blocks if b.table is not None or b.pictures]
