"""Theme, panels, scales and legends that all figures share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

MAX_FAINT_RUNS = 20
"""Of each series so many single seeds are drawn, or dots for them; medians and bands are over all."""


@contextmanager
def style() -> Iterator[None]:
    """Draw and save figures in the theme of reports; matplotlib's settings are restored afterwards.

    It also decorates functions that draw.

    Examples:
        >>> with style():
        ...     figure, axes = panel_grid(2)
        >>> len(axes)
        2
    """
    theme = {
        **sns.plotting_context("notebook"),
        **sns.axes_style("whitegrid"),
        "font.size": 13,
        "axes.labelsize": 13,
        "axes.titlesize": 14,
        "legend.fontsize": 12,
        "svg.hashsalt": "bench",
    }
    with mpl.rc_context(theme):
        yield


def first_of_each(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the first MAX_FAINT_RUNS rows of each series, and those that did not end ok among its first as many again."""
    place = runs.groupby("series").cumcount()
    return runs[(place < MAX_FAINT_RUNS) | ((place < 2 * MAX_FAINT_RUNS) & (runs["status"] != "ok"))]


def panel_grid(num: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels side by side."""
    figure = Figure(figsize=(4.2 * num if num > 1 else 5.6, 3.8), layout="constrained")
    return figure, list(figure.subplots(1, num, squeeze=False)[0])


class LogTicks(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, over more than three decades at powers of ten alone.

    matplotlib sets no tick at all where a choice of several in each decade would be too many.
    """

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Choose the ticks of an axis from `vmin` to `vmax`."""
        self.set_params(subs=(1.0, 2.0, 5.0) if 0 < vmax <= 1_000 * vmin else (1.0,))
        return super().tick_values(vmin, vmax)


def log_scale(axis: XAxis | YAxis) -> None:
    """Make an axis logarithmic, with plain numbers on it also where it spans less than a decade."""
    (axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale)("log")
    axis.set_major_locator(LogTicks(numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def one_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Draw one legend for all panels above them."""
    labels: dict[str, Artist] = {}
    for axis in axes:
        handles, names = axis.get_legend_handles_labels()
        labels.update(zip(names, handles, strict=True))
    if labels:
        em = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points() / 72
        width = (0.62 * max(map(len, labels)) + 5.0) * em  # of a column: letters, handle and space
        columns = max(1, min(len(labels), 4, int(figure.get_figwidth() / width)))
        figure.legend(list(labels.values()), list(labels), loc="outside upper center", ncols=columns, frameon=False)
