"""What the page shows of a leaderboard: rows, badges, and intervals as bars on one axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator

from bench.analysis.leaderboard import Leaderboard, Relative
from bench.analysis.section import SectionAnalysis
from bench.plots.palette import Color
from bench.report.document import Block
from bench.report.study.leaderboard import edge_mark, headline, readable_leaderboard
from bench.report.study.next_command import Suggestion, doubts, next_command

ROOM = 1.15
"""Factor by which the axis goes beyond the ratios on either side."""


MOST_BEYOND = 3.0
"""Factor beyond the ratios at which a long interval is cut off, with an arrow."""


TICKS = (1.0, 2.0, 5.0)


SHOWN = ("test ", "time ×", "steps ×", "step cost ×", "peak", "state bytes")
"""How the columns begin that stand beside rank, optimizer, verdict, setting, loss and ratio, those that decide first."""


MOST_SHOWN = 4
"""Of these so many stand in the table at once; all of them are one click away."""


@dataclass(frozen=True)
class Bar:
    """An interval on the axis of its column, in percent of the width.

    Attributes:
        at: The ratio.
        low: Left end.
        high: Right end.
        cut_low: Whether the interval goes on to the left.
        cut_high: Whether it goes on to the right.
    """

    at: float
    low: float
    high: float
    cut_low: bool
    cut_high: bool


@dataclass(frozen=True)
class BoardRow:
    """Hold what stands in the row of one optimizer; numbers with their intervals apart."""

    rank: str
    name: str
    colour: str
    badge: str
    setting: str
    mark: str
    loss: tuple[str, str]
    ratio: str
    interval: str
    bar: Bar | None
    cells: Sequence[tuple[str, str]]

    @property
    def badge_class(self) -> str:
        """The badge as a class of the style sheet."""
        return self.badge.replace(" ", "-")


@dataclass(frozen=True)
class BoardView:
    """What the templates show of a leaderboard.

    Attributes:
        headline: The answer in one sentence.
        ratio_heading: What the ratios are relative to.
        headings: Of the further columns.
        rows: One an optimizer.
        ticks: Of the axis of the ratios: percent of the width, and the number.
        table: Every column, as texts.
        doubts: What to doubt, a sentence each.
        suggestion: What to type next.
    """

    headline: str
    ratio_heading: str
    headings: Sequence[str]
    rows: Sequence[BoardRow]
    ticks: Sequence[tuple[float, str]]
    table: pd.DataFrame
    doubts: Sequence[str]
    suggestion: Suggestion | None

    @property
    def block(self) -> Block:
        """Return the table of every column as a block."""
        return Block("leaderboard", "Leaderboard, all columns", self.table)


def board_view(found: SectionAnalysis, board: Leaderboard, palette: dict[str, Color]) -> BoardView:
    """Return what the page shows of a leaderboard.

    Args:
        found: The section.
        board: Its leaderboard.
        palette: A colour for each optimizer.
    """
    table = readable_leaderboard(board)
    axis = Axis.of(list(board.rows["comparison"]))
    ratio_heading = next((name for name in table if name.startswith("× ")), "")
    by_weight = [name for start in SHOWN for name in table if name.startswith(start)][:MOST_SHOWN]
    headings = [name for name in table if name in by_weight]
    rows = []
    for i, row in board.rows.iterrows():
        ratio, _, interval = (table.loc[i, ratio_heading] if ratio_heading else "").partition(" [")
        rows.append(
            BoardRow(
                rank=str(table.loc[i, "rank"]) if "rank" in table else "—",
                name=str(row["name"]),
                colour=to_hex(palette[str(row["optimizer"])]),
                badge=str(row["badge"]),
                setting=str(row["setting"]),
                mark=edge_mark(row),
                loss=_two_lines(str(table.loc[i, "val loss"])) if "val loss" in table else ("—", ""),
                ratio=ratio,
                interval=interval.rstrip("]").replace(", ", " to "),
                bar=axis.bar(row["comparison"]) if axis is not None else None,
                cells=[_two_lines(str(table.loc[i, name])) for name in headings],
            )
        )
    return BoardView(
        headline=headline(found, board),
        ratio_heading=ratio_heading,
        headings=headings,
        rows=rows,
        ticks=axis.ticks if axis is not None else [],
        table=table,
        doubts=doubts(found, board),
        suggestion=next_command(found, board),
    )


def _two_lines(text: str) -> tuple[str, str]:
    """Return a number and, apart from it, its interval."""
    mean, sign, half = text.partition(" ± ")
    if sign:
        return mean, f"± {half}"
    number, bracket, rest = text.partition(" [")
    return number, rest.rstrip("]").replace(", ", " to ") if bracket else ""


@dataclass(frozen=True)
class Axis:
    """A logarithmic axis of ratios.

    Attributes:
        low: Its left end, above 0.
        high: Its right end.
    """

    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[Relative]) -> Axis | None:
        """Return an axis that shows 1, all ratios and their intervals, long ones in part; None where there is no ratio."""
        ratios = [value.ratio for value in values if math.isfinite(value.ratio) and value.ratio > 0]
        if len(ratios) < 2:
            return None
        least, most = min(1.0, *ratios), max(1.0, *ratios)
        lows = [max(value.low, least / MOST_BEYOND) for value in values if value.low > 0]
        highs = [min(value.high, most * MOST_BEYOND) for value in values if math.isfinite(value.high)]
        return cls(min(least, *lows) / ROOM, max(most, *highs) * ROOM)

    def place(self, value: float) -> float:
        """Return where a ratio lies, in percent of the width, within the axis."""
        share = math.log(min(max(value, self.low), self.high) / self.low) / math.log(self.high / self.low)
        return round(100 * share, 2)

    def bar(self, value: Relative) -> Bar | None:
        """Return the bar of a ratio; None where it is unknown."""
        if not (math.isfinite(value.ratio) and value.ratio > 0):
            return None
        at = self.place(value.ratio)
        has_low, has_high = value.low > 0, math.isfinite(value.high)
        endless_low = not has_low and (has_high or value.bound == "at most")
        endless_high = not has_high and (has_low or value.bound == "at least")
        low = self.place(value.low) if has_low else 0.0 if endless_low else at
        high = self.place(value.high) if has_high else 100.0 if endless_high else at
        return Bar(at, low, high, endless_low or 0 < value.low < self.low, endless_high or value.high > self.high)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Round numbers on the axis, three to five, 1 among them."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        numbers = [base * 10.0**decade for decade in decades for base in TICKS]
        inside = [number for number in numbers if self.low <= number <= self.high]
        if len(inside) < 3:
            numbers = list(MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(self.low, self.high))
            inside = [round(float(number), 9) for number in numbers if self.low <= number <= self.high]
        while len(inside) > 5:
            inside = [number for i, number in enumerate(inside) if (i - inside.index(1.0)) % 2 == 0]
        return [(self.place(number), f"{number:g}") for number in inside]
