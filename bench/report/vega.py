"""Vega-Lite specifications in the place of figures, as JSON that `templates/explorer.js` draws, and the encodings they share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.colors import to_hex

from bench.plots.palette import Color
from bench.report.explorer import script_json, vega_dash

Panel = tuple[str | None, Sequence[Mapping[str, Any]]]
"""Title, and layers."""


def chart(
    rows: Sequence[Mapping[str, Any]],
    *layers: Mapping[str, Any],
    height: int = 320,
    caption: str,
    legend: Mapping[str, Any] | None = None,
    choices: Mapping[str, Any] | None = None,
    panels: Sequence[Panel] = (),
    one_scale: bool = True,
) -> Markup:
    """Return the JSON of a chart: what is drawn, and what stands around it; empty where there are no rows.

    Args:
        rows: What is drawn.
        layers: Of a chart that is one panel.
        height: Of a panel, in pixels.
        caption: Stands below it.
        legend: What `by_name_encoding` gave, where the names stand below the chart.
        choices: Encodings that the reader chooses, each with the field that is shown first; and under "of" their words by field.
        panels: From top to bottom, in place of `layers`: each a title, or none, and its layers.
        one_scale: Whether panels have one scale of shades.
    """
    if not rows:
        return Markup("")
    listed = [] if legend is None else list(zip(*legend["color"]["scale"].values(), strict=True))
    data = {"rows": rows, "layer": layers, "height": height, "caption": caption, "legend": listed, "choices": choices}
    return script_json(_finite(data | {"panels": panels, "one_scale": one_scale}))


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
    return number(value)


def number(value: Any) -> float | int | None:
    """Return a number to five digits; None where it is missing or not finite."""
    if pd.isna(value) or not np.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(f"{value:.5g}")


def short(value: Any) -> str:
    """Return a number to four digits as text."""
    return "—" if pd.isna(value) else f"{value:.4g}"


def by_name_encoding(styles: Mapping[str, tuple[Color, Any]]) -> dict[str, Any]:
    """Return the encodings of colour and dash by the field `name`."""
    domain = list(styles)
    return {
        "color": {"field": "name", "type": "nominal", "legend": None,
                  "scale": {"domain": domain, "range": [to_hex(styles[name][0]) for name in domain]}},
        "strokeDash": {"field": "name", "type": "nominal", "legend": None,
                       "scale": {"domain": domain, "range": [vega_dash(styles[name][1]) for name in domain]}},
    }  # fmt: skip


def shapes(field: str, shapes: Mapping[str, str]) -> dict[str, Any]:
    """Return the encoding of a field by shapes, with a legend above the chart."""
    legend = {"orient": "top", "symbolFillColor": "gray", "symbolStrokeColor": "gray"}
    return {
        "field": field,
        "title": None,
        "legend": legend,
        "scale": {"domain": list(shapes), "range": list(shapes.values())},
    }


def axis(field: str, title: str, values: Iterable[Any]) -> dict[str, Any]:
    """Return the encoding of a number, logarithmic where all are positive."""
    known = [value for value in values if not pd.isna(value)]
    is_log = bool(known) and min(known) > 0
    scale = {"type": "log", "nice": False} if is_log else {"zero": False, "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "scale": {**scale, "padding": 12}}


def names_axis(field: str, order: Sequence[Any]) -> dict[str, Any]:
    """Return the encoding of names in this order."""
    return {"field": field, "type": "nominal", "title": None, "sort": [str(name) for name in order]}
