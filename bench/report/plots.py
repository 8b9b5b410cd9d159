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
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

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
"""Above so many points in a panel the single seeds are thinned, so that a figure stays small."""
MAX_FAINT_RUNS = 20
"""Of each series so many single seeds are drawn, or dots for them; medians and bands are over all."""
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


def _first_of_each(runs: pd.DataFrame) -> pd.DataFrame:
    """The first MAX_FAINT_RUNS rows of each series, and those that did not end ok among its first as many again."""
    place = runs.groupby("series").cumcount()
    return runs[(place < MAX_FAINT_RUNS) | ((place < 2 * MAX_FAINT_RUNS) & (runs["status"] != "ok"))]


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
    drawn = set(_first_of_each(data.drop_duplicates("run_id"))["run_id"])
    for axis, split in zip(axes, splits, strict=True):
        panel = data[data["split"] == split]
        faint = panel[panel["run_id"].isin(drawn)]
        keep = max(1, math.ceil(len(faint) / MAX_FAINT_POINTS))
        for name, group in faint.groupby("series", sort=False):
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
            data.groupby("series").head(MAX_FAINT_RUNS), x=column, y="series", hue="series", order=list(series), palette=shades, size=6, jitter=False,
            ax=axis, legend=False, edgecolor="white", linewidth=0.6,
        )  # fmt: skip
        axis.set(xlabel=label, ylabel="")
        axis.set_xlim(left=0)
    for axis in axes[1:]:
        axis.set_yticklabels([])
    return figure


def sensitivity_figure(
    table: pd.DataFrame, basins: pd.DataFrame, label: str, palette: dict[str, Color]
) -> Figure | None:
    """Loss against learning rate, and the width of the basin; None where no setting has two rates.

    A learning rate with a run that did not end ok is a cross at the top of the axis.

    Args:
        table: What `tuning.sensitivity` gave.
        basins: What `tuning.basin_width` gave: a bar under its curve, open ended where nothing beyond was tried.
        label: Of the loss.
        palette: A colour for each optimizer.
    """
    if table.empty:
        return None
    figure, (axis,) = _panels(1)
    dashes: dict[str, int] = {}
    known = table["value"].dropna()
    for rank, ((optimizer, setting), group) in enumerate(table.groupby(["optimizer", "setting"], sort=False)):
        dash = DASHES[dashes.setdefault(optimizer, 0) % len(DASHES)]
        dashes[optimizer] += 1
        color = palette[optimizer]
        axis.plot(group["lr"], group["value"], "o", linestyle=dash, color=color, label=setting, linewidth=2)
        axis.fill_between(group["lr"], group["low"], group["high"], color=color, alpha=0.15, linewidth=0)
        for basin in basins[(basins["optimizer"] == optimizer) & (basins["setting"] == setting)].itertuples():
            y = -0.04 - 0.025 * (rank % 6)
            ends = [None if side in basin.open else "|" for side in ("low", "high")]
            across = axis.get_xaxis_transform()
            axis.plot([basin.low_lr, basin.high_lr], [y, y], color=color, linewidth=3, transform=across, clip_on=False)
            for x, end, arrow in zip((basin.low_lr, basin.high_lr), ends, ("<", ">"), strict=True):
                axis.plot([x], [y], end or arrow, color=color, transform=across, clip_on=False, markersize=7)
    axis.set_xscale("log")
    if len(known) and (known > 0).all():
        _log_scale(axis.yaxis)
    for lr, at_rate in table[table["value"].isna()].groupby("lr"):
        for rank, optimizer in enumerate(at_rate["optimizer"]):
            axis.plot(
                [lr], [0.96 - 0.07 * rank], "x", transform=axis.get_xaxis_transform(), color=palette[optimizer], markersize=9,
                markeredgewidth=2,
            )  # fmt: skip
    axis.set(xlabel="learning rate", ylabel=label)
    axis.tick_params(axis="x", pad=6 + 4 * min(6, len(basins)))
    _one_legend(figure, [axis])
    return figure


def targets_figure(
    each: pd.DataFrame, targets: pd.DataFrame, palette: dict[str, Color], measured: bool
) -> Figure | None:
    """Steps, and time, to the target: a dot a run, mean and interval; None where no run got there.

    A run that never got there is an open arrow at the steps it is known to exceed.

    Args:
        each: What `stats.steps_to_target` gave.
        targets: What `stats.time_to_target` gave of the same runs, a row a series, top to bottom.
        palette: A colour for each optimizer.
        measured: Whether time is steps times a measured step time; else it is end to end.
    """
    if not each["reached"].any():
        return None
    series = [str(name) for name in targets["series"]]
    time = "time_to_target_s" if measured else "end_to_end_s"
    panels = 2 if targets[time].notna().any() else 1
    figure, axes = _panels(panels)
    figure.set_figheight(1.6 + 0.45 * len(series))
    rows = {name: place for place, name in enumerate(series)}
    of = each.drop_duplicates("series").set_index("series")["optimizer"]
    shown = each[each["series"].isin(rows)].groupby("series", sort=False).head(2 * MAX_FAINT_RUNS)
    for name, group in shown.groupby("series", sort=False):
        color, row = palette[str(of[name])], rows[str(name)]
        reached, lost = group[group["reached"]], group[~group["reached"]]
        axes[0].plot(reached["steps_to_target"], np.full(len(reached), row), "o", color=color, alpha=0.45, markersize=6)
        axes[0].plot(
            lost["censored_at"], row + 0.28 * _spread(len(lost)), ">", markerfacecolor="white", markeredgecolor=color,
            markersize=9, markeredgewidth=1.6, clip_on=False, zorder=5,
        )  # fmt: skip
        if panels > 1 and not measured:
            axes[1].plot(
                reached["end_to_end_s"], np.full(len(reached), row), "o", color=color, alpha=0.45, markersize=6
            )
    for row, target in enumerate(targets.itertuples()):
        if str(target.series) not in of:
            continue
        color = palette[str(of[str(target.series)])]
        _interval(axes[0], target.mean_steps, target.mean_steps_low, target.mean_steps_high, row, color)
        if panels > 1 and measured:
            low, high = target.time_to_target_s_low, target.time_to_target_s_high
            _interval(axes[1], target.time_to_target_s, low, high, row, color)
        elif panels > 1:
            axes[1].plot([target.end_to_end_s], [row], "|", color=color, markersize=16, markeredgewidth=3)
    labels = ["steps to the target", "steps × measured step time (s)" if measured else "end to end (s): ranks nothing"]
    for axis, label in zip(axes, labels, strict=False):
        axis.set_yticks(range(len(series)), series if axis is axes[0] else [""] * len(series))
        axis.set_ylim(len(series) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_xlabel(label)
    return figure


def _spread(num: int) -> np.ndarray:
    """Places from -1 to 1, so that marks at one value are seen beside each other."""
    return np.linspace(-1, 1, num) if num > 1 else np.zeros(num)


def _interval(axis: Axes, value: float, low: float, high: float, row: float, color: Color) -> None:
    """An estimate and its interval on a row."""
    if math.isfinite(low) and math.isfinite(high):
        axis.plot([low, high], [row, row], "-", color=color, linewidth=3, solid_capstyle="butt", zorder=4)
    if math.isfinite(value):
        axis.plot([value], [row], "D", color=color, markeredgecolor="white", markersize=8, zorder=5)


def budget_figure(curves: pd.DataFrame, label: str, palette: dict[str, Color]) -> Figure | None:
    """The loss of the best of k trials against k: expected, and the middle 95 %; None below two trials.

    Args:
        curves: What `tuning.budget_curves` gave.
        label: Of the loss.
        palette: A colour for each optimizer.
    """
    if curves.empty or curves["k"].max() < 2 or curves["expected"].isna().all():
        return None
    figure, (axis,) = _panels(1)
    for number, (optimizer, curve) in enumerate(curves.groupby("optimizer", sort=False)):
        known = curve[curve["expected"].notna()]
        color = palette[str(optimizer)]
        axis.plot(known["k"], known["expected"], "o-", color=color, linewidth=2, markersize=4, label=str(optimizer))
        band = known[np.isfinite(known["high"])]
        if len(band):
            axis.fill_between(band["k"], band["low"], band["high"], color=color, alpha=0.12, linewidth=0)
        lost = curve[curve["expected"].isna()]
        axis.plot(
            lost["k"], np.full(len(lost), 0.97 - 0.06 * number), "x", color=color, transform=axis.get_xaxis_transform(), markersize=7,
            markeredgewidth=2,
        )  # fmt: skip
    if (curves["expected"].dropna() > 0).all():
        _log_scale(axis.yaxis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="trials (k)", ylabel=label)
    _one_legend(figure, [axis])
    return figure


def defaults_figure(table: pd.DataFrame, palette: dict[str, Color]) -> Figure | None:
    """Defaults against tuned: the loss of both, and the paired ratio with its interval; None without any.

    Args:
        table: What `tuning.defaults_against_tuned` gave.
        palette: A colour for each optimizer.
    """
    if table.empty:
        return None
    figure, (left, right) = _panels(2)
    figure.set_figheight(1.9 + 0.45 * len(table))
    for row, line in enumerate(table.itertuples()):
        color = palette[str(line.optimizer)]
        left.plot([line.default, line.tuned], [row, row], "-", color=color, linewidth=2)
        left.plot(
            [line.default], [row], "o", markerfacecolor="white", markeredgecolor=color, markersize=9, markeredgewidth=2
        )
        left.plot([line.tuned], [row], "o", color=color, markersize=9)
        _interval(right, line.ratio, line.ratio_low, line.ratio_high, row, color)
    left.plot(
        [], [], "o", markerfacecolor="white", markeredgecolor="0.35", markersize=9, markeredgewidth=2, label="default"
    )
    left.plot([], [], "o", color="0.35", markersize=9, label="tuned")
    right.axvline(1, color="0.5", linewidth=1)
    left.set_xlabel("final val loss, mean over seeds")
    right.set_xlabel("tuned over default, paired")
    for axis in (left, right):
        values = np.concatenate([line.get_xdata() for line in axis.lines]).astype(float)
        if (values[np.isfinite(values)] > 0).all():
            _log_scale(axis.xaxis)
        axis.set_yticks(range(len(table)), list(table["optimizer"]) if axis is left else [""] * len(table))
        axis.set_ylim(len(table) - 0.5, -0.5)
    _one_legend(figure, [left])
    return figure


def profile_figure(profile: pd.DataFrame, palette: dict[str, Color]) -> Figure:
    """Performance profiles: the share of workloads on which an optimizer is within a factor of the fastest.

    Args:
        profile: What `profiles.performance_profile` gave.
        palette: A colour for each optimizer.
    """
    figure, (axis,) = _panels(1)
    names = list(dict.fromkeys(profile["submission"].astype(str)))
    of = pd.DataFrame({"series": names, "optimizer": [_optimizer_of(name, palette) for name in names]})
    for number, (name, (color, dash)) in enumerate(_styles(of, names, palette).items()):
        steps = profile[profile["submission"] == name]
        # lines that run together stay apart by a hair
        axis.step(
            steps["tau"], steps["share"] + 0.006 * number, dash, where="post", color=color, linewidth=2, label=name
        )
    axis.set(xlabel="times the fastest (τ)", ylabel="share of workloads", ylim=(-0.03, 1.08))
    _one_legend(figure, [axis])
    return figure


def _optimizer_of(name: str, palette: dict[str, Color]) -> str:
    """The optimizer of "adam fused"."""
    return name if name in palette else name.partition(" ")[0]


def pareto_figure(table: pd.DataFrame, x_label: str, y_label: str, palette: dict[str, Color]) -> Figure | None:
    """Cost to the target against peak memory, the front marked; None below two points.

    Args:
        table: Columns series, optimizer, x, y, front.
        x_label: What x is, with its unit.
        y_label: What y is, with its unit.
        palette: A colour for each optimizer.
    """
    known = table.dropna(subset=["x", "y"])
    if len(known) < 2:
        return None
    figure, (axis,) = _panels(1)
    front = known[known["front"]].sort_values(["x", "y"])
    axis.step(front["x"], front["y"], where="post", color="0.55", linewidth=1.2, linestyle="--", zorder=1)
    for point in known.itertuples():
        color = palette[str(point.optimizer)]
        axis.plot(
            [point.x], [point.y], "o", color=color if point.front else "white", markeredgecolor=color, markeredgewidth=2,
            markersize=10,
        )  # fmt: skip
        axis.annotate(
            str(point.series),
            (point.x, point.y),
            xytext=(8, 5),
            textcoords="offset points",
            fontsize=11,
            annotation_clip=False,
        )
    axis.plot([], [], "o", color="0.35", markersize=10, label="on the front")
    axis.plot([], [], "o", color="white", markeredgecolor="0.35", markeredgewidth=2, markersize=10, label="not on it")
    axis.margins(x=0.18, y=0.15)
    axis.set(xlabel=x_label, ylabel=y_label)
    _one_legend(figure, [axis])
    return figure


STATUS_CELLS = {
    "ok": ("#e6f0e9", ""), "diverged": ("#f4c7a8", "D"), "oom": ("#d9c2e9", "M"), "timeout": ("#f7e3a1", "T"),
    "failed": ("#efb0b0", "F"), "interrupted": ("#d5d9de", "I"), "skipped": ("#f2f3f5", "S"), "pruned": ("#c4dcf2", "P"),
}  # fmt: skip
"""Colour and letter of each status in the grid."""

MAX_GRID_COLUMNS = 40


def status_figure(runs: pd.DataFrame, column: str, label: str) -> Figure | None:
    """How runs ended: a row an optimizer, a cell a learning rate or trial, letters for what did not end ok.

    Args:
        runs: Rows of `runs`.
        column: "lr" or "trial": what the cells of a row are.
        label: Of the columns.

    Returns:
        None where no optimizer has two cells, or where there are more than MAX_GRID_COLUMNS of them.
    """
    runs = runs[runs[column].notna()]
    values = sorted(runs[column].unique())
    if not 2 <= len(values) <= MAX_GRID_COLUMNS or runs.groupby("optimizer")[column].nunique().max() < 2:
        return None
    optimizers = list(dict.fromkeys(runs["optimizer"].astype(str)))
    figure, (axis,) = _panels(1)
    figure.set_size_inches(max(5.6, 1.6 + 0.55 * len(values)), 1.7 + 0.42 * len(optimizers))
    seen: dict[str, None] = {}
    for (optimizer, value), group in runs.groupby(["optimizer", column]):
        counts = group["status"].value_counts()
        worst = next((status for status in STATUS_CELLS if status != "ok" and status in counts), "ok")
        seen |= dict.fromkeys(str(status) for status in counts.index)
        x, y = values.index(value), optimizers.index(str(optimizer))
        axis.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, facecolor=STATUS_CELLS[worst][0], edgecolor="0.6"))
        lost = "".join(
            f"{counts[status] if len(group) > 1 else ''}{letter}"
            for status, (_, letter) in STATUS_CELLS.items()
            if letter and status in counts
        )
        axis.text(x, y, lost or ("✓" if len(group) == 1 else f"{len(group)}✓"), ha="center", va="center", fontsize=10)
    axis.set_xticks(range(len(values)), [f"{value:.2g}" for value in values], fontsize=11)
    if len(values) > 8 and column == "lr":
        axis.tick_params(axis="x", rotation=60)
    axis.set_yticks(range(len(optimizers)), optimizers)
    axis.set(xlim=(-0.6, len(values) - 0.4), ylim=(len(optimizers) - 0.5, -0.5), xlabel=label)
    axis.grid(visible=False)
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=color, edgecolor="0.6", label=f"{letter or '✓'} {status}")
        for status, (color, letter) in STATUS_CELLS.items()
        if status in seen
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)), frameon=False)
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
