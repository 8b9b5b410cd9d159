"""Interactive charts of one run, or of two beside each other, in the place of the figures of `bench.plots.runs`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.colors import to_hex

from bench.analysis.comparisons import grid_of, lowest_point
from bench.base.diagnostics import DIAGNOSTIC_NAMES, DIAGNOSTICS
from bench.plots.palette import Color, LineStyle
from bench.plots.runs import Marks, course_panels, plane_axes
from bench.report.explorer import thinned
from bench.report.vega import Panel, by_name_encoding, chart, names_axis, short

MOST_POINTS = 200
"""Points of a curve above which it is thinned, as `explorer.thinned` does."""


MOST_RECORDS = 60
"""Steps of a map of layers above which some are left out, evenly."""


LEGEND = {"orient": "top", "gradientLength": 220, "titleLimit": 600, "format": ".2~g", "tickCount": 4}
"""Of shades."""


def course_chart(
    curves: pd.DataFrame,
    recorded: pd.DataFrame,
    styles: Mapping[str, tuple[Color, LineStyle]],
    marks: Marks,
    caption: str,
) -> Markup:
    """Return losses, accuracy and diagnostics of the whole model against step; arguments as of `plots.runs.course_figure`, and what stands below."""
    rows: list[dict[str, Any]] = []
    panels: list[Panel] = []
    by_name = by_name_encoding(styles)
    shown = course_panels(curves, recorded)
    last = max((points["step"].max() for _, points, _ in shown), default=0)
    for number, (title, points, may_log) in enumerate(shown):
        for name in styles:
            own = points[points["series"] == name].sort_values("step")
            kept = own.iloc[thinned(own["value"].to_numpy(float), MOST_POINTS)] if len(own) else own
            rows += [
                {"panel": title, "name": name, "step": row.step, "value": row.value,
                 "told": {"run": name, "step": str(row.step), title: short(row.value)}}
                for row in kept.itertuples()
            ]  # fmt: skip
        is_last = number == len(shown) - 1
        x: dict[str, Any] = {"field": "step", "type": "quantitative", "title": "step" if is_last else None, "scale": {"domain": [0, last], "nice": False},
             "axis": {"labels": is_last, "ticks": is_last}}  # fmt: skip
        ends = points["value"].replace([np.inf, -np.inf], np.nan).agg(["min", "max"])
        kind = {"type": "log"} if may_log and ends["min"] > 0 else {"type": "linear", "zero": False}
        scale = {**kind, "nice": False, "padding": 5}
        y = {
            "field": "value",
            "type": "quantitative",
            "title": None,
            "scale": scale,
            "axis": {"values": ends.tolist(), "format": ".4~g"},
        }
        marked = {"transform": [{"filter": "isValid(datum.mark)"}]}
        panel = [
            {"transform": [{"filter": {"field": "panel", "equal": title}}], "mark": {"type": "line", "point": {"size": 18}, "tooltip": {"content": "data"}},
             "encoding": {"x": x, "y": y, **by_name}},
            {**marked, "mark": {"type": "rule", "strokeDash": [2, 3]}, "encoding": {"x": x, "color": by_name["color"]}},
        ]  # fmt: skip
        if number == 0:
            panel.append({**marked, "mark": {"type": "text", "dy": -6, "fontSize": 12, "tooltip": {"content": "data"}},
                          "encoding": {"x": x, "y": {"value": 0}, "text": {"field": "mark"}, "color": by_name["color"]}})  # fmt: skip
        panels.append((title, panel))
    rows += [
        {"name": name, "step": step, "mark": text, "told": {"run": name, "since step": str(step), "finding": text}}
        for name, step, text in marks
    ]
    return chart(rows, panels=panels, height=74, caption=caption, legend=by_name)


def slices_chart(table: pd.DataFrame, styles: Mapping[str, tuple[Color, LineStyle]], caption: str) -> Markup:
    """Return the loss along the last recorded update and along a random direction; arguments as of `plots.runs.slices_figure`, and what stands below."""
    titles = {"update": "along the last recorded update (0 before, 1 after it)", "random": "along a random direction (in lengths of the filters)"}  # fmt: skip
    known = table[table["kind"].isin(titles)]
    by_name = by_name_encoding(styles)
    rows = [
        {"kind": row.kind, "name": row.series, "x": row.x, "value": row.value,
         "told": {"run": row.series, "distance": short(row.x), "loss": short(row.value)}}
        for row in known.itertuples()
    ]  # fmt: skip
    panels: list[Panel] = [
        (None, [{"transform": [{"filter": {"field": "kind", "equal": kind}}],
          "mark": {"type": "line", "point": {"size": 30}, "tooltip": {"content": "data"}},
          "encoding": {"x": {"field": "x", "type": "quantitative", "title": title},
                       "y": {"field": "value", "type": "quantitative", "title": "loss", "scale": {"zero": False}}, **by_name}}])
        for kind, title in titles.items()
        if (known["kind"] == kind).any()
    ]  # fmt: skip
    return chart(rows, panels=panels, height=200, caption=caption, legend=by_name)


def planes_chart(table: pd.DataFrame, kind: str, styles: Mapping[str, tuple[Color, LineStyle]], caption: str) -> Markup:
    """Return the loss over a plane through the weights at the end, a panel a run; arguments as of `plots.runs.planes_figure`.

    Args:
        table: Rows of the side table `landscapes`, with `series`.
        kind: plane, or path_plane: with the path of the weights.
        styles: Of each series.
        caption: What stands below it.
    """
    rows: list[dict[str, Any]] = []
    panels: list[Panel] = []
    for name, (colour, _) in styles.items():
        own = table[table["series"] == name]
        grid = grid_of(own[own["kind"] == kind])
        if grid is None:
            continue
        rows += _cells(grid, name)
        path = own[own["kind"] == "path"].sort_values("step") if kind == "path_plane" else own.head(0)
        rows += [{"name": name, "of": "path", "x": row.x, "y": row.y, "step": row.step} for row in path.itertuples()]
        rows.append({"name": name, "of": "end", "x": 0, "y": 0})
        edges = {"x": _edges(grid.columns.to_numpy(float)), "y": _edges(grid.index.to_numpy(float))}
        x, y = (
            {
                "field": side,
                "type": "quantitative",
                "title": title,
                "scale": {"domain": [edges[side][0], edges[side][-1]], "nice": False},
            }
            for side, title in zip("xy", plane_axes(table, kind, name), strict=True)
        )
        above = {"field": "above", "type": "quantitative", "title": f"{name}: loss minus the lowest",
                 "scale": {"type": "log", "scheme": "greys"}, "legend": LEGEND}  # fmt: skip
        panels.append(
            (None, [
                {**_of(name, "cell"), "mark": "rect",
                 "encoding": {"x": x, "x2": {"field": "x2"}, "y": y, "y2": {"field": "y2"}, "color": above, "tooltip": _told(["loss"])}},
                {**_of(name, "path"), "mark": {"type": "line", "point": {"size": 40, "color": to_hex(colour)}, "color": to_hex(colour), "clip": True},
                 "encoding": {"x": x, "y": y, "order": {"field": "step"}, "tooltip": _told(["step"])}},
                {**_of(name, "end"), "mark": {"type": "point", "filled": True, "shape": "square", "size": 90, "opacity": 1, "color": to_hex(colour)},
                 "encoding": {"x": x, "y": y}},
            ])
        )  # fmt: skip
    return chart(rows, panels=panels, height=340, caption=caption, one_scale=False)


def layers_chart(recorded: pd.DataFrame, names: Sequence[str]) -> Markup:
    """Return a map of layers and steps, of the diagnostic that the reader chooses.

    Args:
        recorded: Rows of the side table `diagnostics`, with `series`.
        names: The series, a panel each.
    """
    own = recorded[recorded["layer"].fillna("") != ""]
    if own.empty:
        return Markup("")
    steps = np.unique(own["step"])
    kept = steps[np.unique(np.linspace(0, len(steps) - 1, min(len(steps), MOST_RECORDS)).round().astype(int))]
    layers = list(dict.fromkeys(own["layer"]))
    wide = own[own["step"].isin(kept)].pivot_table(index=["series", "layer", "step"], columns="name", values="value")
    shown = [name for name in DIAGNOSTIC_NAMES if name in wide]
    formulas = {each.name: f"{each.name.replace('_', ' ')}, {each.formula}" for each in DIAGNOSTICS}
    rows: list[dict[str, Any]] = [
        {"name": series, "layer": layer, "step": step, **dict(zip(shown, values, strict=True))}
        for (series, layer, step), values in zip(wide.index, wide[shown].to_numpy(float), strict=True)
    ]
    x: dict[str, Any] = {"field": "step", "type": "ordinal", "axis": {"labelOverlap": True, "labelAngle": 0}}
    panels: list[Panel] = [
        (None, [{"transform": [{"filter": {"field": "name", "equal": name}}], "mark": "rect",
          "encoding": {"x": {**x, "title": f"step of {name}"}, "y": names_axis("layer", layers),
                       "color": {"field": shown[0], "type": "quantitative", "legend": LEGEND}, "tooltip": _told(["layer", "step", *shown])}}])
        for name in names
        if (own["series"] == name).any()
    ]  # fmt: skip
    return chart(
        rows,
        panels=panels,
        height=24 * len(layers),
        caption="Each layer against step: choose the quantity; point at a field for all its numbers.",
        choices={"color": shown[0], "of": {name: formulas[name] for name in shown}},
    )


def _of(name: str, part: str) -> dict[str, Any]:
    """Return the filter of the rows of a series that are a part of the chart."""
    return {"transform": [{"filter": {"and": [{"field": "name", "equal": name}, {"field": "of", "equal": part}]}}]}


def _told(fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is told of the row that the reader points at."""
    return [{"field": field, "title": field.replace("_", " ")} for field in fields]


def _cells(grid: pd.DataFrame, name: str) -> Iterator[dict[str, Any]]:
    """Yield the fields of a map with their edges, and how far each lies above the lowest: at least the smallest such distance."""
    lowest = lowest_point(grid)[2]
    above = grid.to_numpy(float) - lowest
    least = above[above > 0].min() if (above > 0).any() else 1.0
    x, y = _edges(grid.columns.to_numpy(float)), _edges(grid.index.to_numpy(float))
    for (row, column), value in np.ndenumerate(above):
        if np.isfinite(value):
            yield {"name": name, "of": "cell", "x": x[column], "x2": x[column + 1], "y": y[row], "y2": y[row + 1],
                   "above": max(value, least), "loss": short(value + lowest)}  # fmt: skip


def _edges(centres: np.ndarray) -> np.ndarray:
    """Return the edges of fields around these places."""
    between = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - between[0]], between, [2 * centres[-1] - between[-1]]])
