"""Paths of optimizers on functions of two parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, NullLocator

from bench.analysis.comparisons import lowest_point
from bench.plots.palette import Color, LineStyle, line_styles
from bench.plots.style import LogTicks, one_legend

MIN_PATH_MOVE = 0.002
"""Of the width of a figure: points of a path that lie closer together are one there."""


MAX_OVERLAID = 3
"""Paths in one panel; more have a panel each."""


NUM_LEVELS = 18


def trajectory_figure(
    runs: pd.DataFrame, paths: pd.DataFrame, grid: pd.DataFrame | None, palette: dict[str, Color]
) -> Figure | None:
    """Paths over the contours of a function of two variables; None where there is no path.

    Args:
        runs: Rows of one section, with `series`.
        paths: What `comparisons.paths` gave.
        grid: What `comparisons.surface` gave: levels are logarithmic above its lowest value, and the axes end
            where it ends, so that a path may leave them. None: paths only.
        palette: A colour for each optimizer.
    """
    if paths.empty:
        return None
    series = list(dict.fromkeys(paths["series"].astype(str)))
    single = len(series) <= MAX_OVERLAID
    columns = 1 if single else 2 if len(series) == 4 else 3
    rows = 1 if single else math.ceil(len(series) / columns)
    size = (6.4, 5.6) if single else (3.3 * columns + 0.9, 3.2 * rows + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(panels.flat)
    styles = line_styles(runs, series, palette)
    filled = None
    for number, axis in enumerate(axes[: 1 if single else len(series)]):
        axis.grid(visible=False)
        if grid is not None:
            filled = draw_surface(axis, grid)
        here = series if single else series[number : number + 1]
        for under, name in zip(reversed(range(len(here))), here, strict=True):
            color, dash = styles[name]
            draw_path(axis, paths[paths["series"] == name], color, dash if single else "-", name, under)
        if not single:
            axis.set_title(series[number], fontsize=12)
        if single or number >= len(series) - columns:
            axis.set_xlabel("x")
            axis.tick_params(labelbottom=True)
        if single or number % columns == 0:
            axis.set_ylabel("y")
    for axis in axes[1 if single else len(series) :]:
        axis.remove()
    if filled is not None:
        _color_bar(figure, filled, [axis for axis in axes if axis.figure is not None])
    _legend_of_marks(figure, not_ok=bool((paths["status"] != "ok").any()), on_grid=grid is not None)
    if single:
        one_legend(figure, axes)
    return figure


_EDGE = {"markeredgecolor": "black", "markeredgewidth": 0.9}


START: dict[str, Any] = {"marker": "o", "color": "white", "markersize": 8, **_EDGE}


END: dict[str, Any] = {"marker": "s", "color": "0.55", "markersize": 7, **_EDGE}


LOST: dict[str, Any] = {"marker": "X", "color": "0.55", "markersize": 10, **_EDGE}


LOWEST: dict[str, Any] = {"marker": "*", "color": "#ffe600", "markersize": 21, **_EDGE}


def _color_bar(figure: Figure, filled: ContourSet, axes: list[Axes]) -> None:
    """Draw the scale of the contours beside the panels."""
    bar = figure.colorbar(filled, ax=axes, shrink=0.9, pad=0.02)
    bar.ax.yaxis.set_major_locator(LogTicks(numticks=8))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label("value minus the lowest", fontsize=12)
    bar.ax.tick_params(labelsize=11)


def _legend_of_marks(figure: Figure, not_ok: bool, on_grid: bool) -> None:
    """Say below the panels what the marks on them stand for."""
    marks = {"start": START, "end": END}
    if not_ok:
        marks["did not end ok"] = LOST
    if on_grid:
        marks["lowest on the grid"] = LOWEST
    handles = [Line2D([], [], linestyle="none", **mark) for mark in marks.values()]
    figure.legend(handles, list(marks), loc="outside lower center", ncols=len(marks), frameon=False)


def draw_surface(axis: Axes, grid: pd.DataFrame) -> ContourSet:
    """Draw filled contours, logarithmic above the lowest value, light enough to see a path on; the lowest point."""
    x, y, lowest = lowest_point(grid)
    above = np.ma.masked_invalid(grid.to_numpy(float) - lowest)
    positive = above.compressed()[above.compressed() > 0]
    high = float(positive.max()) if len(positive) else 1.0
    low = min(max(float(np.quantile(positive, 0.001)), 1e-6 * high), high / 10) if len(positive) else 0.1
    levels = np.geomspace(low, high, NUM_LEVELS)
    shades = LinearSegmentedColormap.from_list("paper", ["#ffffff", "#dfe3e8", "#aab3bf", "#7d8896"])
    filled = axis.contourf(
        grid.columns.to_numpy(float), grid.index.to_numpy(float), np.ma.maximum(above, low), levels=levels,
        norm=LogNorm(low, high), cmap=shades,
    )  # fmt: skip
    axis.contour(filled, colors="white", linewidths=0.4, alpha=0.7)
    axis.plot([x], [y], linestyle="none", zorder=6, **LOWEST)
    axis.set_xlim(float(grid.columns.min()), float(grid.columns.max()))
    axis.set_ylim(float(grid.index.min()), float(grid.index.max()))
    return filled


def draw_path(axis: Axes, path: pd.DataFrame, color: Color, dash: LineStyle, name: str, under: int) -> None:
    """Draw one path; the more lie over it, the wider, so that it shows beside them."""
    points = _apart(path[["x", "y"]].to_numpy(float), MIN_PATH_MOVE * float(np.ptp(axis.get_xlim())))
    width = 2.0 + 1.2 * under
    (line,) = axis.plot(points[:, 0], points[:, 1], linestyle=dash, color=color, linewidth=width, label=name, zorder=4)
    line.set_path_effects([Stroke(linewidth=width + 1.4, foreground="white"), Normal()])
    lost = path["status"].iloc[0] != "ok"
    axis.plot(*points[0], linestyle="none", zorder=7, **START)
    axis.plot(*points[-1], linestyle="none", zorder=7, **_mark(LOST if lost else END, color, 1.5 * under))


def _mark(kind: dict[str, Any], color: Color, larger: float) -> dict[str, Any]:
    return kind | {"color": color, "markersize": kind["markersize"] + larger}


def _apart(points: np.ndarray, least: float) -> np.ndarray:
    """Return the first and last point, and between them each that lies at least so far from the one kept before."""
    kept = [0]
    for i in range(1, len(points) - 1):
        if np.abs(points[i] - points[kept[-1]]).max() >= least:
            kept.append(i)
    return points[[*kept, len(points) - 1]]
