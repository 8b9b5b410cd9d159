"""One run: seed, build, warm up, train, record; how it ended becomes its status."""

from __future__ import annotations

import atexit
import datetime
import functools
import gc
import json
import math
import shlex
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bench import device as devices
from bench.build import build_data, build_model, build_optimizer, first_line
from bench.clock import Noise, Stopwatch
from bench.config import Component, Config, short_hash
from bench.data import Dataset
from bench.memory import PeakMemory
from bench.train import LOSSES, Diverged, OutOfTime, Plan, Trace, train

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """A finished run: its row of `runs`, its points of `curves`, and what else is kept of it."""

    row: Row
    points: list[tuple[int, float, str, str, float, float]]
    details: dict[str, Any]


def planned_row(config: Config, seed: int, cell_id: str, environment_id: str, environment: Row, device: str) -> Row:
    """The columns of a run that are known before it starts; its status is "failed" until it ends."""
    options = config.optimizer.options
    budget = config.train.steps, config.train.epochs
    row: Row = {
        "run_id": f"{cell_id}-{seed}-{environment_id}",
        "cell_id": cell_id,
        "environment_id": environment_id,
        "study": config.study,
        "stage": "single",
        "status": "failed",
        "workload": f"{config.model.name} on {config.data.name}, batch {config.train.batch_size}",
        "budget": f"{budget[0]:,} steps" if budget[0] else f"{budget[1]:,} epoch{'s' * (budget[1] != 1)}",
        "model": config.model.name,
        "model_options": json.dumps(config.model.options, sort_keys=True),
        "data": config.data.name,
        "data_options": json.dumps(config.data.options, sort_keys=True),
        "optimizer": config.optimizer.name,
        "optimizer_target": config.optimizer.target,
        "implementation": config.optimizer.implementation,
        "settings": "default" if config.default_hyperparameters else "given",
        "schedule": "constant",
        "device": device,
        "precision": config.device.precision,
        "seed": seed,
        "batch_size": config.train.batch_size,
        "num_threads": config.device.threads,
        "time_limit_s": config.train.time_limit_s,
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
    """The command line that repeats one run."""
    kept = [o for o in config.overrides if o.lstrip("+~").split("=", 1)[0] not in ("seeds", "force", "report")]
    return shlex.join(["python", "-m", "bench", *kept, f"seeds=[{seed}]", "force=true"])


@functools.lru_cache(maxsize=1)
def _dataset(config_json: str, device: torch.device) -> Dataset:
    return build_data(Component.model_validate_json(config_json)).to(device)


def run(
    config: Config, row: Row, tell: Callable[[int, int, float], None] = lambda step, num_steps, loss: None
) -> Result:
    """Make one run on this machine, now.

    Args:
        config: The cell.
        row: What `planned_row` gave for one seed.
        tell: Called with (step, steps in all, training loss) now and then.

    Returns:
        The result, whatever became of it: divergence, lack of memory, the time limit, an error in
        training and an interrupt are statuses, not exceptions.

    Raises:
        ValueError: Model, data and optimizer cannot be built or do not fit together.
        Unavailable: The machine or torch lacks what was asked for.
    """
    seed = row["seed"]
    device = devices.resolve(config.device.name)
    autocast = devices.autocast(device, config.device.precision)
    devices.reset(device, config.device.threads, config.device.precision, seed=0)  # a loader may draw, the same always
    data = _dataset(config.data.model_dump_json(), device)
    num_train = data.size("train")
    if config.train.batch_size > num_train:
        raise ValueError(
            f"train.batch_size must be at most the {num_train:,} training examples of data={config.data.name},"
            f" got {config.train.batch_size}; set a smaller one"
        )
    steps_per_epoch = math.ceil(num_train / config.train.batch_size)
    plan = Plan(
        num_steps=config.train.steps or steps_per_epoch * (config.train.epochs or 0),
        batch_size=config.train.batch_size,
        log_every=config.train.log_every,
        eval_every=config.train.eval_every or steps_per_epoch,
        loss_limit=config.train.loss_limit,
        time_limit_s=config.train.time_limit_s,
        order_seed=seed + 2**33,
        autocast=autocast,
    )
    row = row | _data_columns(config, data, plan)
    trace, details = Trace(), {"config": config.model_dump()}
    status, reason = "ok", None
    watch, noise = Stopwatch(device), Noise()
    memory = None
    try:
        watch.switch("warmup")
        _warm_up(config, data, plan, device, seed)
        _quiet_collector()

        watch.switch("construct")
        devices.reset(device, config.device.threads, config.device.precision, seed)
        model = build_model(config.model, data.spec).to(device)
        optimizer, row["implementation"] = build_optimizer(config.optimizer, model)
        row["num_parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)

        watch.switch("rest")
        torch.manual_seed(seed + 2**32)
        memory = PeakMemory(device)
        train(model, optimizer, data, plan, watch, trace, tell)
    except (ValueError, devices.Unavailable) as error:
        if memory is None:
            raise
        status, reason = "failed", _told(error, details)
    except Diverged as error:
        status, reason = "diverged", str(error)
    except OutOfTime as error:
        status, reason = "timeout", str(error)
    except KeyboardInterrupt:
        status, reason = "interrupted", f"interrupted after step {trace.num_steps}"
    except Exception as error:
        status, reason = "oom" if devices.is_out_of_memory(error) else "failed", _told(error, details)
    row["status"], row["reason"] = status, reason
    watch.switch("rest")
    if memory is not None:
        row |= memory.row()
    row |= (
        noise.row() | _metric_columns(trace, plan, steps_per_epoch) | _time_columns(watch, trace, row, steps_per_epoch)
    )
    if status == "oom" and device.type == "cuda":
        torch.cuda.empty_cache()
    return Result(row, trace.points, details)


def lost(row: Row, error: BaseException) -> Result:
    """A run that ended before it was warm, by something that is nobody's choice of settings."""
    details: dict[str, Any] = {}
    if isinstance(error, KeyboardInterrupt):
        return Result(row | {"status": "interrupted", "reason": "interrupted before training"}, [], details)
    reason = _told(error, details)
    return Result(
        row | {"status": "oom" if devices.is_out_of_memory(error) else "failed", "reason": reason}, [], details
    )


def _warm_up(config: Config, data: Dataset, plan: Plan, device: torch.device, seed: int) -> None:
    """A whole step of a throw-away copy: imports, kernels and caches are warm before the clock runs.

    The first optimizer built in a process imports torch._dynamo, a second or two that would
    otherwise be charged to whichever comes first. Here also shows whether model and data fit.
    """
    devices.reset(device, config.device.threads, config.device.precision, seed)
    model = build_model(config.model, data.spec).to(device)
    optimizer, _ = build_optimizer(config.optimizer, model)
    inputs, targets = (part[: plan.batch_size].clone() for part in data.splits["train"])
    shape = "x".join(map(str, data.spec.input_shape))
    fits = f"model={config.model.name} must fit data={config.data.name} (inputs {shape}, {data.spec.task})"
    with plan.autocast:
        try:
            outputs = model(inputs)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if devices.is_out_of_memory(error):
                raise
            raise ValueError(
                f"{fits}, got {type(error).__name__}: {first_line(error)}; change one of the two"
            ) from error
        wanted = (len(inputs), data.spec.num_outputs)
        if tuple(getattr(outputs, "shape", ())) != wanted:
            raise ValueError(
                f"{fits}: its output for {len(inputs)} examples must be of shape {list(wanted)},"
                f" got {list(getattr(outputs, 'shape', ())) or type(outputs).__name__}; change one of the two"
            )
        loss = LOSSES[data.spec.loss](outputs, targets)
    loss.backward()
    optimizer.step()


def _data_columns(config: Config, data: Dataset, plan: Plan) -> Row:
    options = {k: v for k, v in config.data.options.items() if k not in ("root", "download")}
    workload = {
        "model": [config.model.target, config.model.options],
        "data": [data.fingerprint, config.data.target, options],
        "loss": data.spec.loss,
        "batch_size": plan.batch_size,
    }
    return {
        "workload_id": short_hash(workload, 8),
        "data_fingerprint": data.fingerprint,
        "loss": data.spec.loss,
        "num_train": data.size("train"),
        "num_val": data.size("val"),
        "num_test": data.size("test"),
        "num_steps_budget": plan.num_steps,
    }


def _metric_columns(trace: Trace, plan: Plan, steps_per_epoch: int) -> Row:
    row: Row = {"num_steps": trace.num_steps, "num_epochs": trace.num_steps / steps_per_epoch}
    series: dict[tuple[str, str], dict[int, float]] = {}
    for step, _, split, metric, value, _ in trace.points:
        series.setdefault((split, metric), {})[step] = value
    if train_loss := series.get(("train", "loss")):
        row["first_train_loss"] = next(iter(train_loss.values()))
    for (split, metric), values in series.items():
        if plan.num_steps in values:
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


def _time_columns(watch: Stopwatch, trace: Trace, row: Row, steps_per_epoch: int) -> Row:
    seconds = {name: watch.seconds.get(name, 0.0) for name in ("construct", "warmup", "train", "eval", "log", "rest")}
    columns: Row = {f"{name}_s": value for name, value in seconds.items()}
    columns |= {"total_s": watch.total, "first_step_s": trace.first_step_s}
    if trace.first_step_s is not None and trace.step > 1:
        columns["step_ms"] = 1e3 * (trace.train_s - trace.first_step_s) / (trace.step - 1)
        epochs, steps = divmod(trace.step, steps_per_epoch)
        columns["examples_per_s"] = (epochs * row["num_train"] + steps * row["batch_size"]) / trace.train_s
    return columns


def _quiet_collector() -> None:
    """Collect garbage now, not during training; what the imports left behind is not looked at again.

    With torch and its compiler imported a collection takes a tenth of a second; without them, nothing.
    """
    gc.collect()
    _freeze_once()


@functools.cache
def _freeze_once() -> None:
    gc.freeze()
    atexit.register(gc.unfreeze)


def _told(error: BaseException, details: dict[str, Any]) -> str:
    details["traceback"] = "".join(traceback.format_exception(error))
    return f"{type(error).__name__}: {first_line(error)}"
