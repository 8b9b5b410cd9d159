"""Diagnostics of training against step: of the whole model, and of each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from bench.base.diagnostics import DIAGNOSTIC_NAMES
from bench.plots.palette import Color, line_styles
from bench.plots.style import log_scale, one_legend

LOGARITHMIC = ("weight_norm", "gradient_norm", "update_norm", "update_to_weight", "effective_lr", "noise_scale", "sharpness",
               "preconditioned_sharpness", "gradient_reach", "gradient_median", "gradient_tail", "activation_median", "activation_tail")  # fmt: skip
"""Those that are positive and span decades."""


MOST_PANELS = 6
"""Optimizers of which layers are drawn."""


def whole_figure(
    table: pd.DataFrame, runs: pd.DataFrame, series: Sequence[str], palette: dict[str, Color]
) -> Figure | None:
    """Draw each diagnostic of the whole model, a panel each: the median over seeds; None where there is none.

    Args:
        table: Rows of the side table `diagnostics`, with `series`.
        runs: Rows of `runs` with `series`, for styles.
        series: What is drawn.
        palette: A colour for each optimizer.
    """
    whole = table[table["layer"].fillna("") == ""]
    names = [name for name in DIAGNOSTIC_NAMES if (whole["name"] == name).any()]
    if not names:
        return None
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.6 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    styles = line_styles(runs, series, palette)
    for axis, name in zip(panels.flat, names, strict=False):
        own = whole[whole["name"] == name]
        for one in series:
            values = own[own["series"] == one].groupby("step")["value"].median()
            if len(values):
                color, dash = styles[one]
                axis.plot(values.index, values, linestyle=dash, color=color, label=one)
        axis.set_title(name.replace("_", " "), fontsize=12)
        if name in LOGARITHMIC and (own["value"] > 0).all():
            log_scale(axis.yaxis)
    for axis in panels.flat[len(names) :]:
        axis.remove()
    for axis in panels.flat[max(0, len(names) - columns) : len(names)]:
        axis.set_xlabel("step")
        axis.tick_params(labelbottom=True)
    one_legend(figure, list(panels.flat[: len(names)]))
    return figure


def layers_figure(table: pd.DataFrame, name: str, series: Sequence[str]) -> Figure | None:
    """Draw a diagnostic of each layer against step as a map of colours, a panel an optimizer, its first seed; None where there is none.

    Args:
        table: Rows of the side table `diagnostics`, with `series` and `seed`.
        name: Of the diagnostic.
        series: What is drawn, at most MOST_PANELS.
    """
    own = table[(table["name"] == name) & (table["layer"].fillna("") != "")]
    shown = [one for one in series if (own["series"] == one).any()][:MOST_PANELS]
    if not shown:
        return None
    layers = list(dict.fromkeys(own["layer"]))
    figure = Figure(figsize=(3.4 * len(shown) + 2.2, 0.32 * len(layers) + 1.9), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    values = own.loc[own["value"] > 0, "value"] if name in LOGARITHMIC else own["value"]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    linear = Normalize(-1.0 if low < 0 else 0.0, max(1.0, high))
    norm = LogNorm(low, high if high > low else 2 * low) if name in LOGARITHMIC else linear
    for axis, one in zip(axes, shown, strict=True):
        of = own[own["series"] == one]
        first = of[of["seed"] == of["seed"].min()]
        grid = first.pivot_table(index="layer", columns="step", values="value").reindex(layers)
        edges = np.arange(len(layers) + 1) - 0.5
        steps = grid.columns.to_numpy(float)
        width = float(np.diff(steps).min()) if len(steps) > 1 else 1.0
        drawn = axis.pcolormesh(
            np.append(steps - width / 2, steps[-1] + width / 2), edges, np.ma.masked_invalid(grid.to_numpy(float)), norm=norm,
            cmap="viridis", rasterized=True,
        )  # fmt: skip
        axis.set_title(one, fontsize=12)
        axis.set_xlabel("step")
        axis.grid(visible=False)
    axes[0].set_yticks(range(len(layers)), layers)
    axes[0].invert_yaxis()
    figure.colorbar(drawn, ax=list(axes), label=name.replace("_", " "), pad=0.02)
    return figure
