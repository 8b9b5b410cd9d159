"""Axes: long DataFrames in, matplotlib figures out. One colour an optimizer, everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.report import stats

PALETTE = sns.color_palette("colorblind", 10)
FIXED = {"adam": 0, "sgd": 1, "rmsprop": 2, "nadam": 4, "adamax": 9, "adadelta": 7}
DASHES = ("-", "--", ":", "-.")
X_LABELS = {"step": "step", "epoch": "epoch", "train_time_s": "training time (s)"}
Y_LABELS = {
    "gap": "train loss above the lowest possible",
    "grad_norm": "norm of the gradient",
    "update_ratio": "norm of update / norm of weights",
    "distance": "distance from the start",
}
MAX_FAINT_POINTS = 20_000
"""Above so many points the single seeds are thinned, so that a figure stays small."""
MIN_PATH_MOVE = 0.002
"""Of the width of a figure: points of a path that lie closer together are one there."""

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


def _styles(runs: pd.DataFrame, series: Sequence[str], palette: dict[str, Color]) -> dict[str, tuple[Color, str]]:
    """Colour by optimizer; dashes tell series of one optimizer apart."""
    of = runs.drop_duplicates("series").set_index("series")["optimizer"]
    seen: dict[str, int] = {}
    styles = {}
    for name in series:
        optimizer = str(of[name])
        styles[name] = (palette[optimizer], DASHES[seen.get(optimizer, 0) % len(DASHES)])
        seen[optimizer] = seen.get(optimizer, 0) + 1
    return styles


def _panels(num: int) -> tuple[Figure, list[Axes]]:
    figure, axes = plt.subplots(
        1, num, figsize=(4.2 * num if num > 1 else 5.6, 3.8), layout="constrained", squeeze=False
    )
    return figure, list(axes[0])


def curves_figure(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    series: Sequence[str],
    metric: str,
    x: str,
    palette: dict[str, Color],
    step_times: pd.DataFrame | None = None,
) -> Figure | None:
    """A metric against step, epoch or training time, a panel a split; None where there is none.

    Training time is that of the run, or, with `step_times` (see `stats.step_times`), steps times the
    separately measured step time. All seeds faint; median and range of the seeds in front. A run that did not end ok is drawn as
    far as it came and ends in a cross; the median goes as far as all runs of the series came.
    """
    data = curves[(curves["metric"] == metric) & curves["run_id"].isin(runs["run_id"])]
    data = data.merge(runs[["run_id", "series", "status"]], on="run_id")
    data = data[data["series"].isin(series)]
    label = X_LABELS[x]
    if x == "train_time_s" and step_times is not None:
        seconds = data["series"].map(step_times.set_index("series")["step_s"])
        data = data.assign(train_time_s=data["step"] * seconds)[seconds.notna()]
        label = "steps × measured step time (s)"
    splits = [split for split in ("train", "val") if (data["split"] == split).any()]
    if metric == "accuracy":
        splits = [split for split in ("val", "test") if (data["split"] == split).any()]
    if not splits:
        return None
    figure, axes = _panels(len(splits))
    styles = _styles(runs, series, palette)
    for axis, split in zip(axes, splits, strict=True):
        panel = data[data["split"] == split]
        keep = max(1, math.ceil(len(panel) / MAX_FAINT_POINTS))
        for name, group in panel.groupby("series", sort=False):
            color, dash = styles[str(name)]
            lines = []
            for _, run in group.groupby("run_id", sort=False):
                points = run[[x, "value"]].to_numpy(float)
                lines.append(np.concatenate([points[:-1:keep], points[-1:]]))
                if run["status"].iloc[0] != "ok":
                    axis.plot(*points[-1], "x", color=color, markersize=9, markeredgewidth=2, zorder=4)
            if len(lines) > 1:
                axis.add_collection(LineCollection(lines, colors=[color], alpha=0.25, linewidths=0.8))
        for name, band in stats.bands(panel, x).groupby("series", sort=False):
            color, dash = styles[str(name)]
            if (band["num_runs"] > 1).any():
                axis.fill_between(band["x"], band["low"], band["high"], color=color, alpha=0.15, linewidth=0)
            axis.plot(band["x"], band["median"], dash, color=color, linewidth=2, label=str(name), zorder=3)
        axis.set_xlabel(label)
        axis.set_ylabel(Y_LABELS.get(metric, f"{split} {metric}"))
        if metric != "accuracy" and (panel["value"] > 0).all():
            _log_scale(axis.yaxis)
        axis.autoscale_view()
    _one_legend(figure, axes)
    return figure


class _LogTicks(LogLocator):
    """Ticks at 1, 2 and 5 of each decade, over more than three decades at powers of ten alone.

    matplotlib sets no tick at all where a choice of several in each decade would be too many.
    """

    def tick_values(self, vmin: float, vmax: float) -> Any:
        self.set_params(subs=(1.0, 2.0, 5.0) if 0 < vmax <= 1_000 * vmin else (1.0,))
        return super().tick_values(vmin, vmax)


def _log_scale(axis: XAxis | YAxis) -> None:
    """A logarithmic axis with plain numbers on it, also where it spans less than a decade."""
    (axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale)("log")
    axis.set_major_locator(_LogTicks(numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _one_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    labels: dict[str, Artist] = {}
    for axis in axes:
        handles, names = axis.get_legend_handles_labels()
        labels.update(zip(names, handles, strict=True))
    if labels:
        figure.legend(
            list(labels.values()), list(labels), loc="outside upper center", ncols=min(len(labels), 4), frameon=False
        )


MAX_OVERLAID = 3
"""Paths in one panel; more have a panel each."""

NUM_LEVELS = 18


def trajectory_figure(
    runs: pd.DataFrame, paths: pd.DataFrame, grid: pd.DataFrame | None, palette: dict[str, Color]
) -> Figure | None:
    """Paths over the contours of a function of two variables; None where there is no path.

    Args:
        runs: Rows of one section, with `series`.
        paths: What `stats.paths` gave.
        grid: What `stats.surface` gave: levels are logarithmic above its lowest value, and the axes end
            where it ends, so that a path may leave them. None: paths only.
        palette: A colour for each optimizer.
    """
    if paths.empty:
        return None
    series = list(dict.fromkeys(paths["series"].astype(str)))
    single = len(series) <= MAX_OVERLAID
    columns = 1 if single else 2 if len(series) == 4 else 3
    rows = 1 if single else math.ceil(len(series) / columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(6.4, 5.6) if single else (3.3 * columns + 0.9, 3.2 * rows + 0.9), layout="constrained",
        squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    axes = list(panels.flat)
    styles = _styles(runs, series, palette)
    filled = None
    for number, axis in enumerate(axes):
        if not single and number >= len(series):
            axis.remove()
            continue
        axis.grid(visible=False)
        if grid is not None:
            filled = _contours(axis, grid)
        here = series if single else series[number : number + 1]
        for under, name in zip(reversed(range(len(here))), here, strict=True):
            color, dash = styles[name]
            _path(axis, paths[paths["series"] == name], color, dash if single else "-", name, under)
        if not single:
            axis.set_title(series[number], fontsize=12)
        if single or number >= len(series) - columns:
            axis.set_xlabel("x")
            axis.tick_params(labelbottom=True)
        if single or number % columns == 0:
            axis.set_ylabel("y")
    shown = [axis for axis in axes if axis.figure is not None]
    if filled is not None:
        bar = figure.colorbar(filled, ax=shown, shrink=0.9, pad=0.02)
        bar.ax.yaxis.set_major_locator(_LogTicks(numticks=8))
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.set_label("value above the lowest", fontsize=12)
        bar.ax.tick_params(labelsize=11)
    marks = {"start": START, "end": END}
    if (paths["status"] != "ok").any():
        marks["did not end ok"] = LOST
    if grid is not None:
        marks["lowest on the grid"] = LOWEST
    handles = [Line2D([], [], linestyle="none", **mark) for mark in marks.values()]
    figure.legend(handles, list(marks), loc="outside lower center", ncols=len(marks), frameon=False)
    if single:
        _one_legend(figure, axes)
    return figure


_EDGE = {"markeredgecolor": "black", "markeredgewidth": 0.9}
START: dict[str, Any] = {"marker": "o", "color": "white", "markersize": 8, **_EDGE}
END: dict[str, Any] = {"marker": "s", "color": "0.55", "markersize": 7, **_EDGE}
LOST: dict[str, Any] = {"marker": "X", "color": "0.55", "markersize": 10, **_EDGE}
LOWEST: dict[str, Any] = {"marker": "*", "color": "#ffe600", "markersize": 21, **_EDGE}


def _contours(axis: Axes, grid: pd.DataFrame) -> ContourSet:
    """Filled contours, logarithmic above the lowest value, light enough to see a path on; the lowest point."""
    x, y, lowest = stats.lowest_point(grid)
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


def _path(axis: Axes, path: pd.DataFrame, color: Color, dash: str, name: str, under: int) -> None:
    """One path; the more lie over it, the wider, so that it shows beside them."""
    points = _apart(path[["x", "y"]].to_numpy(float), MIN_PATH_MOVE * float(np.ptp(axis.get_xlim())))
    width = 2.0 + 1.2 * under
    (line,) = axis.plot(points[:, 0], points[:, 1], dash, color=color, linewidth=width, label=name, zorder=4)
    line.set_path_effects([Stroke(linewidth=width + 1.4, foreground="white"), Normal()])
    lost = path["status"].iloc[0] != "ok"
    axis.plot(*points[0], linestyle="none", zorder=7, **START)
    axis.plot(*points[-1], linestyle="none", zorder=7, **_mark(LOST if lost else END, color, 1.5 * under))


def _mark(kind: dict[str, Any], color: Color, larger: float) -> dict[str, Any]:
    return kind | {"color": color, "markersize": kind["markersize"] + larger}


def _apart(points: np.ndarray, least: float) -> np.ndarray:
    """The first and last point, and between them each that lies at least so far from the one kept before."""
    kept = [0]
    for i in range(1, len(points) - 1):
        if np.abs(points[i] - points[kept[-1]]).max() >= least:
            kept.append(i)
    return points[[*kept, len(points) - 1]]


def bars_figure(
    runs: pd.DataFrame, series: Sequence[str], quantities: Sequence[tuple[str, str]], palette: dict[str, Color]
) -> Figure | None:
    """A panel a quantity: a dot a run, and the median as a bar.

    Args:
        runs: Rows of one section.
        series: What to show, top to bottom.
        quantities: (column, label with unit) each; those without a value are left out.
        palette: A colour for each optimizer.
    """
    ok = runs[(runs["status"] == "ok") & runs["series"].isin(series)]
    present = [(column, label) for column, label in quantities if ok[column].notna().any()]
    if not present:
        return None
    figure, axes = _panels(len(present))
    figure.set_figheight(1.6 + 0.45 * len(series))
    of = runs.drop_duplicates("series").set_index("series")["optimizer"]
    shades = {name: palette[str(of[name])] for name in series}
    for axis, (column, label) in zip(axes, present, strict=True):
        data = ok[["series", column]].astype({"series": str, column: float})
        sns.barplot(
            data, x=column, y="series", hue="series", order=list(series), palette=shades, estimator="median",
            errorbar=None, alpha=0.45, ax=axis, legend=False,
        )  # fmt: skip
        sns.stripplot(
            data, x=column, y="series", hue="series", order=list(series), palette=shades, size=6, jitter=False,
            ax=axis, legend=False, edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        axis.set(xlabel=label, ylabel="")
        axis.set_xlim(left=0)
    for axis in axes[1:]:
        axis.set_yticklabels([])
    return figure


def sensitivity_figure(runs: pd.DataFrame, palette: dict[str, Color]) -> Figure | None:
    """Final validation loss against learning rate; None where no setting has two rates.

    A learning rate with a run that did not end ok is a cross at the top of the axis.
    """
    table = stats.sensitivity(runs)
    if table.empty:
        return None
    figure, (axis,) = _panels(1)
    dashes: dict[str, int] = {}
    for (optimizer, setting), group in table.groupby(["optimizer", "setting"], sort=False):
        dash = DASHES[dashes.setdefault(optimizer, 0) % len(DASHES)]
        dashes[optimizer] += 1
        color = palette[optimizer]
        axis.plot(group["lr"], group["value"], "o", linestyle=dash, color=color, label=setting, linewidth=2)
        axis.fill_between(group["lr"], group["low"], group["high"], color=color, alpha=0.15, linewidth=0)
    axis.set_xscale("log")
    if (table["value"].dropna() > 0).all() and table["value"].notna().any():
        _log_scale(axis.yaxis)
    for lr, at_rate in table[table["value"].isna()].groupby("lr"):
        for rank, optimizer in enumerate(at_rate["optimizer"]):
            axis.plot(
                [lr], [0.96 - 0.07 * rank], "x", transform=axis.get_xaxis_transform(), color=palette[optimizer], markersize=9,
                markeredgewidth=2,
            )  # fmt: skip
    axis.set(xlabel="learning rate", ylabel="final val loss")
    _one_legend(figure, [axis])
    return figure


MARKERS = {"forloop": "o", "foreach": "s", "fused": "D", "compiled": "^", "reference": "v", "own": "P"}


def step_cost_figure(costs: pd.DataFrame, palette: dict[str, Color]) -> Figure | None:
    """What a step costs, a row an optimizer, a marker an implementation; and its ratio to the baseline.

    Args:
        costs: What `stats.step_costs` gave, of one session.
        palette: A colour for each optimizer.
    """
    ok = costs[costs["status"] == "ok"]
    if ok.empty:
        return None
    optimizers = list(dict.fromkeys(ok.sort_values("step_us")["optimizer"]))
    figure, (left, right) = _panels(2)
    figure.set_size_inches(10, 1.8 + 0.55 * len(optimizers))
    for implementation, marker in MARKERS.items():
        rows = ok[ok["implementation"] == implementation]
        if rows.empty:
            continue
        offset = 0.14 * (list(MARKERS).index(implementation) - 2.5)
        y = np.array([optimizers.index(name) + offset for name in rows["optimizer"]])
        shades = [palette[str(name)] for name in rows["optimizer"]]
        left.hlines(y, rows["step_us_q1"], rows["step_us_q3"], colors=shades, linewidth=2)
        left.scatter(rows["step_us"], y, marker=marker, c=shades, s=45, zorder=3)
        left.scatter([], [], marker=marker, color="0.35", s=45, label=implementation)
        kept = rows["ranked"].to_numpy(bool)
        sure, y, shades = rows[kept], y[kept], [shade for shade, keep in zip(shades, kept, strict=True) if keep]
        right.hlines(y, sure["ratio_low"], sure["ratio_high"], colors=shades, linewidth=2)
        right.scatter(sure["ratio"], y, marker=marker, c=shades, s=45, zorder=3)
    baseline = str(ok["baseline"].iloc[0]).replace("/", " ")
    left.set(xlabel="one optimizer step (µs)")
    right.set(xlabel=f"times the step of {baseline}")
    right.axvline(1, color="0.5", linewidth=1)
    for axis in (left, right):
        _log_scale(axis.xaxis)
        axis.set_yticks(range(len(optimizers)), optimizers)
        axis.set_ylim(len(optimizers) - 0.5, -0.5)
    right.set_yticklabels([])
    _one_legend(figure, [left])
    return figure


def stacked_figure(table: pd.DataFrame, rows: Sequence[str], parts: Sequence[tuple[str, str]], label: str) -> Figure:
    """Horizontal bars, each the sum of its parts.

    Args:
        table: One row a bar.
        rows: Their names, top to bottom.
        parts: (column, name in the legend) each, left to right; parts that are nothing everywhere are left out.
        label: Of the axis, with its unit.
    """
    figure, (axis,) = _panels(1)
    figure.set_size_inches(8, 1.7 + 0.36 * len(rows))
    left = np.zeros(len(table))
    shades = iter(sns.color_palette("Set2", 8))
    for column, name in parts:
        widths = table[column].to_numpy(float)
        if not (widths > 0).any():
            continue
        axis.barh(range(len(rows)), widths, left=left, color=next(shades), label=name, height=0.7)
        left = left + np.nan_to_num(widths)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set(xlabel=label)
    _one_legend(figure, [axis])
    return figure


def memory_figure(memory: pd.DataFrame) -> Figure:
    """Peak memory by category, a bar a series.

    Args:
        memory: Rows of the side table `memory`, with `series`.
    """
    scale, unit = stats.memory_unit(memory)
    columns = [f"{part}_mib" for part in stats.MEMORY_PARTS]
    parts = [(column, part.replace("_", " ")) for column, part in zip(columns, stats.MEMORY_PARTS, strict=True)]
    return stacked_figure(scale * memory[columns], list(memory["series"]), parts, f"peak memory ({unit})")
