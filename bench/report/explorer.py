"""The interactive chart of curves: its numbers as JSON, and the libraries that draw it in a browser."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import math
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.colors import to_hex

from bench.analysis.comparisons import bands
from bench.analysis.section import SectionAnalysis
from bench.base.files import replacing
from bench.plots.curves import epochs_per_step
from bench.plots.palette import Color, LineStyle, line_styles

MAX_POINTS = 80
"""Points of a curve above which it is thinned."""


MAX_SEEDS = 10
"""Seeds of each optimizer's best setting whose own curves are shown."""


DASHES: dict[str, list[float]] = {"-": [], "--": [6, 3], ":": [2, 2], "-.": [6, 2, 2, 2]}
"""Named line styles as lengths of dashes and gaps in pixels."""


def explorer_data(found: SectionAnalysis, palette: dict[str, Color]) -> Markup:
    """Return the curves of a section as JSON: for each series and metric the median and range over seeds at each step.

    A curve of more than MAX_POINTS points is thinned: of equally many points in each of MAX_POINTS / 2 stretches it keeps those
    with the lowest and the highest median, so that no extreme is lost, and its ends.

    Args:
        found: The numbers of the section.
        palette: A colour for each optimizer.

    Returns:
        JSON that may stand in a `script` element; empty where there are no curves. Steps and times are numbers of `arrays`, since many
        curves share theirs.
    """
    runs = found.section.runs
    curves = _with_diagnostics(found).merge(runs[["run_id", "series", "seed"]], on="run_id")
    if curves.empty or found.section.predicted:
        return Markup("")
    names = list(dict.fromkeys([*found.leaders, *runs["series"].astype(str)]))
    styles = line_styles(runs, names, palette)
    by_name = runs.groupby("series")
    optimizers, num_seeds = by_name["optimizer"].first(), by_name["seed"].nunique()
    by_series = _curves(curves, found.leaders)
    series = [
        {
            "name": name,
            "optimizer": str(optimizers[name]),
            "best": name in found.leaders,
            "seeds": int(num_seeds[name]),
            "colour": to_hex(styles[name][0]),
            "dash": vega_dash(styles[name][1]),
            "curves": by_series[name],
        }
        for name in names
        if name in by_series
    ]
    arrays: dict[tuple[Any, ...], int] = {}
    for each in series:
        for curve in each["curves"].values():
            curve |= {key: arrays.setdefault(tuple(curve[key]), len(arrays)) for key in ("step", "time")}
    title, a_step = found.section.title, epochs_per_step(curves)
    return script_json({"title": title, "series": series, "arrays": list(arrays), "epochs_per_step": a_step})


def _with_diagnostics(found: SectionAnalysis) -> pd.DataFrame:
    """Return curves, and beside them what was recorded of the whole model as curves of the training split."""
    if not found.is_recorded:
        return found.curves
    whole = found.recorded[found.recorded["layer"].fillna("") == ""].drop(columns="layer")
    logged = found.curves[(found.curves["split"] == "train") & (found.curves["metric"] == "loss")]
    when = logged[["run_id", "step", "epoch", "train_time_s"]]
    recorded = whole.rename(columns={"name": "metric"}).merge(when, on=["run_id", "step"]).assign(split="train")
    return pd.concat([found.curves, recorded], ignore_index=True)


def script_json(data: Any) -> Markup:
    """Return JSON that may stand in a `script` element: nothing in it ends the element or begins a comment.

    >>> script_json({"name": "</script>"})
    Markup('{"name":"\\\\u003c/script>"}')
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))


def _curves(curves: pd.DataFrame, leaders: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return by series each of its curves by its name, such as "val loss"; those of leaders with single seeds."""
    found: dict[str, dict[str, Any]] = {}
    for (split, metric), points in curves.groupby(["split", "metric"], sort=False):
        table = bands(points, "step").merge(
            points.groupby(["series", "step"])["train_time_s"].median().rename("time"), on=["series", "step"]
        )
        table = table[np.isfinite(table[["median", "low", "high"]]).all(axis=1)]
        of_seeds = dict(tuple(points[points["series"].isin(leaders)].groupby("series", sort=False)))
        for name, band in table.groupby("series", sort=False):
            kept = band.iloc[thinned(band["median"].to_numpy(float))]
            curve: dict[str, Any] = {"step": kept["step"].astype(int).tolist()}
            curve |= {column: _short(kept[column]) for column in ("time", "median", "low", "high")}
            if name in of_seeds:
                seeds = of_seeds[name].drop_duplicates("run_id").set_index("run_id")["seed"].sort_values()
                wide = of_seeds[name].pivot(index="step", columns="run_id", values="value").reindex(kept["step"])
                curve["runs"] = [[int(seeds[run]), _short(wide[run])] for run in seeds.index[:MAX_SEEDS]]
            found.setdefault(str(name), {})[f"{split} {metric.replace('_', ' ')}"] = curve
    return found


def vega_dash(style: LineStyle) -> list[float]:
    """Return a line style as lengths of dashes and gaps in pixels."""
    return list(style[1]) if isinstance(style, tuple) else DASHES[style]


def thinned(values: np.ndarray, most: int = MAX_POINTS) -> np.ndarray:
    """Return the places of the points that are kept of a curve: its ends, and the lowest and highest of each stretch.

    >>> thinned(np.array([3.0, 1.0, 2.0]), most=4).tolist()
    [0, 1, 2]
    >>> thinned(np.array([0.0, 5.0, 1.0, 2.0, 2.0, 2.0, -9.0, 2.0, 3.0]), most=4).tolist()
    [0, 1, 6, 8]
    """
    if len(values) <= most:
        return np.arange(len(values))
    kept = {0, len(values) - 1}
    for stretch in np.array_split(np.arange(len(values)), most // 2):
        kept |= {int(stretch[np.argmin(values[stretch])]), int(stretch[np.argmax(values[stretch])])}
    return np.array(sorted(kept))


def _short(values: pd.Series) -> list[float | None]:
    """Return numbers to four digits; None for those that are missing."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]


@functools.cache
def chart_library() -> Markup:
    """Return Vega, Vega-Lite and Vega-Embed as one script, which vl-convert carries: nothing is fetched.

    To bundle them takes a second. So the script is kept in the reader's cache folder, under the version that made it.
    """
    name = f"vega-by-vl-convert-{importlib.metadata.version('vl-convert-python')}.js"
    path = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "optbench", name)  # noqa: PTH111 (pathlib's raises where there is no home)
    with suppress(OSError, UnicodeDecodeError):
        if path.is_absolute():
            return Markup(path.read_text(encoding="utf-8"))
    import vl_convert

    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")
    with suppress(OSError):
        if path.is_absolute():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                file.write(text.encode())
    return Markup(text)
