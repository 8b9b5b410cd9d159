"""Loss and metric curves against steps, epochs or time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from bench.analysis.comparisons import bands
from bench.base.metrics import CURVES
from bench.plots.palette import Color, LineStyle, line_styles
from bench.plots.style import first_of_each, log_scale, one_legend, panel_grid

X_LABELS = {"step": "step", "epoch": "epoch", "train_time_s": "training time (s)"}


Y_LABELS = {
    "gap": "train loss minus the lowest possible",
    **{curve.name: curve.y_label for curve in CURVES},
}


MAX_FAINT_LINES = 30
"""Single seeds in a panel; of more, medians and ranges are drawn."""


MAX_FAINT_POINTS = 20_000
"""Above so many points in a panel the single seeds are thinned, so that a figure stays small."""


def curves_figure(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    series: Sequence[str],
    metric: str,
    x: str,
    palette: dict[str, Color],
    step_times: pd.DataFrame | None = None,
) -> Figure | None:
    """Draw a metric against step, epoch or training time, a panel a split; None where there is none.

    Above steps stand the epochs, where a step is the same part of one in all runs. Training time is that of the run, or, with `step_times` (see `step_costs.step_times`), steps times the
    separately measured step time. Up to 30 seeds faint; median and range of the seeds in front. A run that did not end ok is drawn as
    far as it came and ends in a cross; the median goes as far as all runs of the series came.
    """
    data, label = _points(runs, curves, series, metric, x, step_times)
    wanted = ("val", "test") if metric == "accuracy" else ("train", "val")
    splits = [split for split in wanted if (data["split"] == split).any()]
    if not splits:
        return None
    figure, axes = panel_grid(len(splits))
    styles = line_styles(runs, series, palette)
    for axis, split in zip(axes, splits, strict=True):
        _draw_panel(axis, data[data["split"] == split], metric, x, styles)
        axis.set_xlabel(label)
        if x == "step":
            _epochs_above(axis, data)
    one_legend(figure, axes)
    return figure


def draw_curves(
    axis: Axes, runs: pd.DataFrame, curves: pd.DataFrame, series: Sequence[str], metric: str, x: str,
    palette: dict[str, Color], split: str,
) -> bool:  # fmt: skip
    """Draw a metric of one split as a panel of `curves_figure`, on given axes; return whether there was any."""
    data, label = _points(runs, curves, series, metric, x)
    data = data[data["split"] == split]
    if len(data):
        _draw_panel(axis, data, metric, x, line_styles(runs, series, palette))
        axis.set_xlabel(label)
        axis.legend()
    return len(data) > 0


def _points(
    runs: pd.DataFrame, curves: pd.DataFrame, series: Sequence[str], metric: str, x: str,
    step_times: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, str]:  # fmt: skip
    """Return the points of a metric with their series and status, and what to write on the x axis."""
    data = curves[(curves["metric"] == metric) & curves["run_id"].isin(runs["run_id"])]
    data = data.merge(runs[["run_id", "series", "status"]], on="run_id")
    data = data[data["series"].isin(series)]
    if x == "train_time_s" and step_times is not None:
        seconds = data["series"].map(step_times.set_index("series")["step_s"])
        data = data.assign(train_time_s=data["step"] * seconds)[seconds.notna()]
        return data, "steps × measured step time (s)"
    return data, X_LABELS[x]


def _draw_panel(
    axis: Axes, panel: pd.DataFrame, metric: str, x: str, styles: dict[str, tuple[Color, LineStyle]]
) -> None:
    """Draw the points of one split: seeds faintly, medians and ranges in front."""
    drawn = first_of_each(panel.drop_duplicates("run_id"))["run_id"]
    _draw_seeds(axis, panel[panel["run_id"].isin(drawn)], x, styles)
    _draw_medians(axis, panel, x, styles)
    axis.set_ylabel(Y_LABELS.get(metric, f"{panel['split'].iloc[0]} {metric}"))
    if metric != "accuracy" and (panel["value"] > 0).all():
        log_scale(axis.yaxis)
    axis.autoscale_view()


def _draw_seeds(axis: Axes, points: pd.DataFrame, x: str, styles: dict[str, tuple[Color, LineStyle]]) -> None:
    """Draw single seeds faintly, unless they are too many to follow; a run that did not end ok ends in a cross."""
    keep = max(1, math.ceil(len(points) / MAX_FAINT_POINTS))
    are_few = points["run_id"].nunique() <= MAX_FAINT_LINES
    for name, group in points.groupby("series", sort=False):
        color, _ = styles[str(name)]
        lines = []
        for _, run in group.groupby("run_id", sort=False):
            line = run[[x, "value"]].to_numpy(float)
            lines.append(np.concatenate([line[:-1:keep], line[-1:]]))
            if run["status"].iloc[0] != "ok":
                axis.plot(*line[-1], "x", color=color, markersize=9, markeredgewidth=2, zorder=4)
        if len(lines) > 1 and are_few:
            axis.add_collection(LineCollection(lines, colors=[color], alpha=0.25, linewidths=0.8))


def _draw_medians(axis: Axes, points: pd.DataFrame, x: str, styles: dict[str, tuple[Color, LineStyle]]) -> None:
    """Draw the median of each series, and the range of its seeds where there are several."""
    for name, band in bands(points, x).groupby("series", sort=False):
        color, dash = styles[str(name)]
        if (band["num_runs"] > 1).any():
            axis.fill_between(band["x"], band["low"], band["high"], color=color, alpha=0.15, linewidth=0)
        axis.plot(band["x"], band["median"], linestyle=dash, color=color, linewidth=2, label=str(name), zorder=3)


def _epochs_above(axis: Axes, data: pd.DataFrame) -> None:
    """Mark epochs at the top of an axis of steps."""
    a_step = epochs_per_step(data)
    if a_step is not None:
        top = axis.secondary_xaxis(
            "top", functions=(lambda step: np.multiply(step, a_step), lambda epoch: np.divide(epoch, a_step))
        )
        top.set_xlabel("epoch")


def epochs_per_step(curves: pd.DataFrame) -> float | None:
    """Return the part of an epoch that a step is; None where it is not the same in all runs."""
    points = curves[curves["step"] > 0]
    share = (points["epoch"] / points["step"]).to_numpy(float)
    is_same = len(share) and share.min() > 0 and np.allclose(share, share[0], rtol=1e-6)
    return float(share[0]) if is_same else None
