"""One run, or two beside each other: curves with diagnostics beneath, and the loss around the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.analysis.comparisons import grid_of
from bench.base.diagnostics import DIAGNOSTIC_NAMES
from bench.plots.diagnostics import LOGARITHMIC
from bench.plots.palette import Color, LineStyle
from bench.plots.style import log_scale, one_legend
from bench.plots.trajectories import draw_path, draw_surface

Marks = Sequence[tuple[str, int, str]]
"""Series, step, and what stands beside the mark."""


def course_panels(curves: pd.DataFrame, recorded: pd.DataFrame) -> list[tuple[str, pd.DataFrame, bool]]:
    """Return what is drawn of the course of runs: for each panel its title, its points, and whether its axis may be logarithmic.

    Args:
        curves: Rows of the table `curves` with `series`, one run each.
        recorded: Rows of the side table `diagnostics`, likewise; may be empty.
    """
    whole = recorded[recorded["layer"].fillna("") == ""] if len(recorded) else recorded
    panels = [(f"{split} {metric}", curves[(curves["split"] == split) & (curves["metric"] == metric)], metric == "loss")
              for metric in ("loss", "accuracy") for split in ("train", "val")]  # fmt: skip
    losses = curves[curves["metric"] == "loss"].pivot_table(index=["series", "step"], columns="split", values="value")
    if {"train", "val"} <= set(losses):
        gap = (losses["val"] - losses["train"]).dropna().rename("value").reset_index()
        panels.insert(2, ("val minus train loss", gap, False))
    if len(whole):
        panels += [
            (name.replace("_", " "), whole[whole["name"] == name], name in LOGARITHMIC) for name in DIAGNOSTIC_NAMES
        ]
    return [panel for panel in panels if len(panel[1])]


def course_figure(
    curves: pd.DataFrame, recorded: pd.DataFrame, styles: Mapping[str, tuple[Color, LineStyle]], marks: Marks
) -> Figure:
    """Draw losses and accuracy, and beneath them each diagnostic of the whole model, over one axis of steps.

    Args:
        curves: Rows of the table `curves` with `series`, one run each.
        recorded: Rows of the side table `diagnostics`, likewise; may be empty.
        styles: Of each series.
        marks: Steps at which a vertical line stands.
    """
    panels = course_panels(curves, recorded)
    figure = Figure(figsize=(11.0, 1.35 * len(panels) + 0.9), layout="constrained")
    axes = list(figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0])
    for axis, (title, points, may_log) in zip(axes, panels, strict=True):
        for name, (color, dash) in styles.items():
            own = points[points["series"] == name].sort_values("step")
            if len(own):
                axis.plot(own["step"], own["value"], linestyle=dash, color=color, label=name)
        axis.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=11)
        axis.tick_params(labelsize=10)
        if may_log and (points["value"] > 0).all():
            log_scale(axis.yaxis)
        for series, step, _ in marks:
            axis.axvline(step, color=styles[series][0], linestyle=":", linewidth=1.2)
    for series, step, text in marks:
        axes[0].annotate(text, (step, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
                         ha="center", fontsize=10, color=styles[series][0])  # fmt: skip
    axes[-1].set_xlabel("step")
    one_legend(figure, axes)
    return figure


def slices_figure(rows: pd.DataFrame, styles: Mapping[str, tuple[Color, LineStyle]]) -> Figure | None:
    """Draw the loss along the last recorded update and along a random direction; None where there is neither.

    Args:
        rows: Rows of the side table `landscapes`, with `series`.
        styles: Of each series.
    """
    kinds = [
        (kind, words)
        for kind, words in (
            ("update", "along the last recorded update\n(0 before, 1 after it)"),
            ("random", "along a random direction\n(in lengths of the filters)"),
        )
        if (rows["kind"] == kind).any()
    ]
    if not kinds:
        return None
    figure = Figure(figsize=(4.2 * len(kinds), 3.8), layout="constrained")
    axes = list(figure.subplots(1, len(kinds), squeeze=False)[0])
    for axis, (kind, words) in zip(axes, kinds, strict=True):
        for name, (color, dash) in styles.items():
            own = rows[(rows["kind"] == kind) & (rows["series"] == name)].sort_values("x")
            axis.plot(own["x"], own["value"], linestyle=dash, color=color, label=name)
        if kind == "update":
            axis.axvline(1.0, color="0.5", linestyle=":", linewidth=1.2)
        axis.set_xlabel(words)
    axes[0].set_ylabel("loss")
    one_legend(figure, axes)
    return figure


def planes_figure(
    rows: pd.DataFrame, names: Sequence[str], kind: str, styles: Mapping[str, tuple[Color, LineStyle]]
) -> Figure | None:
    """Draw the loss over a plane through the weights at the end, a panel a run; None where there is none.

    Args:
        rows: Rows of the side table `landscapes`, with `series`.
        names: The series.
        kind: plane: of two random directions; path_plane: of the main directions of the path, with the path.
        styles: Of each series.
    """
    grids = {name: grid_of(rows[(rows["kind"] == kind) & (rows["series"] == name)]) for name in names}
    shown = {name: grid for name, grid in grids.items() if grid is not None}
    if not shown:
        return None
    figure = Figure(figsize=(4.6 * len(shown) + 0.6, 4.2), layout="constrained")
    axes: list[Axes] = list(figure.subplots(1, len(shown), squeeze=False)[0])
    for axis, (name, grid) in zip(axes, shown.items(), strict=True):
        axis.grid(visible=False)
        filled = draw_surface(axis, grid)
        if kind == "path_plane":
            path = rows[(rows["kind"] == "path") & (rows["series"] == name)].sort_values("step").assign(status="ok")
            draw_path(axis, path, styles[name][0], "-", name, 0)
        else:
            axis.plot([0.0], [0.0], marker="s", markersize=7, color=styles[name][0], markeredgecolor="black")
        across, up = plane_axes(rows, kind, name)
        axis.set_xlabel(across)
        axis.set_ylabel(up)
        axis.set_title(name, fontsize=12)
        bar = figure.colorbar(filled, ax=axis, shrink=0.9, pad=0.02)
        ticks = np.asarray(bar.get_ticks())
        bar.set_ticks(list(ticks[:: max(1, len(ticks) // 5)]))
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.2g}")
        bar.set_label("loss minus the lowest", fontsize=11)
    return figure


def plane_axes(rows: pd.DataFrame, kind: str, name: str) -> tuple[str, str]:
    """Return what stands at the axes of a plane; arguments as of `planes_figure`, and the series."""
    if kind == "plane":
        return "one random direction", "another"
    shares = rows[(rows["kind"] == "explained") & (rows["series"] == name)].sort_values("x")["value"].tolist()
    first, second = (f" ({share:.0%})" for share in (*shares, math.nan, math.nan)[:2])
    return f"first main direction{first}", f"second main direction{second}"
