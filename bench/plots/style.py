"""Colours, dashes, scales and legends that all figures share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

PALETTE = sns.color_palette("colorblind", 10)


FIXED = {"adam": 0, "sgd": 1, "rmsprop": 2, "nadam": 4, "adamax": 9, "adadelta": 7}


DASHES = ("-", "--", ":", "-.")


MAX_FAINT_RUNS = 20
"""Of each series so many single seeds are drawn, or dots for them; medians and bands are over all."""


sns.set_theme(
    context="notebook",
    style="whitegrid",
    rc={"font.size": 13, "axes.labelsize": 13, "axes.titlesize": 14, "legend.fontsize": 12, "svg.hashsalt": "bench"},
)


Color = tuple[float, float, float]


def colors(optimizers: Iterable[str]) -> dict[str, Color]:
    """A colour for each optimizer of a study: fixed for the six that ship, the other four in turn."""
    free = [color for i, color in enumerate(PALETTE) if i not in FIXED.values()]
    others = sorted(set(optimizers) - set(FIXED))
    chosen = {name: free[i] if i < len(free) else (0.35, 0.35, 0.35) for i, name in enumerate(others)}
    return chosen | {name: PALETTE[i] for name, i in FIXED.items()}


def line_styles(runs: pd.DataFrame, series: Sequence[str], palette: dict[str, Color]) -> dict[str, tuple[Color, str]]:
    """Colour by optimizer; dashes tell series of one optimizer apart."""
    of = runs.drop_duplicates("series").set_index("series")["optimizer"]
    seen: dict[str, int] = {}
    styles = {}
    for name in series:
        optimizer = str(of[name])
        styles[name] = (palette[optimizer], DASHES[seen.get(optimizer, 0) % len(DASHES)])
        seen[optimizer] = seen.get(optimizer, 0) + 1
    return styles


def first_of_each(runs: pd.DataFrame) -> pd.DataFrame:
    """The first MAX_FAINT_RUNS rows of each series, and those that did not end ok among its first as many again."""
    place = runs.groupby("series").cumcount()
    return runs[(place < MAX_FAINT_RUNS) | ((place < 2 * MAX_FAINT_RUNS) & (runs["status"] != "ok"))]


def panel_grid(num: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels side by side."""
    figure, axes = plt.subplots(
        1, num, figsize=(4.2 * num if num > 1 else 5.6, 3.8), layout="constrained", squeeze=False
    )
    return figure, list(axes[0])


class LogTicks(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, over more than three decades at powers of ten alone.

    matplotlib sets no tick at all where a choice of several in each decade would be too many.
    """

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Choose the ticks of an axis from `vmin` to `vmax`."""
        self.set_params(subs=(1.0, 2.0, 5.0) if 0 < vmax <= 1_000 * vmin else (1.0,))
        return super().tick_values(vmin, vmax)


def log_scale(axis: XAxis | YAxis) -> None:
    """A logarithmic axis with plain numbers on it, also where it spans less than a decade."""
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
        figure.legend(
            list(labels.values()), list(labels), loc="outside upper center", ncols=min(len(labels), 4), frameon=False
        )
