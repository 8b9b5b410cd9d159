"""What steps and memory cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.analysis.memory import MEMORY_PARTS, memory_unit
from bench.plots.palette import Color
from bench.plots.style import log_scale, one_legend, panel_grid

MARKERS = {"forloop": "o", "foreach": "s", "fused": "D", "compiled": "^", "reference": "v", "own": "P"}


PART_SHADES = tuple(sns.color_palette("Set2", 8))
"""Colours of the parts of a sum."""


def step_cost_figure(costs: pd.DataFrame, palette: dict[str, Color]) -> Figure | None:
    """Draw what a step costs, a row an optimizer, a marker an implementation; and its ratio to the baseline.

    Args:
        costs: What `step_costs.step_costs` gave, of one session.
        palette: A colour for each optimizer.
    """
    ok = costs[costs["status"] == "ok"]
    if ok.empty:
        return None
    optimizers = list(dict.fromkeys(ok.sort_values("step_us")["optimizer"]))
    figure, (left, right) = panel_grid(2)
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
    right.set(xlabel=f"step time relative to {baseline}")
    right.axvline(1, color="0.5", linewidth=1)
    for axis in (left, right):
        log_scale(axis.xaxis)
        axis.set_yticks(range(len(optimizers)), optimizers)
        axis.set_ylim(len(optimizers) - 0.5, -0.5)
    right.set_yticklabels([])
    one_legend(figure, [left])
    return figure


def stacked_figure(table: pd.DataFrame, rows: Sequence[str], parts: Sequence[tuple[str, str]], label: str) -> Figure:
    """Horizontal bars, each the sum of its parts.

    Args:
        table: One row a bar.
        rows: Their names, top to bottom.
        parts: (column, name in the legend) each, left to right; parts that are nothing everywhere are left out.
        label: Of the axis, with its unit.
    """
    figure, (axis,) = panel_grid(1)
    figure.set_size_inches(8, 1.7 + 0.36 * len(rows))
    left = np.zeros(len(table))
    shades = iter(PART_SHADES)
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
    one_legend(figure, [axis])
    return figure


def memory_figure(memory: pd.DataFrame) -> Figure:
    """Peak memory by category, a bar a series.

    Args:
        memory: Rows of the side table `memory`, with `series`.
    """
    scale, unit = memory_unit(memory)
    columns = [f"{part}_mib" for part in MEMORY_PARTS]
    parts = [(column, part.replace("_", " ")) for column, part in zip(columns, MEMORY_PARTS, strict=True)]
    return stacked_figure(scale * memory[columns], list(memory["series"]), parts, f"peak memory ({unit})")
