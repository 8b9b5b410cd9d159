"""One run, from seed to row."""

from __future__ import annotations

import atexit
import functools
import gc
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.base.errors import UserError
from bench.build.model import build_model, checked_outputs, compiled_model, load_weights
from bench.build.optimizer import build_optimizer, needs_of, step_options
from bench.config.capabilities import capabilities_of
from bench.config.identity import cost_id
from bench.config.schema import Config
from bench.data.dataset import Dataset
from bench.execution.row import Result, Row, data_columns, failure_reason, metric_columns, side_tables, time_columns
from bench.execution.workload import learnable
from bench.measure import device as measure_device
from bench.measure.clock import Noise, Stopwatch, synchronizer
from bench.measure.memory_tracker import PeakMemory
from bench.training.augmentation import build
from bench.training.final_metrics import TrainedModel, final_metrics
from bench.training.loop import Diverged, OutOfTime, Plan, Pruned, Trace, train
from bench.training.losses import check_log_probabilities, loss_function, loss_name
from bench.training.schedules import Schedule
from bench.training.step import NOT_PLAIN, Update, trained


def _schedule(config: Config, plan: Plan, optimizer: Optimizer) -> Schedule | None:
    """The schedule of a run; None where the learning rate stays what it is.

    Raises:
        UserError: The optimizer has no learning rate.
        Unavailable: Its step is compiled for one learning rate.
    """
    chosen = config.schedule
    if chosen.name == "constant":
        return None
    if reason := capabilities_of(config.optimizer).fixed_lr:
        raise UserError(
            f"schedule must be constant for {type(optimizer).__name__}, got {chosen.name}: {reason}; leave it out"
        )
    if config.optimizer.implementation == "compiled":
        raise measure_device.Unavailable(
            f"schedule={chosen.name} is not to be had with optimizer.implementation=compiled: the step is compiled"
            " for one learning rate; use forloop, foreach or fused"
        )
    return Schedule(chosen.name, chosen.options, plan.num_steps, optimizer)


def run(
    config: Config,
    row: Row,
    tell: Callable[[int, int, float], None] = lambda step, num_steps, loss: None,
    num_jobs_beside: int = 0,
    should_prune: Callable[[int, float], bool] | None = None,
) -> Result:
    """Make one run on this machine, now.

    Args:
        config: The cell.
        row: What `planned_row` gave for one seed.
        tell: Called with (step, steps in all, training loss) now and then.
        num_jobs_beside: Other runs known to be in flight on this machine.
        should_prune: As in `bench.train.Plan`.

    Returns:
        The result, whatever became of it: divergence, lack of memory, the time limit, an error in
        training and an interrupt are statuses, not exceptions.

    Raises:
        UserError: Model, data and optimizer cannot be built or do not fit together.
        Unavailable: The machine or torch lacks what was asked for.
    """
    seed = row["seed"]
    device = measure_device.resolve(config.device.name)
    autocast = measure_device.autocast(device, config.device.precision)
    measure_device.reset(
        device, config.device.threads, config.device.precision, seed=0
    )  # a loader may draw, the same always
    data = learnable(config, device)
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
        augment=build(config.augment.name, config.augment.options, data.spec.input_shape),
        keep_best=config.train.save_best,
        metrics=tuple(config.metrics),
        should_prune=should_prune,
    )
    row = row | data_columns(config, data, plan)
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
        measure_device.reset(device, config.device.threads, config.device.precision, seed)
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
        trained_model = TrainedModel(network, optimizer, needs, data, plan, synchronizer(device))
        for metric in final_metrics(config.metrics):
            watch.switch(metric.counter)
            row |= metric.columns(trained_model)
    except (UserError, measure_device.Unavailable) as error:
        if memory is None:
            raise
        status, reason = "failed", failure_reason(error, details)
    except Diverged as error:
        status, reason = "diverged", str(error)
    except OutOfTime as error:
        status, reason = "timeout", str(error)
    except Pruned as error:
        status, reason = "pruned", str(error)
    except KeyboardInterrupt:
        status, reason = "interrupted", f"interrupted after step {trace.num_steps}"
    except Exception as error:
        status, reason = "oom" if measure_device.is_out_of_memory(error) else "failed", failure_reason(error, details)
    row["status"], row["reason"] = status, reason
    watch.switch("rest")
    if noise is not None:
        row |= noise.row()
    if memory is not None:
        row |= memory.row()
    row |= metric_columns(trace, plan, steps_per_epoch) | time_columns(watch, trace, row, steps_per_epoch)
    if status == "oom" and device.type == "cuda":
        torch.cuda.empty_cache()
    files = {} if trace.best_state is None else {"best.pt": functools.partial(torch.save, trace.best_state)}
    return Result(row, trace.points, details, side_tables(row, trace, model), files)


def _warm_up(config: Config, data: Dataset, plan: Plan, device: torch.device, seed: int) -> None:
    """A whole step of a throw-away copy: imports, kernels and caches are warm before the clock runs.

    The first optimizer built in a process imports torch._dynamo, a second or two that would
    otherwise be charged to whichever comes first. Here also shows whether model and data fit.
    """
    measure_device.reset(device, config.device.threads, config.device.precision, seed)
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

    Update(outputs_of, trained(model), optimizer, loss_function(plan.loss), plan.autocast, plan.step, needs)(
        inputs, targets
    )


def _model(config: Config, data: Dataset, device: torch.device) -> nn.Module:
    """The model of a run as it starts: fresh, or from a file of weights."""
    model = build_model(config.model, data.spec)
    if config.train.init_from is not None:
        load_weights(model, config.train.init_from)
    return model.to(device)


def _loss_of(plan: Plan, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with plan.autocast:
        return loss_function(plan.loss)(model(inputs), targets)


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
