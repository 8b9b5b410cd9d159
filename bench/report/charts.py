"""Interactive charts in the place of figures: Vega-Lite specifications, which `templates/explorer.js` draws.

A chart is made from the same table as its figure. Rows that belong to an optimizer name it, so that it can be switched off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.colors import to_hex

from bench.analysis.memory import MEMORY_PARTS, memory_unit
from bench.analysis.study_diff import QUANTITIES
from bench.plots.costs import PART_SHADES
from bench.plots.palette import Color, styles_of
from bench.report.explorer import script_json, vega_dash

ROW = 34
"""Pixels of a row of a chart with one row a setting."""


IMPLEMENTATIONS = {"forloop": "circle", "foreach": "square", "fused": "diamond", "compiled": "triangle-up",
                   "reference": "triangle-down", "own": "cross"}  # fmt: skip
"""Marks of the implementations of a step."""


def sensitivity_chart(table: pd.DataFrame, basins: pd.DataFrame, label: str, palette: dict[str, Color]) -> Markup:
    """Return the loss against the learning rate; arguments as of `plots.tuning.sensitivity_figure`."""
    if table.empty:
        return Markup("")
    ends = {row.setting: (row.low_lr, row.high_lr) for row in basins.itertuples()}
    rows = [
        {
            "optimizer": row.optimizer, "name": row.setting, "lr": row.lr, "value": row.value, "low": row.low, "high": row.high,
            "basin": bool(ends.get(row.setting, (1, 0))[0] <= row.lr <= ends.get(row.setting, (1, 0))[1]),
            "told": {"setting": row.setting, "learning rate": _short(row.lr), label: _short(row.value),
                     "range over seeds": f"{_short(row.low)} to {_short(row.high)}"},
        }
        for row in table.itertuples()
    ]  # fmt: skip
    settings = table[["setting", "optimizer"]].drop_duplicates()
    by_name = _by_name(styles_of(settings.itertuples(index=False, name=None), palette))
    x = {
        "field": "lr",
        "type": "quantitative",
        "title": "learning rate",
        "scale": {"type": "log", "nice": False},
        "axis": {"tickCount": 8},
    }
    y = _y("value", label, [row["value"] for row in rows])
    ok = {"filter": "isValid(datum.value)"}
    return _chart(
        rows,
        {"transform": [ok], "mark": {"type": "area", "opacity": 0.14},
         "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": by_name["color"]}},
        {"transform": [ok], "mark": {"type": "line"}, "encoding": {"x": x, "y": y, **by_name}},
        {"transform": [ok], "mark": {"type": "point", "filled": True, "tooltip": {"content": "data"}, "opacity": 1},
         "encoding": {"x": x, "y": y, "color": by_name["color"],
                      "size": {"condition": {"test": "datum.basin", "value": 110}, "value": 25}}},
        {"transform": [{"filter": "!isValid(datum.value)"}], "mark": {"type": "text", "text": "×", "fontSize": 18},
         "encoding": {"x": x, "y": {"value": 8}, "color": by_name["color"]}},
        caption=f"{label[0].upper()}{label[1:]} against learning rate: median and range over seeds. Large dots: in the basin, where it is at most 1.1"
        " times the lowest. Cross: a run did not end ok.",
        legend=by_name,
    )  # fmt: skip


def curves_chart(curves: pd.DataFrame, label: str, palette: dict[str, Color]) -> Markup:
    """Return the loss of the best of k trials against k; arguments as of `plots.tuning.budget_figure`."""
    if curves.empty or curves["k"].max() < 2 or curves["expected"].isna().all():
        return Markup("")
    known = curves[curves["expected"].notna()]
    rows = [
        {
            "optimizer": row.optimizer, "name": row.optimizer, "k": row.k, "value": row.expected, "low": row.low, "high": row.high,
            "told": {"optimizer": row.optimizer, "trials": str(row.k), label: _short(row.expected),
                     "middle 95 %": f"{_short(row.low)} to {_short(row.high)}"},
        }
        for row in known.itertuples()
    ]  # fmt: skip
    names = list(dict.fromkeys(known["optimizer"].astype(str)))
    by_name = _by_name({name: (palette[name], "-") for name in names})
    x = {
        "field": "k",
        "type": "quantitative",
        "title": "trials (k)",
        "axis": {"tickMinStep": 1},
        "scale": {"nice": False, "zero": False},
    }
    y = _y("value", label, [row["value"] for row in rows])
    return _chart(
        rows,
        {"mark": {"type": "area", "opacity": 0.12},
         "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}, "color": by_name["color"]}},
        {"mark": {"type": "line", "point": {"filled": True, "size": 45}, "tooltip": {"content": "data"}},
         "encoding": {"x": x, "y": y, **by_name}},
        caption=f"{label[0].upper()}{label[1:]}: expected value and middle 95 % over all choices of k trials (Dodge et al. 2019).",
        legend=by_name,
    )  # fmt: skip


def defaults_chart(table: pd.DataFrame, palette: dict[str, Color]) -> Markup:
    """Return the loss at default and at tuned settings; arguments as of `plots.tuning.defaults_figure`."""
    known = table.dropna(subset=["default", "tuned"], how="all") if len(table) else table
    if known.empty:
        return Markup("")
    rows = [
        {"optimizer": row.optimizer, "name": row.optimizer, "default": row.default, "tuned": row.tuned, "at": at, "value": value,
         "told": {"optimizer": row.optimizer, at: _short(value), "tuned / default": _short(row.ratio),
                  "95% interval": f"{_short(row.ratio_low)} to {_short(row.ratio_high)}"}}
        for row in known.itertuples()
        for at, value in (("default", row.default), ("tuned", row.tuned))
    ]  # fmt: skip
    by_name = _by_name({str(name): (palette[str(name)], "-") for name in known["optimizer"]})
    y = _names("name", list(known["optimizer"]))
    x = _y("value", "final val loss, mean over seeds", [row["value"] for row in rows])
    return _chart(
        rows,
        {"transform": [{"filter": "datum.at == 'tuned'"}], "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"x": {**x, "field": "default"}, "x2": {"field": "tuned"}, "y": y, "color": by_name["color"]}},
        {"mark": {"type": "point", "size": 110, "strokeWidth": 2, "opacity": 1, "tooltip": {"content": "data"}},
         "encoding": {"x": x, "y": y, "stroke": by_name["color"],
                      "fill": {"condition": {"test": "datum.at == 'tuned'", **by_name["color"]}, "value": "#fff"}}},
        height=ROW * len(known) + 20,
        caption="Mean final validation loss at default settings (open) and tuned (filled).",
    )  # fmt: skip


def pareto_chart(
    points: pd.DataFrame, axes: Mapping[str, str], palette: dict[str, Color], first: tuple[str, str]
) -> Markup:
    """Return what is gained against what it costs, with a choice of both axes.

    Args:
        points: A row a series: series, optimizer, and a column for each axis.
        axes: What each column holds, with its unit.
        palette: A colour for each optimizer.
        first: The columns that are shown first.
    """
    known = {column: words for column, words in axes.items() if points[column].notna().sum() > 1}
    if len(known) < 2 or points[list(known)].notna().all(axis=1).sum() < 2:
        return Markup("")
    rows = [
        {"optimizer": row["optimizer"], "name": row["series"], **{column: _number(row[column]) for column in known},
         "told": {"setting": row["series"], **{words: _short(row[column]) for column, words in known.items()}}}
        for _, row in points.iterrows()
    ]  # fmt: skip
    names = {str(row["series"]): (palette[str(row["optimizer"])], "-") for _, row in points.iterrows()}
    by_name = _by_name(names)
    shown = [column if column in known else next(iter(known)) for column in first]
    x, y = (_y(column, known[column], points[column]) for column in shown)
    marks: dict[str, Any] = {"x": x, "y": y, "color": by_name["color"]}
    return _chart(
        rows,
        {"mark": {"type": "point", "filled": True, "size": 130, "opacity": 1, "tooltip": {"content": "data"}}, "encoding": marks},
        {"mark": {"type": "text", "dy": -13, "fontSize": 12}, "encoding": {**marks, "text": {"field": "name"}}},
        caption="What is gained against what it costs, a dot for each optimizer at its best setting: choose both axes.",
        choices={"x": shown[0], "y": shown[1], "axes": known},
    )  # fmt: skip


def targets_chart(runs: pd.DataFrame, order: Sequence[str], palette: dict[str, Color]) -> Markup:
    """Return the steps of each run to the target, and of those that did not reach it the steps that they made.

    Args:
        runs: What `targets.steps_to_target` gave, with `series`, `optimizer` and `seed`.
        order: The series, from top to bottom.
        palette: A colour for each optimizer.
    """
    rows = [
        {"optimizer": row.optimizer, "name": row.series, "steps": _number(row.crossed_at if row.reached else row.censored_at),
         "reached": "reached" if row.reached else "not reached",
         "told": {"setting": row.series, "seed": str(row.seed),
                  "steps": f"{row.crossed_at:,.0f}" if row.reached else f"not reached in {row.censored_at:,.0f}"}}
        for row in runs.itertuples()
    ]  # fmt: skip
    rows = [row for row in rows if row["steps"] is not None]
    if not rows:
        return Markup("")
    optimizers = dict(zip(runs["series"].astype(str), runs["optimizer"].astype(str), strict=True))
    by_name = _by_name({name: (palette[optimizers[name]], "-") for name in order if name in optimizers})
    y = _names("name", [name for name in order if name in optimizers])
    x = _y("steps", "steps to the target", [row["steps"] for row in rows])
    marks = {"x": x, "y": y, "color": by_name["color"]}
    shape = _shapes("reached", {"reached": "circle", "not reached": "triangle-right"})
    return _chart(
        rows,
        {"mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.65, "tooltip": {"content": "data"}},
         "encoding": {**marks, "shape": shape}},
        {"transform": [{"filter": "datum.reached == 'reached'"}], "mark": {"type": "tick", "thickness": 3, "size": 20},
         "encoding": {**marks, "x": {**x, "aggregate": "median"}}},
        height=ROW * len(by_name["color"]["scale"]["domain"]) + 20,
        caption="Steps to the target, a dot for each run; bar: median of the runs that reached it.",
    )  # fmt: skip


def memory_chart(memory: pd.DataFrame, optimizers: Mapping[str, str]) -> Markup:
    """Return peak memory by what it holds.

    Args:
        memory: As of `plots.costs.memory_figure`.
        optimizers: Of each series.
    """
    scale, unit = memory_unit(memory)
    rows = [
        {"optimizer": optimizers.get(row["series"], ""), "name": row["series"], "part": part.replace("_", " "), "order": i,
         "value": scale * row[f"{part}_mib"],
         "told": {"setting": row["series"], part.replace("_", " "): f"{_short(scale * row[f'{part}_mib'])} {unit}",
                  "together": f"{_short(scale * row['peak_mib'])} {unit}"}}
        for _, row in memory.iterrows()
        for i, part in enumerate(MEMORY_PARTS)
        if row[f"{part}_mib"] > 0
    ]  # fmt: skip
    return _stacked(
        rows,
        list(memory["series"].astype(str)),
        f"peak memory ({unit})",
        "Peak memory in tensors, by what they hold at that moment.",
    )


def phases_chart(table: pd.DataFrame, names: Sequence[str], parts: Sequence[tuple[str, str]], label: str) -> Markup:
    """Return sums of parts, a bar each; arguments as of `plots.costs.stacked_figure`, with a column `optimizer`."""
    rows = [
        {"optimizer": row["optimizer"], "name": name, "part": words, "order": i, "value": _number(row[column]),
         "told": {"step": name, words: f"{_short(row[column])} µs"}}
        for name, (_, row) in zip(names, table.iterrows(), strict=True)
        for i, (column, words) in enumerate(parts)
        if row[column] > 0
    ]  # fmt: skip
    return _stacked(rows, list(names), label, "A whole training step by its phases: medians.")


def step_cost_chart(costs: pd.DataFrame, palette: dict[str, Color]) -> Markup:
    """Return what a step costs; arguments as of `plots.costs.step_cost_figure`."""
    ok = costs[costs["status"] == "ok"].sort_values("step_us")
    if ok.empty:
        return Markup("")
    rows = [
        {"optimizer": row.optimizer, "name": row.optimizer, "implementation": row.implementation, "value": row.step_us,
         "low": row.step_us_q1, "high": row.step_us_q3,
         "told": {"optimizer": row.optimizer, "implementation": row.implementation, "one step": f"{_short(row.step_us)} µs",
                  "quartiles": f"{_short(row.step_us_q1)} to {_short(row.step_us_q3)} µs",
                  f"relative to {str(row.baseline).replace('/', ' ')}": _short(row.ratio)}}
        for row in ok.itertuples()
    ]  # fmt: skip
    names = list(dict.fromkeys(ok["optimizer"].astype(str)))
    by_name = _by_name({name: (palette[name], "-") for name in names})
    kinds = [name for name in IMPLEMENTATIONS if (ok["implementation"] == name).any()]
    offset = {"field": "implementation", "scale": {"domain": kinds}}
    x = _y("value", "one optimizer step (µs)", [row["value"] for row in rows])
    marks = {"x": x, "y": _names("name", names), "yOffset": offset, "color": by_name["color"]}
    shape = _shapes("implementation", {kind: IMPLEMENTATIONS[kind] for kind in kinds})
    return _chart(
        rows,
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {**marks, "x": {**x, "field": "low"}, "x2": {"field": "high"}}},
        {"mark": {"type": "point", "filled": True, "size": 70, "opacity": 1, "tooltip": {"content": "data"}},
         "encoding": {**marks, "shape": shape}},
        caption="One optimizer step: median and quartiles over builds, a mark for each implementation.",
        height=(12 * len(kinds) + 14) * len(names) + 20,
    )  # fmt: skip


def differences_chart(table: pd.DataFrame, tolerance: float, palette: dict[str, Color]) -> Markup:
    """Return the ratio of each quantity; arguments as of `plots.study_diff.differences_figure`."""
    known = table[table["ratio"].notna()]
    if known.empty:
        return Markup("")
    rows = [
        {"optimizer": row.optimizer, "name": row.series, "quantity": QUANTITIES[row.quantity], "ratio": row.ratio,
         "low": row.ratio_low, "high": row.ratio_high, "least": 1 / (1 + tolerance), "most": 1 + tolerance,
         "told": {"setting": row.series, f"{QUANTITIES[row.quantity]}, B / A": _short(row.ratio), "verdict": row.verdict,
                  "95% interval": f"{_short(row.ratio_low)} to {_short(row.ratio_high)}", "pairs": str(row.num_pairs)}}
        for row in known.itertuples()
    ]  # fmt: skip
    names = dict(zip(known["series"].astype(str), known["optimizer"], strict=True))
    by_name = _by_name({name: (palette[optimizer], "-") for name, optimizer in names.items()})
    kinds = [QUANTITIES[name] for name in QUANTITIES if (known["quantity"] == name).any()]
    x = _y("ratio", "B relative to A", [row["ratio"] for row in rows])
    y = _names("name", list(names))
    marks = {"x": x, "y": y, "yOffset": {"field": "quantity", "scale": {"domain": kinds}}, "color": by_name["color"]}
    shape = _shapes("quantity", dict(zip(kinds, ["circle", "square", "diamond"][: len(kinds)], strict=False)))
    return _chart(
        rows,
        {"mark": {"type": "rect", "opacity": 0.08, "color": "gray"},
         "encoding": {"x": {**x, "field": "least", "aggregate": "min"}, "x2": {"field": "most", "aggregate": "max"}}},
        {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {**marks, "x": {**x, "field": "low"}, "x2": {"field": "high"}}},
        {"mark": {"type": "point", "filled": True, "size": 80, "opacity": 1, "tooltip": {"content": "data"}},
         "encoding": {**marks, "shape": shape}},
        height=(14 * len(kinds) + 14) * len(names) + 20,
        caption=f"Quantities of B relative to A with 95% intervals; the band is the tolerance of {100 * tolerance:.3g} %.",
    )  # fmt: skip


def _stacked(rows: list[dict[str, Any]], names: list[str], label: str, caption: str) -> Markup:
    parts = list(dict.fromkeys(row["part"] for row in sorted(rows, key=lambda row: int(row["order"]))))
    colour = {
        "field": "part",
        "title": None,
        "legend": {"orient": "top"},
        "scale": {"domain": parts, "range": [to_hex(shade) for shade in PART_SHADES[: len(parts)]]},
    }
    return _chart(
        rows,
        {"mark": {"type": "bar", "tooltip": {"content": "data"}},
         "encoding": {"y": _names("name", names), "x": {"field": "value", "type": "quantitative", "title": label, "stack": "zero"},
                      "color": colour, "order": {"field": "order"}}},
        height=ROW * len(names) + 20,
        caption=caption,
    )  # fmt: skip


def _chart(
    rows: Sequence[Mapping[str, Any]],
    *layers: Mapping[str, Any],
    height: int = 320,
    caption: str,
    legend: Mapping[str, Any] | None = None,
    choices: Mapping[str, Any] | None = None,
) -> Markup:
    """Return the JSON of a chart: what is drawn, its height in pixels, and what stands below it."""
    if not rows:
        return Markup("")
    listed = [] if legend is None else list(zip(*legend["color"]["scale"].values(), strict=True))
    return script_json(
        _finite(
            {
                "rows": list(rows),
                "layer": list(layers),
                "height": height,
                "caption": caption,
                "legend": listed,
                "choices": choices,
            }
        )
    )


def _finite(value: Any) -> Any:
    """Return a value for JSON: numbers of Python's own, None for those that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, str | bool) or value is None:
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    return _number(value)


def _number(value: Any) -> float | int | None:
    """Return a number to five digits; None where it is missing or not finite."""
    if pd.isna(value) or not np.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(f"{value:.5g}")


def _short(value: Any) -> str:
    return "—" if pd.isna(value) else f"{value:.4g}"


def _by_name(styles: Mapping[str, tuple[Color, Any]]) -> dict[str, Any]:
    """Return the encodings of colour and dash by the field `name`."""
    domain = list(styles)
    return {
        "color": {"field": "name", "type": "nominal", "legend": None,
                  "scale": {"domain": domain, "range": [to_hex(styles[name][0]) for name in domain]}},
        "strokeDash": {"field": "name", "type": "nominal", "legend": None,
                       "scale": {"domain": domain, "range": [vega_dash(styles[name][1]) for name in domain]}},
    }  # fmt: skip


def _shapes(field: str, shapes: Mapping[str, str]) -> dict[str, Any]:
    """Return the encoding of a field by shapes, with a legend above the chart."""
    legend = {"orient": "top", "symbolFillColor": "gray", "symbolStrokeColor": "gray"}
    return {
        "field": field,
        "title": None,
        "legend": legend,
        "scale": {"domain": list(shapes), "range": list(shapes.values())},
    }


def _y(field: str, title: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return the encoding of a number, logarithmic where all are positive."""
    known = [value for value in values if not pd.isna(value)]
    is_log = bool(known) and min(known) > 0
    scale = {"type": "log", "nice": False} if is_log else {"zero": False, "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": {**scale, "padding": 12}}


def _names(field: str, order: Sequence[Any]) -> dict[str, Any]:
    return {"field": field, "type": "nominal", "title": None, "sort": [str(name) for name in order]}
