"""Bars, targets, profiles, Pareto fronts and statuses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.plots.palette import Color, line_styles
from bench.plots.style import MAX_FAINT_RUNS, one_legend, panel_grid


def bars_figure(
    runs: pd.DataFrame, series: Sequence[str], quantities: Sequence[tuple[str, str]], palette: dict[str, Color]
) -> Figure | None:
    """Draw a panel a quantity: a dot a run, and the median as a bar.

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
    figure, axes = panel_grid(len(present))
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


def targets_figure(
    each: pd.DataFrame, targets: pd.DataFrame, palette: dict[str, Color], measured: bool
) -> Figure | None:
    """Draw steps, and time, to the target: a dot a run, mean and interval; None where no run got there.

    A run that never got there is an open arrow at the steps it is known to exceed.

    Args:
        each: What `targets.steps_to_target` gave.
        targets: What `targets.time_to_target` gave of the same runs, a row a series, top to bottom.
        palette: A colour for each optimizer.
        measured: Whether time is steps times a measured step time; else it is end to end.
    """
    if not each["reached"].any():
        return None
    series = [str(name) for name in targets["series"]]
    time = "time_to_target_s" if measured else "end_to_end_s"
    panels = 2 if targets[time].notna().any() else 1
    figure, axes = panel_grid(panels)
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
        draw_interval(axes[0], target.mean_steps, target.mean_steps_low, target.mean_steps_high, row, color)
        if panels > 1 and measured:
            low, high = target.time_to_target_s_low, target.time_to_target_s_high
            draw_interval(axes[1], target.time_to_target_s, low, high, row, color)
        elif panels > 1:
            axes[1].plot([target.end_to_end_s], [row], "|", color=color, markersize=16, markeredgewidth=3)
    labels = ["steps to the target", "steps × measured step time (s)" if measured else "end to end (s), not ranked"]
    for axis, label in zip(axes, labels, strict=False):
        axis.set_yticks(range(len(series)), series if axis is axes[0] else [""] * len(series))
        axis.set_ylim(len(series) - 0.5, -0.5)
        axis.set_xlim(left=0)
        axis.set_xlabel(label)
    return figure


def _spread(num: int) -> np.ndarray:
    """Places from -1 to 1, so that marks at one value are seen beside each other."""
    return np.linspace(-1, 1, num) if num > 1 else np.zeros(num)


def draw_interval(axis: Axes, value: float, low: float, high: float, row: float, color: Color) -> None:
    """Draw an estimate and its interval on a row."""
    if math.isfinite(low) and math.isfinite(high):
        axis.plot([low, high], [row, row], "-", color=color, linewidth=3, solid_capstyle="butt", zorder=4)
    if math.isfinite(value):
        axis.plot([value], [row], "D", color=color, markeredgecolor="white", markersize=8, zorder=5)


def profile_figure(profile: pd.DataFrame, palette: dict[str, Color]) -> Figure:
    """Draw performance profiles: the share of workloads on which an optimizer is within a factor of the fastest.

    Args:
        profile: What `profiles.performance_profile` gave.
        palette: A colour for each optimizer.
    """
    figure, (axis,) = panel_grid(1)
    names = list(dict.fromkeys(profile["submission"].astype(str)))
    of = pd.DataFrame({"series": names, "optimizer": [_optimizer_of(name, palette) for name in names]})
    for number, (name, (color, dash)) in enumerate(line_styles(of, names, palette).items()):
        steps = profile[profile["submission"] == name]
        # lines that run together stay apart by a hair
        axis.step(
            steps["tau"],
            steps["share"] + 0.006 * number,
            linestyle=dash,
            where="post",
            color=color,
            linewidth=2,
            label=name,
        )
    axis.set(xlabel="multiple of the fastest (τ)", ylabel="share of workloads", ylim=(-0.03, 1.08))
    one_legend(figure, [axis])
    return figure


def _optimizer_of(name: str, palette: dict[str, Color]) -> str:
    """Return the optimizer of "adam fused"."""
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
    figure, (axis,) = panel_grid(1)
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
    axis.plot(
        [], [], "o", color="white", markeredgecolor="0.35", markeredgewidth=2, markersize=10, label="not on the front"
    )
    axis.margins(x=0.18, y=0.15)
    axis.set(xlabel=x_label, ylabel=y_label)
    one_legend(figure, [axis])
    return figure


STATUS_CELLS = {
    "ok": ("#e6f0e9", ""), "diverged": ("#f4c7a8", "D"), "oom": ("#d9c2e9", "M"), "timeout": ("#f7e3a1", "T"),
    "failed": ("#efb0b0", "F"), "interrupted": ("#d5d9de", "I"), "skipped": ("#f2f3f5", "S"), "pruned": ("#c4dcf2", "P"),
}  # fmt: skip
"""Colour and letter of each status in the grid."""


MAX_GRID_COLUMNS = 40


def status_figure(runs: pd.DataFrame, column: str, label: str) -> Figure | None:
    """Draw how runs ended: a row an optimizer, a cell a learning rate or trial, letters for what did not end ok.

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
    figure, (axis,) = panel_grid(1)
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
