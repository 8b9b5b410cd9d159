"""Forest plots of claims: small ones within a row of the table, and the figures of a claim's section."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.claims.effects.evidence import DEFAULT, MIXED, RATES, TUNED, Evidence, NotMeasured
from bench.claims.report.i18n import Words, number
from bench.plots.palette import colors, styles_of
from bench.plots.style import log_scale

COLORS = {
    "supported": "#0b5cad",
    "refuted": "#b3400a",
    "no difference": "#6f3d96",
    "ruled out": "#8a2f5f",
    "cannot tell": "#6e7781",
}
"""Of verdicts on a comparison, dark enough to be read as text; shapes say the same."""


MARKERS = {"supported": "o", "refuted": "s", "no difference": "D", "ruled out": "v", "cannot tell": "o"}


BAND, CLAIMED = "#dde2e8", "#eaf2fb"
"""Of differences that do not count, and of where the claim has them."""


FACTORS = {1.2: 1.1, 1.5: 1.25, 2: 1.5, 3: 2, 5: 2, 10: 3, 30: 5, 100: 10, 1_000: 30, 1e4: 100, 1e6: 1e3}
"""Where an axis of ratios may end, and what is marked half way."""


def position(value: float, row: Any) -> float:
    """Return how far a value lies from where there is no difference: the log of the ratio, or the difference."""
    if row.unit != "ratio":
        return value - float(row.center)
    return math.log(value / float(row.center)) if value > 0 else -math.inf


def reach(rows: pd.DataFrame) -> float:
    """Return how far an axis goes to either side, in `position`s: past the band and every estimate, and half of the limits.

    Args:
        rows: Comparisons in one unit, with estimate, low, high, band_low, band_high, center and unit.
    """
    estimates, limits, band = [], [], []
    for row in rows.itertuples():
        estimates.append(abs(position(row.estimate, row)))
        limits += [abs(position(limit, row)) for limit in (row.low, row.high)]
        band += [abs(position(limit, row)) for limit in (row.band_low, row.band_high)]
    known = [value for value in limits if math.isfinite(value)]
    wanted = max(
        [2 * value for value in band if math.isfinite(value)]
        + [1.15 * value for value in estimates if math.isfinite(value)]
        + ([float(np.median(known))] if known else [])
        + [1e-3]
    )
    if rows["unit"].iloc[0] == "ratio":
        return next((math.log(factor) for factor in FACTORS if math.log(factor) >= wanted), math.log(max(FACTORS)))
    power = 10 ** math.floor(math.log10(wanted))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * (1 - 1e-9)))


def ends(row: Any, far: float) -> tuple[str, str]:
    """Return what stands at both ends of an axis."""
    if row.unit != "ratio":
        return number(row.center - far, True), number(row.center + far, True)
    return f"{row.center * math.exp(-far):.2g}", number(row.center * math.exp(far))


def claimed(row: Any, far: float) -> tuple[float, float]:
    """Return from where to where a claim has the difference, in `position`s on an axis."""
    low, high = (max(-far, min(far, position(limit, row))) for limit in (row.band_low, row.band_high))
    return {
        "less": (-far, low),
        "not_more": (-far, high),
        "more": (high, far),
        "not_less": (low, far),
        "same": (low, high),
    }[row.says]


WIDTH, MARGIN, AXIS_HEIGHT = 168.0, 12.0, 13.0
"""Of a small plot, in CSS pixels."""


def small_forest(rows: pd.DataFrame, scales: dict[str, float], label: str, words: Words) -> Markup:
    """Draw an SVG to stand in a page: one line a comparison, one axis a unit.

    Args:
        rows: Comparisons of a claim at one setting, as `bench.claims.report.table.shown` gives them.
        scales: `reach` of each unit.
        label: What it shows, in words.
        words: Of a language.

    Returns:
        Nothing where no comparison has an estimate or a limit.
    """
    drawn = rows[rows["estimate"].notna() | np.isfinite(rows["low"]) | np.isfinite(rows["high"])]
    if drawn.empty:
        return Markup("")
    pitch = max(4.5, min(11.0, 76 / len(drawn)))
    parts: list[str] = []
    top = 0.0
    for unit, group in drawn.groupby("unit", sort=False):
        far = scales[str(unit)]
        height = pitch * len(group) + 4
        parts.append(_axis(next(group.itertuples()), far, top, height))
        for i, row in enumerate(group.itertuples()):
            parts.append(_line(row, far, top + 2 + pitch * (i + 0.5), min(3.2, 0.42 * pitch), words))
        top += height + AXIS_HEIGHT
    return Markup(
        f'<svg class="forest" viewBox="0 0 {WIDTH:g} {top:g}" width="{WIDTH:g}" height="{top:g}" role="img"'
        f' aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _x(value: float, far: float) -> float:
    inside = max(-1.0, min(1.0, value / far))
    return WIDTH / 2 + inside * (WIDTH / 2 - MARGIN)


def _axis(row: Any, far: float, top: float, height: float) -> str:
    low, high = (_x(position(limit, row), far) for limit in (row.band_low, row.band_high))
    bottom = top + height
    below, above = ends(row, far)
    texts = ((MARGIN, "start", below), (WIDTH / 2, "middle", number(row.center) or "0"), (WIDTH - MARGIN, "end", above))
    left, right = (_x(value, far) for value in claimed(row, far))
    return (
        f'<rect class="claimed" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height:.1f}"/>'
        f'<rect class="band" x="{low:.1f}" y="{top:.1f}" width="{high - low:.1f}" height="{height:.1f}"/>'
        f'<path class="axis" d="M{WIDTH / 2:.1f} {top:.1f}V{bottom:.1f}M{MARGIN:.1f} {bottom:.1f}H{WIDTH - MARGIN:.1f}"/>'
        + "".join(
            f'<text x="{x:.1f}" y="{bottom + 10:.1f}" text-anchor="{anchor}">{text}</text>' for x, anchor, text in texts
        )
    )


def _line(row: Any, far: float, y: float, size: float, words: Words) -> str:
    low, high = (position(limit, row) for limit in (row.low, row.high))
    left, right = _x(low, far), _x(high, far)
    parts = [f'<path d="M{left:.1f} {y:.1f}H{right:.1f}"/>']
    for beyond, x, toward in ((low < -far, left, -1), (high > far, right, 1)):
        if beyond:
            parts.append(f'<path d="M{x + toward * 5:.1f} {y:.1f}l{-toward * 5} {-size:.1f}v{2 * size:.1f}z"/>')
    at = position(row.estimate, row)
    if abs(at) <= far:
        parts.append(_mark(row.verdict, _x(at, far), y, size))
    said = f"{words.quantity(row.quantity)}, {row.workload}, {words.opponent(row)}: {words.effect(row)}, {words(row.verdict)}"
    return f'<g class="{row.verdict.replace(" ", "-")}"><title>{escape(said)}</title>{"".join(parts)}</g>'


def _mark(verdict: str, x: float, y: float, size: float) -> str:
    if verdict == "refuted":
        return f'<rect x="{x - size:.1f}" y="{y - size:.1f}" width="{2 * size:.1f}" height="{2 * size:.1f}"/>'
    if verdict == "no difference":
        far = 1.25 * size
        return f'<path d="M{x - far:.1f} {y:.1f}L{x:.1f} {y - far:.1f}L{x + far:.1f} {y:.1f}L{x:.1f} {y + far:.1f}Z"/>'
    if verdict == "ruled out":
        return f'<path d="M{x - size:.1f} {y - size:.1f}h{2 * size:.1f}L{x:.1f} {y + size:.1f}Z"/>'
    is_open = "" if verdict == "supported" else ' class="open"'
    return f'<circle{is_open} cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"/>'


def forest_figure(rows: pd.DataFrame, words: Words) -> Figure | None:
    """Draw every comparison of a claim: a panel a setting, a row of panels a unit; None where there is nothing to draw.

    Args:
        rows: Comparisons of one claim, as `bench.claims.report.table.shown` gives them.
        words: Of a language whose letters the fonts have.
    """
    drawn = rows[rows["estimate"].notna() | np.isfinite(rows["low"]) | np.isfinite(rows["high"])]
    if drawn.empty:
        return None
    keys = ["quantity", "workload", "opponent"]
    drawn = drawn.assign(opponent=[row.opponent_key for row in drawn.itertuples()])
    settings = [at for at in (DEFAULT, TUNED, RATES, MIXED) if (drawn["at"] == at).any()]
    units = list(dict.fromkeys(drawn["unit"]))
    lines = {unit: drawn[drawn["unit"] == unit].drop_duplicates(keys)[keys] for unit in units}
    heights = [0.3 * len(lines[unit]) + 0.5 for unit in units]
    size = (5.2 + 2.9 * len(settings), sum(heights) + 0.5 * len(units) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(units), len(settings), squeeze=False, gridspec_kw={"height_ratios": heights})
    for i, unit in enumerate(units):
        of_unit = drawn[drawn["unit"] == unit]
        places = {tuple(line): len(lines[unit]) - 1 - n for n, line in enumerate(lines[unit].itertuples(index=False))}
        far = reach(of_unit)
        for axis, at in zip(axes[i], settings, strict=True):
            here = of_unit[of_unit["at"] == at]
            _panel(axis, here, of_unit, places, far)
            axis.set_ylim(-0.6, len(places) - 0.4)
            several = drawn["quantity"].nunique() > 1
            labels = [_label(line, several, words) for line in lines[unit].itertuples(index=False)]
            axis.set_yticks(list(places.values()), labels if axis is axes[i][0] else [""] * len(labels), fontsize=11)
            if i == 0:
                axis.set_title(words.at(at), fontsize=12)
            if axis is axes[i][0] or unit != "ratio":
                axis.set_xlabel("ratio" if unit == "ratio" else str(unit), fontsize=11)
    used = [verdict for verdict in COLORS if (drawn["verdict"] == verdict).any()]
    figure.legend([_handle(verdict) for verdict in used], [words(verdict) for verdict in used], loc="outside lower center",
                  ncols=len(used), frameon=False, fontsize=11)  # fmt: skip
    return figure


def _label(line: Any, several: bool, words: Words) -> str:
    parts = [words.quantity(line.quantity)] if several else []
    return ", ".join([*parts, line.workload, line.opponent])


def _panel(
    axis: Axes, rows: pd.DataFrame, of_unit: pd.DataFrame, places: dict[tuple[str, ...], int], far: float
) -> None:
    """Draw one setting, in one unit."""
    for _, group in of_unit.groupby(["says", "band_low", "band_high"], sort=False):
        row = next(group.itertuples())
        low, high = (max(-far, min(far, position(limit, row))) for limit in (row.band_low, row.band_high))
        ys = sorted({places[line.quantity, line.workload, line.opponent] for line in group.itertuples()})
        for (left, right), color in ((claimed(row, far), CLAIMED), ((low, high), BAND)):
            box = Rectangle((left, ys[0] - 0.5), right - left, ys[-1] - ys[0] + 1, color=color, linewidth=0, zorder=0)
            axis.add_patch(box)
    axis.axvline(0, color="#8c959f", linewidth=1, zorder=1)
    for row in rows.itertuples():
        y = places[row.quantity, row.workload, row.opponent]
        color = COLORS.get(row.verdict, COLORS["cannot tell"])
        low, high = (position(limit, row) for limit in (row.low, row.high))
        axis.plot([max(low, -far), min(high, far)], [y, y], color=color, linewidth=1.8, zorder=2)
        for beyond, x, marker in ((low < -far, -far, "<"), (high > far, far, ">")):
            if beyond:
                axis.plot([x], [y], marker, color=color, markersize=7, clip_on=False, zorder=3)
        if abs(at := position(row.estimate, row)) <= far:
            axis.plot([at], [y], **_marker(row.verdict), linestyle="none", zorder=4)
    axis.set_xlim(-1.04 * far, 1.04 * far)
    axis.grid(visible=False, axis="y")
    _ticks(axis, next(of_unit.itertuples()), far)


def _marker(verdict: str) -> dict[str, Any]:
    color = COLORS.get(verdict, COLORS["cannot tell"])
    face = "white" if verdict not in COLORS or verdict == "cannot tell" else color
    return {
        "marker": MARKERS.get(verdict, "o"),
        "markersize": 7,
        "color": color,
        "markerfacecolor": face,
        "markeredgewidth": 1.5,
    }


def _handle(verdict: str) -> Line2D:
    return Line2D([], [], linewidth=1.8, **_marker(verdict))


def _ticks(axis: Axes, row: Any, far: float) -> None:
    """Plain numbers at the middle, the ends and half way."""
    half = next((math.log(FACTORS[factor]) for factor in FACTORS if math.isclose(math.log(factor), far)), far / 2)
    half = half if row.unit == "ratio" else far / 2
    at = [-far, -half, 0.0, half, far]
    axis.xaxis.set_major_locator(FixedLocator(at))
    axis.xaxis.set_minor_locator(NullLocator())

    def text(place: float, _: object) -> str:
        value = row.center * math.exp(place) if row.unit == "ratio" else row.center + place
        return number(float(f"{value:.2g}"), row.unit != "ratio")

    axis.xaxis.set_major_formatter(FuncFormatter(text))
    axis.tick_params(axis="x", labelsize=10.5)


def curves_figure(
    evidence: Evidence, workload: str, sides: Mapping[str, Sequence[str]], target: float | None, words: Words
) -> Figure | None:
    """Draw the validation loss of the sides of a claim on one workload, a panel a setting; None where there are no curves.

    Args:
        evidence: The tables.
        workload: Its name.
        sides: The sides at each setting.
        target: Validation loss to reach; None: it is not drawn.
        words: Of a language whose letters the fonts have.
    """
    bands = {at: list(_bands(evidence, workload, names, at)) for at, names in sides.items()}
    bands = {at: found for at, found in bands.items() if found}
    if not bands:
        return None
    figure = Figure(figsize=(4.3 * len(bands) + 0.6, 3.7), layout="constrained")
    axes = figure.subplots(1, len(bands), squeeze=False, sharey=True)
    palette = colors([side.partition(" ")[0] for found in bands.values() for side, _ in found])
    handles: dict[str, Any] = {}
    for axis, (at, found) in zip(axes[0], bands.items(), strict=True):
        styles = styles_of([(side, side.partition(" ")[0]) for side, _ in found], palette)
        for side, band in found:
            color, dash = styles[side]
            axis.fill_between(band.index, band[0.25], band[0.75], color=color, alpha=0.18, linewidth=0)
            (line,) = axis.plot(band.index, band[0.5], linestyle=dash, color=color, linewidth=2)
            handles.setdefault(words.side(side), line)
        if target is not None:
            axis.axhline(target, color="black", linewidth=1, linestyle="--")
        axis.set_title(words.at(at), fontsize=12)
        axis.set_xlabel("step")
        log_scale(axis.yaxis)
    axes[0][0].set_ylabel("validation loss")
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=min(4, len(handles)), frameon=False
    )
    return figure


def _bands(evidence: Evidence, workload: str, sides: Sequence[str], at: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Quartiles over seeds of the validation loss of each side, as far as all of its runs came."""
    curves = evidence.curves
    for side in dict.fromkeys(sides):
        try:
            runs = evidence.of(workload, side, at)
        except NotMeasured:
            continue
        points = curves[
            curves["run_id"].isin(runs["run_id"]) & (curves["split"] == "val") & (curves["metric"] == "loss")
        ]
        by_step = points[points["value"] > 0].groupby("step")["value"]
        band = by_step.quantile([0.25, 0.5, 0.75]).unstack()
        if len(band):
            yield side, band[by_step.size() == by_step.size().max()]
