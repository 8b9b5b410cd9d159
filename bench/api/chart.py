"""An interactive chart of Vega-Lite, for notebooks and for Altair."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.colors import to_hex

from bench.analysis.comparisons import bands
from bench.plots.palette import Color, line_styles
from bench.report.explorer import vega_dash

VERSION = "v5"
"""Of Vega-Lite's mime type: the newest that notebooks show by themselves."""


class Chart:
    """A chart: a notebook shows it, and `altair.Chart.from_dict(chart.to_dict())` makes one of Altair of it.

    Args:
        spec: Its specification in Vega-Lite, with its numbers.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self._spec = spec

    def to_dict(self) -> dict[str, Any]:
        """Return its specification in Vega-Lite, with its numbers."""
        copied: dict[str, Any] = json.loads(json.dumps(self._spec))
        return copied

    def save(self, path: str | Path) -> None:
        """Write it as .svg, as .html that opens offline, or as .json.

        Raises:
            ValueError: The name ends otherwise.
            OSError: The file cannot be written.
        """
        import vl_convert

        writers = {
            ".svg": lambda: vl_convert.vegalite_to_svg(self._spec),
            ".html": lambda: vl_convert.vegalite_to_html(self._spec, bundle=True),
            ".json": lambda: json.dumps(self._spec, indent=1),
        }
        suffix = Path(path).suffix
        if suffix not in writers:
            raise ValueError(f"path must end with one of {', '.join(writers)}, got {path}; choose one of these")
        Path(path).write_text(writers[suffix](), encoding="utf-8")

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        import vl_convert

        return {
            f"application/vnd.vegalite.{VERSION}+json": self._spec,
            "image/svg+xml": vl_convert.vegalite_to_svg(self._spec),
            "text/plain": repr(self),
        }


def curves_spec(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    shown: list[str],
    metric: str,
    x: str,
    split: str,
    palette: dict[str, Color],
) -> dict[str, Any]:
    """Return the specification of curves: median and range over seeds; a click on the legend chooses, dragging moves, the wheel zooms.

    Args:
        runs: Rows of one section, with `series`.
        curves: The table `curves`.
        shown: The series.
        metric: Of `curves`.
        x: step, epoch or train_time_s.
        split: train, val or test.
        palette: A colour for each optimizer.
    """
    own = curves[(curves["metric"] == metric) & (curves["split"] == split)]
    points = own.merge(runs[["run_id", "series"]], on="run_id")
    points = points[points["series"].isin(shown)]
    table = bands(points, "step").merge(
        points.groupby(["series", "step"])[["epoch", "train_time_s"]].median(), on=["series", "step"]
    )
    table = table[["series", "step", "epoch", "train_time_s", "median", "low", "high"]]
    styles = line_styles(runs, shown, palette)
    names = [name for name in shown if (table["series"] == name).any()]
    is_log = metric == "loss" and len(table) > 0 and float(table["low"].min()) > 0
    scale: dict[str, Any] = {"type": "log", "nice": False} if is_log else {"zero": False}
    colour = {
        "field": "series", "type": "nominal", "title": None,
        "scale": {"domain": names, "range": [to_hex(styles[name][0]) for name in names]},
    }  # fmt: skip
    dash = {
        "field": "series", "type": "nominal", "title": None,
        "scale": {"domain": names, "range": [vega_dash(styles[name][1]) for name in names]},
    }  # fmt: skip
    across = {"field": x, "type": "quantitative"}
    chosen = {"condition": {"param": "chosen", "value": 1}, "value": 0.08}
    tooltip = [{"field": field} for field in ("series", x)] + [
        {"field": field, "format": ".4g"} for field in ("median", "low", "high")
    ]
    return {
        "$schema": f"https://vega.github.io/schema/vega-lite/{VERSION}.json",
        "width": 560, "height": 340,
        "data": {"values": json.loads(table.to_json(orient="records"))},
        "encoding": {"x": across, "color": colour},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.14},
             "encoding": {"y": {"field": "low", "type": "quantitative", "scale": scale, "title": f"{split} {metric}"},
                          "y2": {"field": "high"}, "opacity": {"condition": {"param": "chosen", "value": 0.14}, "value": 0.02}}},
            {"mark": {"type": "line", "point": {"opacity": 0, "size": 60}},
             "params": [{"name": "chosen", "select": {"type": "point", "fields": ["series"]}, "bind": "legend"},
                        {"name": "zoom", "select": "interval", "bind": "scales"}],
             "encoding": {"y": {"field": "median", "type": "quantitative", "scale": scale}, "strokeDash": dash, "opacity": chosen,
                          "tooltip": tooltip}},
        ],
    }  # fmt: skip
