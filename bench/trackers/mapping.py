"""What a tracker is given of a run, the same whichever it is."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.tables.columns import HYPERPARAMETER_PREFIX
from bench.tables.frames import Study

SETTINGS = (
    "optimizer",
    "lr",
    "model",
    "data",
    "batch_size",
    "seed",
    "schedule",
    "implementation",
    "budget",
    "device",
    "precision",
)
"""Columns of `runs` that are settings, beside the hyperparameters."""


RESULTS = (
    "final_train_loss", "final_val_loss", "best_val_loss", "final_test_loss", "final_test_accuracy", "train_s", "step_ms",
    "peak_tensors_mib", "num_parameters",
)  # fmt: skip
"""Columns of `runs` that are results."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as trackers take it.

    Attributes:
        name: Its run_id.
        status: How it ended.
        settings: Its optimizer, data and hyperparameters; what is missing is left out.
        results: What it came to; likewise.
        points: Rows of step, unix seconds, tag such as val/loss, and value, in the order of the steps.
    """

    name: str
    status: str
    settings: dict[str, str | float | int | bool]
    results: dict[str, float]
    points: list[tuple[int, float, str, float]]


def tracked_runs(study: Study, diagnostics: pd.DataFrame) -> Iterator[TrackedRun]:
    """Yield the runs of a study that have curves.

    Args:
        study: Its tables.
        diagnostics: The side table `diagnostics`, which becomes tags such as diagnostics/gradient_norm/layers.1.
    """
    curves, layers = (
        dict(tuple(study.curves.groupby("run_id"))),
        dict(tuple(diagnostics.groupby("run_id"))) if len(diagnostics) else {},
    )
    for _, row in study.runs.iterrows():
        run = str(row["run_id"])
        if run not in curves:
            continue
        started = (
            datetime.datetime.fromisoformat(str(row["started_at"])).timestamp() if pd.notna(row["started_at"]) else 0.0
        )
        own = curves[run].sort_values("step", kind="stable")
        seconds = own.drop_duplicates("step").set_index("step")["train_time_s"].astype(float)
        points = [
            (int(step), started + float(at), f"{split}/{metric}", float(value))
            for step, at, split, metric, value in own[["step", "train_time_s", "split", "metric", "value"]].itertuples(
                index=False
            )
        ]
        for step, layer, name, value in layers.get(run, pd.DataFrame(columns=["step", "layer", "name", "value"]))[
            ["step", "layer", "name", "value"]
        ].itertuples(index=False):
            tag = f"diagnostics/{name}" + (f"/{layer}" if isinstance(layer, str) and layer else "")
            points.append((int(step), started + float(seconds.get(step, 0.0)), tag, float(value)))
        chosen = [*SETTINGS, *(name for name in study.runs if str(name).startswith(HYPERPARAMETER_PREFIX))]
        settings = {str(name): _plain(row[name]) for name in chosen if name in row and pd.notna(row[name])}
        results = {name: float(row[name]) for name in RESULTS if name in row and pd.notna(row[name])}
        results = {name: value for name, value in results.items() if math.isfinite(value)}
        yield TrackedRun(run, str(row["status"]), settings, results, sorted(points, key=lambda point: point[0]))


def _plain(value: Any) -> str | float | int | bool:
    plain = value.item() if hasattr(value, "item") else value
    return plain if isinstance(plain, bool | int | float) else str(plain)
