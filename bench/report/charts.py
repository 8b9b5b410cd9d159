"""Interactive charts in the place of figures: Vega-Lite specifications, which `templates/explorer.js` draws.

A chart is made from the same table as its figure. Rows that belong to an optimizer name it, so that it can be switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.colors import to_hex

from bench.analysis.memory import MEMORY_PARTS, memory_unit
from bench.analysis.study_diff import QUANTITIES
from bench.plots.costs import PART_SHADES
from bench.plots.palette import Color, styles_of
from bench.report.vega import axis, by_name_encoding, chart, names_axis, number, shapes, short

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
            "told": {"setting": row.setting, "learning rate": short(row.lr), label: short(row.value),
                     "range over seeds": f"{short(row.low)} to {short(row.high)}"},
        }
        for row in table.itertuples()
    ]  # fmt: skip
    settings = table[["setting", "optimizer"]].drop_duplicates()
    by_name = by_name_encoding(styles_of(settings.itertuples(index=False, name=None), palette))
    x = {
        "field": "lr",
        "type": "quantitative",
        "title": "learning rate",
        "scale": {"type": "log", "nice": False},
        "axis": {"tickCount": 8},
    }
    y = axis("value", label, [row["value"] for row in rows])
    ok = {"filter": "isValid(datum.value)"}
    return chart(
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
            "told": {"optimizer": row.optimizer, "trials": str(row.k), label: short(row.expected),
                     "middle 95 %": f"{short(row.low)} to {short(row.high)}"},
        }
        for row in known.itertuples()
    ]  # fmt: skip
    names = list(dict.fromkeys(known["optimizer"].astype(str)))
    by_name = by_name_encoding({name: (palette[name], "-") for name in names})
    x = {
        "field": "k",
        "type": "quantitative",
        "title": "trials (k)",
        "axis": {"tickMinStep": 1},
        "scale": {"nice": False, "zero": False},
    }
    y = axis("value", label, [row["value"] for row in rows])
    return chart(
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
         "told": {"optimizer": row.optimizer, at: short(value), "tuned / default": short(row.ratio),
                  "95% interval": f"{short(row.ratio_low)} to {short(row.ratio_high)}"}}
        for row in known.itertuples()
        for at, value in (("default", row.default), ("tuned", row.tuned))
    ]  # fmt: skip
    by_name = by_name_encoding({str(name): (palette[str(name)], "-") for name in known["optimizer"]})
    y = names_axis("name", list(known["optimizer"]))
    x = axis("value", "final val loss, mean over seeds", [row["value"] for row in rows])
    return chart(
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
        {"optimizer": row["optimizer"], "name": row["series"], **{column: number(row[column]) for column in known},
         "told": {"setting": row["series"], **{words: short(row[column]) for column, words in known.items()}}}
        for _, row in points.iterrows()
    ]  # fmt: skip
    names = {str(row["series"]): (palette[str(row["optimizer"])], "-") for _, row in points.iterrows()}
    by_name = by_name_encoding(names)
    shown = [column if column in known else next(iter(known)) for column in first]
    x, y = (axis(column, known[column], points[column]) for column in shown)
    marks: dict[str, Any] = {"x": x, "y": y, "color": by_name["color"]}
    return chart(
        rows,
        {"mark": {"type": "point", "filled": True, "size": 130, "opacity": 1, "tooltip": {"content": "data"}}, "encoding": marks},
        {"mark": {"type": "text", "dy": -13, "fontSize": 12}, "encoding": {**marks, "text": {"field": "name"}}},
        caption="What is gained against what it costs, a dot for each optimizer at its best setting: choose both axes.",
        choices={"x": shown[0], "y": shown[1], "of": known},
    )  # fmt: skip


def targets_chart(runs: pd.DataFrame, order: Sequence[str], palette: dict[str, Color]) -> Markup:
    """Return the steps of each run to the target, and of those that did not reach it the steps that they made.

    Args:
        runs: What `targets.steps_to_target` gave, with `series`, `optimizer` and `seed`.
        order: The series, from top to bottom.
        palette: A colour for each optimizer.
    """
    rows = [
        {"optimizer": row.optimizer, "name": row.series, "steps": number(row.crossed_at if row.reached else row.censored_at),
         "reached": "reached" if row.reached else "not reached",
         "told": {"setting": row.series, "seed": str(row.seed),
                  "steps": f"{row.crossed_at:,.0f}" if row.reached else f"not reached in {row.censored_at:,.0f}"}}
        for row in runs.itertuples()
    ]  # fmt: skip
    rows = [row for row in rows if row["steps"] is not None]
    if not rows:
        return Markup("")
    optimizers = dict(zip(runs["series"].astype(str), runs["optimizer"].astype(str), strict=True))
    by_name = by_name_encoding({name: (palette[optimizers[name]], "-") for name in order if name in optimizers})
    y = names_axis("name", [name for name in order if name in optimizers])
    x = axis("steps", "steps to the target", [row["steps"] for row in rows])
    marks = {"x": x, "y": y, "color": by_name["color"]}
    shape = shapes("reached", {"reached": "circle", "not reached": "triangle-right"})
    return chart(
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
         "told": {"setting": row["series"], part.replace("_", " "): f"{short(scale * row[f'{part}_mib'])} {unit}",
                  "together": f"{short(scale * row['peak_mib'])} {unit}"}}
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
        {"optimizer": row["optimizer"], "name": name, "part": words, "order": i, "value": number(row[column]),
         "told": {"step": name, words: f"{short(row[column])} µs"}}
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
         "told": {"optimizer": row.optimizer, "implementation": row.implementation, "one step": f"{short(row.step_us)} µs",
                  "quartiles": f"{short(row.step_us_q1)} to {short(row.step_us_q3)} µs",
                  f"relative to {str(row.baseline).replace('/', ' ')}": short(row.ratio)}}
        for row in ok.itertuples()
    ]  # fmt: skip
    names = list(dict.fromkeys(ok["optimizer"].astype(str)))
    by_name = by_name_encoding({name: (palette[name], "-") for name in names})
    kinds = [name for name in IMPLEMENTATIONS if (ok["implementation"] == name).any()]
    offset = {"field": "implementation", "scale": {"domain": kinds}}
    x = axis("value", "one optimizer step (µs)", [row["value"] for row in rows])
    marks = {"x": x, "y": names_axis("name", names), "yOffset": offset, "color": by_name["color"]}
    shape = shapes("implementation", {kind: IMPLEMENTATIONS[kind] for kind in kinds})
    return chart(
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
         "told": {"setting": row.series, f"{QUANTITIES[row.quantity]}, B / A": short(row.ratio), "verdict": row.verdict,
                  "95% interval": f"{short(row.ratio_low)} to {short(row.ratio_high)}", "pairs": str(row.num_pairs)}}
        for row in known.itertuples()
    ]  # fmt: skip
    names = dict(zip(known["series"].astype(str), known["optimizer"], strict=True))
    by_name = by_name_encoding({name: (palette[optimizer], "-") for name, optimizer in names.items()})
    kinds = [QUANTITIES[name] for name in QUANTITIES if (known["quantity"] == name).any()]
    x = axis("ratio", "B relative to A", [row["ratio"] for row in rows])
    y = names_axis("name", list(names))
    marks = {"x": x, "y": y, "yOffset": {"field": "quantity", "scale": {"domain": kinds}}, "color": by_name["color"]}
    shape = shapes("quantity", dict(zip(kinds, ["circle", "square", "diamond"][: len(kinds)], strict=False)))
    return chart(
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
    return chart(
        rows,
        {"mark": {"type": "bar", "tooltip": {"content": "data"}},
         "encoding": {"y": names_axis("name", names), "x": {"field": "value", "type": "quantitative", "title": label, "stack": "zero"},
                      "color": colour, "order": {"field": "order"}}},
        height=ROW * len(names) + 20,
        caption=caption,
    )  # fmt: skip
