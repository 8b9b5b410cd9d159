"""What a tracker is given of a run, the same whichever it is."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from bench.tables.columns import HYPERPARAMETER_PREFIX
from bench.tables.frames import Study

SETTINGS = (
    "optimizer", "lr", "model", "data", "batch_size", "seed", "schedule", "implementation", "budget", "device", "precision",
)  # fmt: skip
"""Columns of `runs` that are settings, beside the hyperparameters."""


RESULTS = (
    "final_train_loss", "final_val_loss", "best_val_loss", "final_test_loss", "final_test_accuracy", "train_s", "step_ms",
    "peak_tensors_mib", "num_parameters",
)  # fmt: skip
"""Columns of `runs` that are results."""


Point = tuple[int, float, str, float]
"""Step, unix seconds, tag such as val/loss, value."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers take it.

    Attributes:
        name: Its run_id.
        study: Its study.
        status: How it ended.
        settings: Its optimizer, data and hyperparameters; what is missing is left out.
        results: What it came to, by name such as result/final_val_loss; likewise.
        started: Unix seconds at which it began.
        points: In the order of the steps.
    """

    name: str
    study: str
    status: str
    settings: dict[str, str | float | int | bool]
    results: dict[str, float]
    started: float
    points: list[Point] = field(default_factory=list)


def tracked(row: Mapping[Any, Any], study: str) -> TrackedRun:
    """Return a run, without points.

    Args:
        row: Of `runs`; columns may be missing.
        study: Its study.
    """
    chosen = [*SETTINGS, *(name for name in row if str(name).startswith(HYPERPARAMETER_PREFIX))]
    settings = {str(name): _plain(row[name]) for name in chosen if name in row and pd.notna(row[name])}
    results = {f"result/{name}": float(row[name]) for name in RESULTS if name in row and pd.notna(row[name])}
    began = row["started_at"]
    return TrackedRun(
        str(row["run_id"]),
        study,
        str(row["status"]),
        settings,
        {name: value for name, value in results.items() if math.isfinite(value)},
        datetime.datetime.fromisoformat(str(began)).timestamp() if pd.notna(began) else 0.0,
    )


def tag_of_curve(split: str, metric: str) -> str:
    """Return the tag of a curve.

    >>> tag_of_curve("val", "loss")
    'val/loss'
    """
    return f"{split}/{metric}"


def tag_of_diagnostic(name: str, layer: str) -> str:
    """Return the tag of a diagnostic of a layer; the layer is empty where it is of the whole model.

    >>> tag_of_diagnostic("gradient_norm", "layers.1")
    'diagnostics/gradient_norm/layers.1'
    """
    return f"diagnostics/{name}/{layer}" if layer else f"diagnostics/{name}"


def tracked_runs(study: Study, diagnostics: pd.DataFrame, name: str) -> Iterator[TrackedRun]:
    """Yield the runs of a study that have curves.

    Args:
        study: Its tables.
        diagnostics: The side table `diagnostics`.
        name: Of the study.
    """
    curves = dict(tuple(study.curves.groupby("run_id")))
    layers = dict(tuple(diagnostics.groupby("run_id"))) if len(diagnostics) else {}
    for _, row in study.runs.iterrows():
        if row["run_id"] not in curves:
            continue
        run, own = tracked(row.to_dict(), name), curves[row["run_id"]]
        seconds = own.drop_duplicates("step").set_index("step")["train_time_s"].astype(float)
        columns = own[["step", "train_time_s", "split", "metric", "value"]]
        run.points.extend(
            (int(step), run.started + float(at), tag_of_curve(split, metric), float(value))
            for step, at, split, metric, value in columns.itertuples(index=False)
        )
        if row["run_id"] in layers:
            recorded = layers[row["run_id"]][["step", "layer", "name", "value"]].fillna({"layer": ""})
            run.points.extend(
                (int(step), run.started + float(seconds.get(step, 0.0)), tag_of_diagnostic(name, layer), float(value))
                for step, layer, name, value in recorded.itertuples(index=False)
            )
        run.points.sort(key=lambda point: point[0])
        yield run


def _plain(value: Any) -> str | float | int | bool:
    plain = value.item() if hasattr(value, "item") else value
    return plain if isinstance(plain, bool | int | float) else str(plain)
