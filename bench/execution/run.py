"""One run, from seed to row."""

from __future__ import annotations

import atexit
import functools
import gc
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from bench.base.errors import UserError
from bench.build.loss import build_loss, checked_loss
from bench.build.model import checked_outputs, compiled_model
from bench.build.optimizer import needs_of, step_options
from bench.config.identity import cost_id
from bench.config.schema import Config
from bench.data.dataset import Dataset
from bench.execution.construct import construct, new_model, new_optimizer
from bench.execution.live_log import LiveLog
from bench.execution.row import Result, Row, data_columns, failure_reason, metric_columns, side_tables, time_columns
from bench.execution.workload import learnable, num_steps_of
from bench.measure import device as measure_device
from bench.measure.clock import Noise, Stopwatch, synchronizer
from bench.measure.memory_tracker import PeakMemory
from bench.training.augmentation import build
from bench.training.diagnostics.landscape import EXAMPLES, Landscape, LandscapeRow
from bench.training.diagnostics.recorder import Recorder
from bench.training.final_metrics import TrainedModel, final_metrics
from bench.training.learner import Learner
from bench.training.loop import OutOfTime, Pruned, train
from bench.training.losses import check_log_probabilities
from bench.training.non_finite import first_non_finite
from bench.training.plan import TrainingPlan
from bench.training.step import NOT_PLAIN, Update, trained
from bench.training.trace import Diverged, NotFinite, Trace

REPLAY_S = 10.0
"""Seconds of training up to which a run that lost its finite numbers is repeated to find where."""


def run(
    config: Config,
    row: Row,
    on_progress: Callable[[int, int, float], None] = lambda step, num_steps, loss: None,
    num_concurrent: int = 0,
    should_prune: Callable[[int, float], bool] | None = None,
    live: LiveLog | None = None,
) -> Result:
    """Make one run on this machine, now.

    Args:
        config: The cell.
        row: What `planned_row` gave for one seed.
        on_progress: Called with (step, steps in all, training loss) now and then.
        num_concurrent: Other runs known to be in flight on this machine.
        should_prune: As in `bench.training.plan.TrainingPlan`.
        live: Shows the run in trackers; None: in none.

    Returns:
        The result, whatever became of it: divergence, lack of memory, the time limit, an error in
        training and an interrupt are statuses, not exceptions.

    Raises:
        UserError: Model, data and optimizer cannot be built or do not fit together.
        Unavailable: The machine or torch lacks what was asked for.
    """
    device = measure_device.resolve(config.device.name)
    measure_device.reset(
        device, config.device.threads, config.device.precision, seed=0
    )  # a loader may draw, the same always
    data = learnable(config, device)
    plan = _training_plan(config, data, device, row["seed"], should_prune)
    attempt = _Attempt(config, row | data_columns(config, data, plan), data, plan, device, live)
    status, reason = attempt.outcome(on_progress, num_concurrent)
    return attempt.result(status, reason)


def _training_plan(
    config: Config,
    data: Dataset,
    device: torch.device,
    seed: int,
    should_prune: Callable[[int, float], bool] | None,
) -> TrainingPlan:
    """Return how a cell is trained with a seed."""
    steps_per_epoch = data.steps_per_epoch(config.train.batch_size)
    return TrainingPlan(
        num_steps=num_steps_of(config, data),
        batch_size=config.train.batch_size,
        log_every=config.train.log_every,
        eval_every=config.train.eval_every or steps_per_epoch,
        loss_limit=config.train.loss_limit,
        time_limit_s=config.train.time_limit_s,
        order_seed=seed + 2**33,
        autocast=measure_device.autocast(device, config.device.precision),
        loss=build_loss(config.loss, data.spec),
        step=step_options(config),
        frozen_order=config.data.order == "frozen",
        augment=build(config.augment.name, config.augment.options, data.spec.input_shape),
        keep_best=config.train.save_best,
        metrics=tuple(config.metrics),
        should_prune=should_prune,
    )


class _Attempt:
    """A run under way, and what it has left so far.

    Args:
        config: The cell.
        row: Of `runs`, as far as it is known before the start.
        data: On the device.
        plan: How to train.
        device: Where to.
        live: Shows it in trackers.
    """

    def __init__(
        self, config: Config, row: Row, data: Dataset, plan: TrainingPlan, device: torch.device, live: LiveLog | None
    ) -> None:
        self._live = live
        self._config, self._row, self._data, self._plan, self._device = config, row, data, plan, device
        self._trace, self._watch = Trace(), Stopwatch(device)
        self._details: dict[str, Any] = {"config": config.model_dump()}
        self._noise: Noise | None = None
        self._memory: PeakMemory | None = None
        self._model: nn.Module | None = None
        self._recorder: Recorder | None = None
        self._landscape_rows: list[LandscapeRow] = []
        self._is_finite = True

    def outcome(self, on_progress: Callable[[int, int, float], None], num_concurrent: int) -> tuple[str, str | None]:
        """Make the run, and return its status and the reason where it did not end ok.

        Raises:
            UserError, Unavailable: It cannot be built; once training has begun, such an error is a failed run.
        """
        try:
            self._warm_up(num_concurrent)
            self._train(self._construct(), on_progress)
        except (UserError, measure_device.Unavailable) as error:
            if self._memory is None:
                raise
            return "failed", failure_reason(error, self._details)
        except Diverged as error:
            self._is_finite = not isinstance(error, NotFinite)
            return "diverged", str(error)
        except OutOfTime as error:
            return "timeout", str(error)
        except Pruned as error:
            return "pruned", str(error)
        except KeyboardInterrupt:
            return "interrupted", f"interrupted after step {self._trace.num_steps}"
        except Exception as error:
            status = "oom" if measure_device.is_out_of_memory(error) else "failed"
            return status, failure_reason(error, self._details)
        return "ok", None

    def _warm_up(self, num_concurrent: int) -> None:
        config, device = self._config, self._device
        self._watch.switch("warmup")
        _warm_up(config, self._data, self._plan, device, self._row["seed"])
        quiet_collector()
        num_cores = self._row["num_cores"]
        self._noise = Noise(device.type, config.device.threads, num_cores, num_concurrent, self._data.reads_files)

    def _construct(self) -> Learner:
        """Return the model as it is trained, and its optimizer."""
        config, row, plan, device = self._config, self._row, self._plan, self._device
        self._watch.switch("construct")
        learner, row["implementation"] = construct(config, self._data, plan, device, row["seed"])
        self._model = model = learner.model
        row["num_parameters"] = sum(p.numel() for p in trained(model))
        if config.has_plain_step and not learner.needs & NOT_PLAIN:
            row["step_cost_id"] = cost_id(
                row["workload_id"],
                config.optimizer,
                row["implementation"],
                device.type,
                config.device,
                row["environment_id"],
            )
        if config.train.compile:
            self._watch.switch("warmup")
            batches = _batches_of_each_size(self._data, plan)
            return replace(learner, model=compiled_model(model, batches, functools.partial(_loss_of, plan)))
        return learner

    def _train(self, learner: Learner, on_progress: Callable[[int, int, float], None]) -> None:
        watch, data, plan = self._watch, self._data, self._plan
        watch.switch("rest")
        torch.manual_seed(self._row["seed"] + 2**32)
        self._memory = PeakMemory(self._device)
        chosen = self._config.diagnostics
        if chosen.record or chosen.landscape:
            self._recorder = Recorder(
                chosen.record, chosen.every, learner.model, learner.optimizer, plan.loss, plan.autocast,
                self._config.train.clip_norm, self._landscape(learner) if chosen.landscape else None,
            )  # fmt: skip
        train(learner, data, plan, watch, self._trace, self._shown(on_progress), self._recorder)
        if self._recorder is not None and self._recorder.landscape is not None:
            watch.switch("diagnostics")
            self._landscape_rows = list(self._recorder.landscape.rows(plan.num_steps))
        watch.switch("rest")
        trained_model = TrainedModel(learner, data, plan, synchronizer(self._device))
        for metric in final_metrics(self._config.metrics):
            watch.switch(metric.counter)
            self._row |= metric.columns(trained_model)

    def _landscape(self, learner: Learner) -> Landscape:
        plan, size = self._plan, min(EXAMPLES, self._data.size("train"))
        return Landscape(learner.model, self._data.sample_batch(size), plan.loss, plan.autocast, self._row["seed"])

    def _first_non_finite(self) -> Row:
        """Return the columns that say which tensor was not finite first; none where that cannot be found."""
        self._watch.switch("diagnostics")
        # the loss of a stop is that of the weights before its last step, which may have spoilt them: hence the stop before
        good = {step for step, _, split, *_ in self._trace.points if split == "train"} - {self._trace.step}
        after = sorted(good)[-2] if len(good) > 1 else 0
        try:
            learner, _ = construct(self._config, self._data, self._plan, self._device, self._row["seed"])
            torch.manual_seed(self._row["seed"] + 2**32)
            found = first_non_finite(learner, self._data, self._plan, after, 2 * REPLAY_S)
        except KeyboardInterrupt:
            return {"status": "interrupted", "reason": "interrupted while the first tensor not finite was looked for"}
        except Exception as error:
            failure_reason(error, self._details)
            return {}
        finally:
            self._watch.switch("rest")
        if found is None:
            return {}
        return {"non_finite": found.what, "non_finite_layer": found.layer or None, "non_finite_step": found.step}

    def _shown(self, on_progress: Callable[[int, int, float], None]) -> Callable[[int, int, float], None]:
        """Return what is called at every stop: it shows the step, and sends what is new to trackers."""
        live = self._live
        if live is None:
            return on_progress

        def also_live(step: int, num_steps: int, loss: float) -> None:
            on_progress(step, num_steps, loss)
            live.update(self._trace.points, self._recorded)

        return also_live

    @property
    def _recorded(self) -> list[tuple[int, str, str, float]]:
        return [] if self._recorder is None else self._recorder.rows

    def result(self, status: str, reason: str | None) -> Result:
        """Return what the run leaves, whatever became of it."""
        row, trace, watch = self._row, self._trace, self._watch
        row |= {"status": status, "reason": reason}
        watch.switch("rest")
        if self._noise is not None:
            row |= self._noise.row()
        if self._memory is not None:
            row |= self._memory.row()
        if not self._is_finite and watch.seconds["train"] <= REPLAY_S:
            row |= self._first_non_finite()
        steps_per_epoch = self._data.steps_per_epoch(self._plan.batch_size)
        row |= metric_columns(trace, self._plan, steps_per_epoch) | time_columns(watch, trace, row, steps_per_epoch)
        if status == "oom" and self._device.type == "cuda":
            torch.cuda.empty_cache()
        files = {} if trace.best_state is None else {"best.pt": functools.partial(torch.save, trace.best_state)}
        if self._live is not None:
            self._live.update(trace.points, self._recorded, at_once=True)
        side = side_tables(row, trace, self._model, self._recorded, self._landscape_rows)
        return Result(row, trace.points, self._details, side, files)


def _warm_up(config: Config, data: Dataset, plan: TrainingPlan, device: torch.device, seed: int) -> None:
    """Make a whole step on a throw-away copy: imports, kernels and caches are warm before the clock runs.

    The first optimizer built in a process imports torch._dynamo, a second or two that would
    otherwise be charged to whichever comes first. Here also shows whether model and data fit.
    """
    measure_device.reset(device, config.device.threads, config.device.precision, seed)
    model = new_model(config, data, device)
    optimizer, _ = new_optimizer(config, model)
    needs = needs_of(config.optimizer, optimizer)
    inputs, targets = data.sample_batch(plan.batch_size)
    if plan.augment is not None:
        inputs = plan.augment(inputs)

    def outputs_of(inputs: Tensor) -> Tensor:
        outputs = checked_outputs(config, data.spec, model, inputs)
        if config.loss == "nll":
            check_log_probabilities(outputs)
        return outputs

    loss = checked_loss(config.loss, plan.loss)
    Update(outputs_of, trained(model), optimizer, loss, plan.autocast, plan.step, needs)(inputs, targets)


def _loss_of(plan: TrainingPlan, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with plan.autocast:
        return plan.loss(model(inputs), targets)


def _batches_of_each_size(data: Dataset, plan: TrainingPlan) -> list[tuple[Tensor, Tensor]]:
    """Return one batch of every size that training and evaluation will come upon, the commonest first."""
    part = math.ceil(plan.batch_size / plan.step.accumulate)
    last = data.size("train") % plan.batch_size
    sizes = [part, plan.batch_size // plan.step.accumulate]
    if last:
        parts = min(plan.step.accumulate, last)
        sizes += [math.ceil(last / parts), last // parts]
    sizes += [data.size(split) % part for split in ("val", "test")]
    return [data.sample_batch(size) for size in dict.fromkeys(sizes) if size]


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
