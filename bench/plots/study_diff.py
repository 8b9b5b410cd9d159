"""The second of two studies relative to the first."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.study_diff import QUANTITIES
from bench.plots.comparisons import draw_interval
from bench.plots.palette import Color
from bench.plots.style import log_scale, panel_grid


def differences_figure(table: pd.DataFrame, tolerance: float, palette: dict[str, Color]) -> Figure | None:
    """Draw the ratio of each quantity with its interval, a panel a quantity; None where nothing has a ratio.

    Args:
        table: Rows of `study_diff.TwoStudies.comparisons` of one workload, with `optimizer`.
        tolerance: Relative increase that does not matter, drawn as a band.
        palette: A colour for each optimizer.
    """
    known = table[table["ratio"].notna()]
    shown = [name for name in QUANTITIES if (known["quantity"] == name).any()]
    if not shown:
        return None
    series = list(dict.fromkeys(table["series"]))
    figure, axes = panel_grid(len(shown))
    figure.set_figheight(1.7 + 0.42 * len(series))
    for axis, name in zip(axes, shown, strict=True):
        axis.axvspan(1 / (1 + tolerance), 1 + tolerance, color="0.9", linewidth=0)
        axis.axvline(1, color="0.5", linewidth=1)
        for row in known[known["quantity"] == name].itertuples():
            place = series.index(row.series)
            draw_interval(axis, row.ratio, row.ratio_low, row.ratio_high, place, palette[row.optimizer])
        values = np.concatenate([line.get_xdata() for line in axis.lines]).astype(float)
        if (values[np.isfinite(values)] > 0).all():
            log_scale(axis.xaxis)
        axis.set_xlabel(f"{QUANTITIES[name]}, B / A")
        axis.set_yticks(range(len(series)), series if axis is axes[0] else [""] * len(series))
        axis.set_ylim(len(series) - 0.5, -0.5)
    return figure
