"""One run: seed, build, warm up, train, record; how it ended becomes its status."""

from __future__ import annotations

import atexit
import datetime
import functools
import gc
import json
import math
import re
import shlex
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench import augment
from bench import device as devices
from bench.build import (
    GIVEN,
    build_data,
    build_model,
    build_optimizer,
    checked_outputs,
    compiled_model,
    first_line,
    load_weights,
    needs_of,
    step_options,
)
from bench.clock import Noise, Stopwatch, synchronizer
from bench.config import (
    Component,
    Config,
    DataConfig,
    StepCostConfig,
    cost_id,
    learnt_from,
    short_hash,
    weights_hash,
    without_later,
)
from bench.data import Dataset
from bench.losses import LOSSES, check_log_probabilities, loss_name
from bench.memory import PeakMemory
from bench.probes import latency_ms
from bench.schedules import Schedule
from bench.train import Diverged, OutOfTime, Plan, Pruned, Trace, evaluate, evaluation_weights, train
from bench.update import NOT_PLAIN, Update, trained

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
    """The columns of a run that are known before it starts; its status is "failed" until it ends."""
    options = config.optimizer.options
    budget = config.train.steps, config.train.epochs
    weights = init_from(config)
    row: Row = {
        "run_id": f"{cell_id}-{seed}-{environment_id}",
        "cell_id": cell_id,
        "environment_id": environment_id,
        "study": config.study,
        "stage": "predicted" if device == "fake" else config.trial.stage,
        "trial": config.trial.number,
        "tuning": config.trial.tuning,
        "search": config.trial.search,
        "edge": config.trial.edge,
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
        "settings": "default" if config.default_hyperparameters and config.trial.stage == "single" else "given",
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
    """The command line that repeats one run; what lives in a running program is repeated there."""
    if {config.model.target, config.data.target, config.optimizer.target} & GIVEN.keys():
        return f"bench.compare(...) in Python, with seed {seed}"
    of_the_sweep = ("seeds", "force", "report", "launcher", "sweep", "plan")
    kept = [o for o in config.overrides if re.split("[.=]", o.lstrip("+~"), maxsplit=1)[0] not in of_the_sweep]
    return shlex.join(["python", "-m", "bench", *kept, f"seeds=[{seed}]", "force=true"])


def dataset(config: DataConfig, device: torch.device) -> Dataset:
    """The data on a device, with as many training examples as are to be used; what was last loaded is kept whole.

    Raises:
        ValueError: It cannot be loaded, or has fewer training examples than are to be used.
    """
    data = _dataset(config.model_dump_json(include=set(Component.model_fields)), device)
    return data if config.num_train is None else data.limited(config.num_train)


def _schedule(config: Config, plan: Plan, optimizer: Optimizer) -> Schedule | None:
    """The schedule of a run; None where the learning rate stays what it is.

    Raises:
        ValueError: The optimizer has no learning rate.
        Unavailable: Its step is compiled for one learning rate.
    """
    chosen = config.schedule
    if chosen.name == "constant":
        return None
    if isinstance(optimizer, torch.optim.Rprop):
        raise ValueError(
            f"schedule must be constant for Rprop, got {chosen.name}: the learning rate is the size of its first step"
            " only; leave it out"
        )
    if config.optimizer.implementation == "compiled":
        raise devices.Unavailable(
            f"schedule={chosen.name} is not to be had with optimizer.implementation=compiled: the step is compiled"
            " for one learning rate; use forloop, foreach or fused"
        )
    return Schedule(chosen.name, chosen.options, plan.num_steps, optimizer)


def _learnable(config: Config, device: torch.device) -> Dataset:
    """The data of a cell that is to be trained.

    Raises:
        ValueError: It cannot be loaded, has shapes only, has fewer examples than a batch, or does not go
            with an option.
    """
    data = dataset(config.data, device)
    if data.shapes_only:
        raise ValueError(
            f"data={config.data.name} has shapes but nothing to learn from, got device={config.device.name};"
            " use device=fake, or python -m bench.step_cost"
        )
    check_batch_size(config, data)
    if config.loss == "as_printed" and config.train.accumulate > 1:
        raise ValueError(
            f"train.accumulate must be 1 with loss=as_printed, got {config.train.accumulate}: that loss of a batch is no"
            " mean of those of its parts; leave it out"
        )
    if config.augment.name != "none" and data.spec.task != "classification":
        raise ValueError(
            f"augment must be none where targets are values, got {config.augment.name} for data={config.data.name}:"
            " it changes inputs only; set augment=none"
        )
    if "moved_accuracy" in config.metrics:
        _check_images(config, data)
    return data if data.optimum_of == config.model.target else replace(data, optimum=None)


def _check_images(config: Config, data: Dataset) -> None:
    """Hold the data to what `moved_accuracy` can be taken of.

    Raises:
        ValueError: Examples are no images of one class each.
    """
    spec = data.spec
    is_image = len(spec.input_shape) == 3 and data.first(1)[0].is_floating_point()
    if not is_image or spec.task != "classification" or spec.target_shape:
        shape = "x".join(map(str, spec.input_shape))
        raise ValueError(
            "metrics must leave out moved_accuracy for data that is not images (channels x height x width, floating-point"
            f" numbers) of one class each, got data={config.data.name} with inputs of shape {shape}; leave it out"
        )


def check_batch_size(config: Config | StepCostConfig, data: Dataset) -> None:
    """Hold the batch size to the data.

    Raises:
        ValueError: There are fewer training examples than a batch takes.
    """
    if config.train.batch_size > data.size("train"):
        raise ValueError(
            f"train.batch_size must be at most the {data.size('train'):,} training examples of"
            f" data={config.data.name}, got {config.train.batch_size}; set a smaller one"
        )


@functools.lru_cache(maxsize=1)
def _dataset(config_json: str, device: torch.device) -> Dataset:
    return build_data(Component.model_validate_json(config_json)).to(device)


def workload_words(config: Config | StepCostConfig) -> str:
    """What is learnt and in which batches, for people: `mlp on digits, 500 training examples, batch 64`."""
    num = config.data.num_train
    limit = f", {num:,} training example{'s' * (num != 1)}" if num else ""
    return f"{config.model.name} on {config.data.name}{limit}, batch {config.train.batch_size}"


def workload_id(
    model: Component,
    data_config: Component,
    data: Dataset,
    batch_size: int,
    loss: str = "default",
    start: str | None = None,
) -> str:
    """Eight hexadecimal digits of what is learnt, from where and in which batches: others do not compare.

    Args:
        model: The model.
        data_config: Where the data comes from.
        data: The data.
        batch_size: Examples a step.
        loss: As configured.
        start: Name and hash of the weights that it starts from; None: fresh ones.
    """
    known = {"model": {"options": dict(model.options)}, "data": {"options": learnt_from(data_config)}}
    options = {key: part["options"] for key, part in without_later(known).items()}
    workload = {
        "model": [model.target, options["model"]],
        "data": [data.fingerprint, data_config.target, options["data"]],
        "loss": loss_name(loss, data.spec),
        "batch_size": batch_size,
    } | ({} if start is None else {"start": start.rpartition(" ")[2]})
    return short_hash(workload, 8)


def init_from(config: Config) -> str | None:
    """Name of the file of weights that a run starts from, and eight digits of its hash; None: fresh weights."""
    if config.train.init_from is None:
        return None
    return f"{Path(config.train.init_from).name} {weights_hash(config.train.init_from)[:8]}"


def run(
    config: Config,
    row: Row,
    tell: Callable[[int, int, float], None] = lambda step, num_steps, loss: None,
    num_jobs_beside: int = 0,
    give_up: Callable[[int, float], bool] | None = None,
) -> Result:
    """Make one run on this machine, now.

    Args:
        config: The cell.
        row: What `planned_row` gave for one seed.
        tell: Called with (step, steps in all, training loss) now and then.
        num_jobs_beside: Other runs known to be in flight on this machine.
        give_up: As in `bench.train.Plan`.

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
    data = _learnable(config, device)
    steps_per_epoch = data.steps_per_epoch(config.train.batch_size)
    plan = Plan(
        num_steps=config.train.steps or steps_per_epoch * (config.train.epochs or 0),
        batch_size=config.train.batch_size,
        log_every=config.train.log_every,
        eval_every=config.train.eval_every or steps_per_epoch,
        loss_limit=config.train.loss_limit,
        time_limit_s=config.train.time_limit_s,
        order_seed=seed + 2**33,
        autocast=autocast,
        loss=loss_name(config.loss, data.spec),
        step=step_options(config),
        frozen_order=config.data.order == "frozen",
        augment=augment.build(config.augment.name, config.augment.options, data.spec.input_shape),
        keep_best=config.train.save_best,
        metrics=tuple(config.metrics),
        give_up=give_up,
    )
    row = row | _data_columns(config, data, plan)
    trace, details = Trace(), {"config": config.model_dump()}
    status, reason = "ok", None
    watch = Stopwatch(device)
    noise, memory, model = None, None, None
    try:
        watch.switch("warmup")
        _warm_up(config, data, plan, device, seed)
        quiet_collector()
        noise = Noise(device.type, config.device.threads, row["num_cores"], num_jobs_beside, data.reads_files)

        watch.switch("construct")
        devices.reset(device, config.device.threads, config.device.precision, seed)
        model = network = _model(config, data, device)
        optimizer, row["implementation"] = build_optimizer(config.optimizer, model, config.regularization.weights_only)
        needs = needs_of(config.optimizer, optimizer)
        row["num_parameters"] = sum(p.numel() for p in trained(model))
        if config.has_plain_step and not needs & NOT_PLAIN:
            row["step_cost_id"] = cost_id(
                row["workload_id"],
                config.optimizer,
                row["implementation"],
                device.type,
                config.device,
                row["environment_id"],
            )

        schedule = _schedule(config, plan, optimizer)
        if config.train.compile:
            watch.switch("warmup")
            network = compiled_model(model, _batches_of_each_size(data, plan), functools.partial(_loss_of, plan))

        watch.switch("rest")
        torch.manual_seed(seed + 2**32)
        memory = PeakMemory(device)
        train(network, optimizer, data, plan, watch, trace, tell, schedule, needs)
        watch.switch("rest")
        if "latency" in config.metrics:
            row |= _latency_columns(network, data, plan, device)
        if "moved_accuracy" in config.metrics:
            watch.switch("eval")
            with evaluation_weights(optimizer, needs):
                moved = evaluate(network, data, "test", plan, augment.Move(data.spec.input_shape))
            row["moved_test_accuracy"] = moved["accuracy"]
    except (ValueError, devices.Unavailable) as error:
        if memory is None:
            raise
        status, reason = "failed", _told(error, details)
    except Diverged as error:
        status, reason = "diverged", str(error)
    except OutOfTime as error:
        status, reason = "timeout", str(error)
    except Pruned as error:
        status, reason = "pruned", str(error)
    except KeyboardInterrupt:
        status, reason = "interrupted", f"interrupted after step {trace.num_steps}"
    except Exception as error:
        status, reason = "oom" if devices.is_out_of_memory(error) else "failed", _told(error, details)
    row["status"], row["reason"] = status, reason
    watch.switch("rest")
    if noise is not None:
        row |= noise.row()
    if memory is not None:
        row |= memory.row()
    row |= _metric_columns(trace, plan, steps_per_epoch) | _time_columns(watch, trace, row, steps_per_epoch)
    if status == "oom" and device.type == "cuda":
        torch.cuda.empty_cache()
    files = {} if trace.best_state is None else {"best.pt": functools.partial(torch.save, trace.best_state)}
    return Result(row, trace.points, details, _side_tables(row, trace, model), files)


def memory_of(config: Config, row: Row) -> Row:
    """The row of `memory` for a cell: measured on its device, or predicted where that is fake.

    Args:
        config: The cell.
        row: What `planned_row` gave for one of its seeds.

    Raises:
        ValueError: Model, data and optimizer cannot be built or do not fit together.
        Unavailable: The machine or torch lacks what was asked for.
    """
    from bench.footprint import footprint

    fake = config.device.name == "fake"
    device = torch.device("cpu") if fake else devices.resolve(config.device.name)
    data = dataset(config.data, device) if fake else _learnable(config, device)
    parts = footprint(config, data, device, fake)
    known = {key: row[key] for key in ("cell_id", "environment_id", "study", "workload", "model", "data", "optimizer")}
    return known | {
        "stage": row["stage"],
        "workload_id": workload_id(
            config.model, config.data, data, config.train.batch_size, config.loss, init_from(config)
        ),
        "optimizer_target": config.optimizer.target,
        "optimizer_options": json.dumps(config.optimizer.options, sort_keys=True),
        "device": row["device"],
        "precision": config.device.precision,
        "batch_size": config.train.batch_size,
        **parts,
    }


def predicted(config: Config, row: Row, memory: Row) -> Result:
    """The result of a cell on device=fake: its memory is predicted, nothing was trained."""
    data = dataset(config.data, torch.device("cpu"))
    columns = {
        "status": "ok",
        "loss": loss_name(config.loss, data.spec),
        "data_fingerprint": data.fingerprint,
    } | {key: memory[key] for key in ("workload_id", "implementation", "num_parameters")}
    return Result(row | columns, [], {"config": config.model_dump()})


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
    model = _model(config, data, device)
    optimizer, _ = build_optimizer(config.optimizer, model, config.regularization.weights_only)
    needs = needs_of(config.optimizer, optimizer)
    inputs, targets = data.first(plan.batch_size)
    if plan.augment is not None:
        inputs = plan.augment(inputs)

    def outputs_of(inputs: Tensor) -> Tensor:
        outputs = checked_outputs(config, data.spec, model, inputs)
        if plan.loss == "nll":
            check_log_probabilities(outputs)
        return outputs

    Update(outputs_of, trained(model), optimizer, LOSSES[plan.loss], plan.autocast, plan.step, needs)(inputs, targets)


def _model(config: Config, data: Dataset, device: torch.device) -> nn.Module:
    """The model of a run as it starts: fresh, or from a file of weights."""
    model = build_model(config.model, data.spec)
    if config.train.init_from is not None:
        load_weights(model, config.train.init_from)
    return model.to(device)


def _loss_of(plan: Plan, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with plan.autocast:
        return LOSSES[plan.loss](model(inputs), targets)


def _batches_of_each_size(data: Dataset, plan: Plan) -> list[tuple[Tensor, Tensor]]:
    """One batch of every size that training and evaluation will come upon, the commonest first."""
    part = math.ceil(plan.batch_size / plan.step.accumulate)
    last = data.size("train") % plan.batch_size
    sizes = [part, plan.batch_size // plan.step.accumulate]
    if last:
        parts = min(plan.step.accumulate, last)
        sizes += [math.ceil(last / parts), last // parts]
    sizes += [data.size(split) % part for split in ("val", "test")]
    return [data.first(size) for size in dict.fromkeys(sizes) if size]


def _latency_columns(model: nn.Module, data: Dataset, plan: Plan, device: torch.device) -> Row:
    """What a forward pass of the trained model takes, for one example and for a batch."""
    wait = synchronizer(device)
    inputs, _ = data.first(plan.batch_size)
    return {
        "latency_ms": latency_ms(model, inputs[:1], plan.autocast, wait),
        "latency_batch_ms": latency_ms(model, inputs, plan.autocast, wait),
    }


def _side_tables(row: Row, trace: Trace, model: Any) -> dict[str, list[Row]]:
    """The path of a model whose weights are a point in the plane, and the surface it went over."""
    if not trace.path:
        return {}
    (x_min, x_max), (y_min, y_max) = model.window
    points = torch.cartesian_prod(torch.linspace(x_min, x_max, 101), torch.linspace(y_min, y_max, 101))
    with torch.no_grad():
        values = model.values(points.to(model.point.device)).cpu()
    surface = zip(points[:, 0].tolist(), points[:, 1].tolist(), values.tolist(), strict=True)
    return {
        "trajectories": [
            {"run_id": row["run_id"], "step": step, "x": x, "y": y, "value": value} for step, x, y, value in trace.path
        ],
        "surfaces": [
            {"workload_id": row["workload_id"], "x": x, "y": y, "value": value}
            for x, y, value in surface
            if math.isfinite(value)
        ],
    }


def _data_columns(config: Config, data: Dataset, plan: Plan) -> Row:
    return {
        "workload_id": workload_id(config.model, config.data, data, plan.batch_size, config.loss, init_from(config)),
        "data_fingerprint": data.fingerprint,
        "class_counts": None if (counts := data.class_counts()) is None else json.dumps(counts),
        "loss": plan.loss,
        "num_train": data.size("train"),
        "num_val": data.size("val"),
        "num_test": data.size("test"),
        "num_steps_budget": plan.num_steps,
    }


def _metric_columns(trace: Trace, plan: Plan, steps_per_epoch: int) -> Row:
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


def _time_columns(watch: Stopwatch, trace: Trace, row: Row, steps_per_epoch: int) -> Row:
    seconds = {name: watch.seconds.get(name, 0.0) for name in ("construct", "warmup", "train", "eval", "log", "rest")}
    columns: Row = {f"{name}_s": value for name, value in seconds.items()}
    columns |= {"total_s": watch.total, "first_step_s": trace.first_step_s}
    if trace.first_step_s is not None and trace.step > 1:
        columns["step_ms"] = 1e3 * (trace.train_s - trace.first_step_s) / (trace.step - 1)
        epochs, steps = divmod(trace.step, steps_per_epoch)
        columns["examples_per_s"] = (epochs * row["num_train"] + steps * row["batch_size"]) / trace.train_s
    return columns


def quiet_collector() -> None:
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
