"""The row of a run: what is planned, measured, lost or predicted."""

from __future__ import annotations

import datetime
import json
import math
import re
import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bench.base.text import first_line
from bench.build.targets import RUNTIME_TARGETS
from bench.config.parse import has_default_hyperparameters
from bench.config.schema import Config
from bench.data.dataset import Dataset
from bench.execution.workload import dataset, init_from, workload_id, workload_words
from bench.measure.clock import Stopwatch
from bench.measure.device import is_out_of_memory
from bench.tables import run_id
from bench.training.diagnostics.landscape import LandscapeRow
from bench.training.losses import loss_name
from bench.training.plan import TrainingPlan
from bench.training.trace import Trace

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """A finished run: its row of `runs`, its points of `curves`, and what else is kept of it.

    Attributes:
        details: For people; JSON.
        side: Rows of side tables, by table.
        files: What writes other files of its folder, by name.
    """

    row: Row
    points: list[tuple[int, float, str, str, float, float]]
    details: dict[str, Any]
    side: dict[str, list[Row]] = field(default_factory=dict)
    files: Mapping[str, Callable[[Path], None]] = field(default_factory=dict)


def planned_row(config: Config, seed: int, cell_id: str, environment_id: str, environment: Row, device: str) -> Row:
    """Return the columns of a run that are known before it starts; its status is "failed" until it ends."""
    options = config.optimizer.options
    budget = config.train.steps, config.train.epochs
    weights = init_from(config)
    row: Row = {
        "run_id": run_id(cell_id, seed, environment_id),
        "cell_id": cell_id,
        "environment_id": environment_id,
        "study": config.study,
        "stage": "predicted" if device == "fake" else config.trial.stage,
        "trial": config.trial.number,
        "tuning": config.trial.tuning,
        "search": config.trial.search,
        "edge": config.trial.edge,
        "num_looks": config.trial.num_looks,
        "status": "failed",
        "workload": workload_words(config) + (f", from {weights}" if weights else ""),
        "budget": f"{budget[0]:,} steps" if budget[0] else f"{budget[1]:,} epoch{'s' * (budget[1] != 1)}",
        "model": config.model.name,
        "model_options": json.dumps(config.model.options, sort_keys=True),
        "data": config.data.name,
        "data_options": json.dumps(config.data.options, sort_keys=True),
        "optimizer": config.optimizer.name,
        "optimizer_target": config.optimizer.target,
        "implementation": config.optimizer.implementation,
        "settings": "default" if has_default_hyperparameters(config) and config.trial.stage == "single" else "given",
        "schedule": config.schedule.name,
        "schedule_options": json.dumps(config.schedule.options, sort_keys=True),
        "augment": config.augment.name,
        "augment_options": json.dumps(config.augment.options, sort_keys=True),
        "order": config.data.order,
        "l1": config.regularization.l1,
        "weights_only_decay": config.regularization.weights_only,
        "clip_norm": config.train.clip_norm,
        "accumulate": config.train.accumulate,
        "compiled_model": config.train.compile,
        "init_from": weights,
        "metrics": ",".join(config.metrics) or None,
        "diagnostics": ",".join(sorted(config.diagnostics.asked)) or None,
        "device": device,
        "precision": config.device.precision,
        "seed": seed,
        "batch_size": config.train.batch_size,
        "num_threads": config.device.threads,
        "time_limit_s": config.train.time_limit_s,
        "launcher": config.launcher.name,
        "num_jobs": config.launcher.n_jobs,
        "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        "command": repeat_command(config, seed),
        **environment,
    }
    for name, value in options.items():
        if name == "lr" and isinstance(value, int | float) and not isinstance(value, bool):
            row["lr"] = float(value)
        else:
            row[f"hp_{name}"] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return row


def repeat_command(config: Config, seed: int) -> str:
    """Return the command line that repeats one run; what lives in a running program is repeated there."""
    if {config.model.target, config.data.target, config.optimizer.target} & RUNTIME_TARGETS.keys():
        return f"bench.compare(...) in Python, with seed {seed}"
    of_the_sweep = ("seeds", "force", "report", "launcher", "sweep", "decide", "plan")
    kept = [o for o in config.overrides if re.split("[.=]", o.lstrip("+~"), maxsplit=1)[0] not in of_the_sweep]
    return shlex.join(["python", "-m", "bench", *kept, f"seeds=[{seed}]", "force=true"])


def predicted(config: Config, row: Row, memory: Row) -> Result:
    """Return the result of a cell on device=fake: its memory is predicted, nothing was trained."""
    data = dataset(config.data, torch.device("cpu"))
    columns = {
        "status": "ok",
        "loss": loss_name(config.loss, data.spec),
        "data_fingerprint": data.fingerprint,
    } | {key: memory[key] for key in ("workload_id", "implementation", "num_parameters")}
    return Result(row | columns, [], {"config": config.model_dump()})


def lost(row: Row, error: BaseException) -> Result:
    """Return the result of a run that failed, ran out of memory or was interrupted before training began."""
    details: dict[str, Any] = {}
    if isinstance(error, KeyboardInterrupt):
        return Result(row | {"status": "interrupted", "reason": "interrupted before training"}, [], details)
    reason = failure_reason(error, details)
    return Result(row | {"status": "oom" if is_out_of_memory(error) else "failed", "reason": reason}, [], details)


def side_tables(
    row: Row,
    trace: Trace,
    model: Any,
    recorded: Sequence[tuple[int, str, str, float]],
    landscape: Sequence[LandscapeRow],
) -> dict[str, list[Row]]:
    """Return diagnostics and the landscape of the loss, and of a model whose weights are a point in the plane its path, and the surface it went over."""
    found: dict[str, list[Row]] = {}
    if recorded:
        columns = ("step", "layer", "name", "value")
        found["diagnostics"] = [{"run_id": row["run_id"], **dict(zip(columns, each, strict=True))} for each in recorded]
    if landscape:
        found["landscapes"] = [
            {"run_id": row["run_id"], "kind": kind, "step": step, "x": x, "y": y, "value": value}
            for kind, step, x, y, value in landscape
            if math.isfinite(value)
        ]
    if not trace.path:
        return found
    (x_min, x_max), (y_min, y_max) = model.window
    points = torch.cartesian_prod(torch.linspace(x_min, x_max, 101), torch.linspace(y_min, y_max, 101))
    with torch.no_grad():
        values = model.values(points.to(model.point.device)).cpu()
    surface = zip(points[:, 0].tolist(), points[:, 1].tolist(), values.tolist(), strict=True)
    return found | {
        "trajectories": [
            {"run_id": row["run_id"], "step": step, "x": x, "y": y, "value": value} for step, x, y, value in trace.path
        ],
        "surfaces": [
            {"workload_id": row["workload_id"], "x": x, "y": y, "value": value}
            for x, y, value in surface
            if math.isfinite(value)
        ],
    }


def data_columns(config: Config, data: Dataset, plan: TrainingPlan) -> Row:
    """Return the columns of `runs` that describe data and budget."""
    return {
        "workload_id": workload_id(config.model, config.data, data, plan.batch_size, config.loss, init_from(config)),
        "data_fingerprint": data.fingerprint,
        "class_counts": None if (counts := data.class_counts()) is None else json.dumps(counts),
        "loss": loss_name(config.loss, data.spec),
        "num_train": data.size("train"),
        "num_val": data.size("val"),
        "num_test": data.size("test"),
        "num_steps_budget": plan.num_steps,
    }


def metric_columns(trace: Trace, plan: TrainingPlan, steps_per_epoch: int) -> Row:
    """Return the columns of `runs` that hold final and best metrics."""
    row: Row = {
        "num_steps": trace.num_steps,
        "num_evaluations": trace.num_evaluations,
        "num_epochs": trace.num_steps / steps_per_epoch,
    }
    series: dict[tuple[str, str], dict[int, float]] = {}
    for step, _, split, metric, value, _ in trace.points:
        series.setdefault((split, metric), {})[step] = value
    if train_loss := series.get(("train", "loss")):
        row["first_train_loss"] = next(iter(train_loss.values()))
    for (split, metric), values in series.items():
        if plan.num_steps in values and metric in ("loss", "accuracy", "gap"):
            row[f"final_{split}_{metric}"] = values[plan.num_steps]
    if val_loss := series.get(("val", "loss")):
        best = min(val_loss, key=lambda step: val_loss[step])
        row |= {
            "best_val_loss": val_loss[best],
            "best_val_step": best,
            "test_loss_at_best_val": series.get(("test", "loss"), {}).get(best),
            "test_accuracy_at_best_val": series.get(("test", "accuracy"), {}).get(best),
        }
    return row


COUNTERS = ("construct", "warmup", "train", "eval", "log", "diagnostics", "rest")
"""On which the seconds of a run are booked; together they are its time."""


def time_columns(watch: Stopwatch, trace: Trace, row: Row, steps_per_epoch: int) -> Row:
    """Return the columns of `runs` that hold times."""
    seconds = {name: watch.seconds.get(name, 0.0) for name in COUNTERS}
    columns: Row = {f"{name}_s": value for name, value in seconds.items()}
    columns |= {"total_s": watch.total, "first_step_s": trace.first_step_s}
    if trace.first_step_s is not None and trace.step > 1:
        columns["step_ms"] = 1e3 * (trace.train_s - trace.first_step_s) / (trace.step - 1)
        epochs, steps = divmod(trace.step, steps_per_epoch)
        columns["examples_per_s"] = (epochs * row["num_train"] + steps * row["batch_size"]) / trace.train_s
    return columns


def failure_reason(error: BaseException, details: dict[str, Any]) -> str:
    """Keep the traceback of an error in `details`; return its type and first line."""
    details["traceback"] = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {first_line(error)}"
