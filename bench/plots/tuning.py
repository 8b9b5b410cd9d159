"""Learning-rate sensitivity, what a budget of trials buys, tuned against default."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.plots.comparisons import draw_interval
from bench.plots.palette import Color, styles_of
from bench.plots.style import log_scale, one_legend, panel_grid


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
    figure, (axis,) = panel_grid(1)
    settings = table[["setting", "optimizer"]].drop_duplicates()
    styles = styles_of(settings.itertuples(index=False, name=None), palette)
    known = table["value"].dropna()
    for rank, ((optimizer, setting), group) in enumerate(table.groupby(["optimizer", "setting"], sort=False)):
        color, dash = styles[setting]
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
        log_scale(axis.yaxis)
    for lr, at_rate in table[table["value"].isna()].groupby("lr"):
        for rank, optimizer in enumerate(at_rate["optimizer"]):
            axis.plot(
                [lr], [0.96 - 0.07 * rank], "x", transform=axis.get_xaxis_transform(), color=palette[optimizer], markersize=9,
                markeredgewidth=2,
            )  # fmt: skip
    axis.set(xlabel="learning rate", ylabel=label)
    axis.tick_params(axis="x", pad=6 + 4 * min(6, len(basins)))
    one_legend(figure, [axis])
    return figure


def budget_figure(curves: pd.DataFrame, label: str, palette: dict[str, Color]) -> Figure | None:
    """Draw the loss of the best of k trials against k: expected, and the middle 95 %; None below two trials.

    Args:
        curves: What `tuning.budget_curves` gave.
        label: Of the loss.
        palette: A colour for each optimizer.
    """
    if curves.empty or curves["k"].max() < 2 or curves["expected"].isna().all():
        return None
    figure, (axis,) = panel_grid(1)
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
        log_scale(axis.yaxis)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set(xlabel="trials (k)", ylabel=label)
    one_legend(figure, [axis])
    return figure


def defaults_figure(table: pd.DataFrame, palette: dict[str, Color]) -> Figure | None:
    """Defaults against tuned: the loss of both, and the paired ratio with its interval; None without any.

    Args:
        table: What `tuning.defaults_against_tuned` gave.
        palette: A colour for each optimizer.
    """
    if table.empty:
        return None
    figure, (left, right) = panel_grid(2)
    figure.set_figheight(1.9 + 0.45 * len(table))
    for row, line in enumerate(table.itertuples()):
        color = palette[str(line.optimizer)]
        left.plot([line.default, line.tuned], [row, row], "-", color=color, linewidth=2)
        left.plot(
            [line.default], [row], "o", markerfacecolor="white", markeredgecolor=color, markersize=9, markeredgewidth=2
        )
        left.plot([line.tuned], [row], "o", color=color, markersize=9)
        draw_interval(right, line.ratio, line.ratio_low, line.ratio_high, row, color)
    left.plot(
        [], [], "o", markerfacecolor="white", markeredgecolor="0.35", markersize=9, markeredgewidth=2, label="default"
    )
    left.plot([], [], "o", color="0.35", markersize=9, label="tuned")
    right.axvline(1, color="0.5", linewidth=1)
    left.set_xlabel("final val loss, mean over seeds")
    right.set_xlabel("tuned / default, paired")
    for axis in (left, right):
        values = np.concatenate([line.get_xdata() for line in axis.lines]).astype(float)
        if (values[np.isfinite(values)] > 0).all():
            log_scale(axis.xaxis)
        axis.set_yticks(range(len(table)), list(table["optimizer"]) if axis is left else [""] * len(table))
        axis.set_ylim(len(table) - 0.5, -0.5)
    one_legend(figure, [left])
    return figure
