"""The training loop: plain torch, no Hydra, no files, no printing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from bench.data.dataset import Dataset
from bench.measure.clock import Stopwatch
from bench.training.diagnostics.recorder import Recorder
from bench.training.evaluation import evaluate
from bench.training.learner import Learner
from bench.training.plan import TrainingPlan
from bench.training.step import Update, trained
from bench.training.stop_metrics import StopMetrics
from bench.training.trace import Trace


class OutOfTime(Exception):
    """Training took longer than its limit."""


class Pruned(Exception):
    """A trial is given up: others had gone further."""


def train(
    learner: Learner,
    data: Dataset,
    plan: TrainingPlan,
    watch: Stopwatch,
    trace: Trace,
    on_progress: Callable[[int, int, float], None] = lambda step, num_steps, loss: None,
    recorder: Recorder | None = None,
) -> None:
    """Train for the budget, and leave points in `trace`. The clock runs only while steps are made.

    Args:
        learner: The model and its optimizer.
        data: Where batches come from, and what is evaluated.
        plan: How to train.
        watch: Books on its counters "train", "eval", "log" and "diagnostics".
        trace: Where the points go, also when this raises.
        on_progress: Called with (step, steps in all, training loss) at every stop.
        recorder: Looks at the last step before a stop; None: nobody does.

    Raises:
        Diverged: A loss left the finite numbers or the limit.
        OutOfTime, Pruned: The time limit passed, or `plan.should_prune` said so.
    """
    trace.steps_per_epoch = data.steps_per_epoch(plan.batch_size)
    steps = _Steps(learner, data, plan, watch, trace)
    metrics = StopMetrics(plan.metrics, trained(learner.model))
    _evaluate_all(learner, data, plan, watch, trace)
    _record_point(learner.model, trace)
    for stop in plan.stops():
        losses: list[float] = []
        is_due = recorder is not None and recorder.is_due(stop)
        if recorder is not None and is_due:
            for back in range(recorder.num_notes, 0, -1):
                if stop - back >= trace.num_steps:
                    losses += steps.advance(stop - back)
                    watch.switch("diagnostics")
                    recorder.note()
        if metrics.look_before_step:
            losses += steps.advance(stop - 1)
        metrics.before_last_step()
        losses += steps.advance(stop)
        trace.step, trace.train_s = stop, watch.seconds["train"]
        trace.first_step_s = trace.first_step_s or trace.train_s
        mean_loss = sum(losses) / len(losses)
        for metric, value in {"loss": mean_loss, **metrics.values()}.items():
            trace.record("train", metric, value, plan)
        _record_point(learner.model, trace)
        if recorder is not None and is_due:
            watch.switch("diagnostics")
            recorder.record(stop, steps.last_batch)
            watch.switch("log")
        on_progress(stop, plan.num_steps, mean_loss)
        if stop % plan.eval_every == 0 or stop == plan.num_steps:
            _evaluate_all(learner, data, plan, watch, trace)


class _Steps:
    """The steps of a run, made a few at a time; the clock runs only meanwhile."""

    def __init__(self, learner: Learner, data: Dataset, plan: TrainingPlan, watch: Stopwatch, trace: Trace) -> None:
        self._plan, self._watch, self._trace, self._schedule = plan, watch, trace, learner.schedule
        parameters = trained(learner.model)
        self._update = Update(
            learner.model, parameters, learner.optimizer, plan.loss, plan.autocast, plan.step, learner.needs
        )
        # On a GPU losses stay there until they are logged; on the CPU there is nothing to wait for.
        self._on_cpu = parameters[0].device.type == "cpu"
        self._taken: Callable[[Tensor], Any] = Tensor.item if self._on_cpu else Tensor.detach
        self.last_batch: tuple[Tensor, Tensor]
        """What the last step went by."""
        self._batches = data.shuffled(plan.batch_size, plan.order_seed, plan.frozen_order)

    def advance(self, to: int) -> list[float]:
        """Make the steps up to number `to`, and return their losses.

        Raises:
            OutOfTime: Training took longer than its limit.
        """
        plan, watch, trace, schedule = self._plan, self._watch, self._trace, self._schedule
        update, taken = self._update, self._taken
        losses: list[Any] = []
        watch.switch("train")
        spent = watch.seconds["train"]
        deadline = math.inf if plan.time_limit_s is None else time.perf_counter() + plan.time_limit_s - spent
        try:
            for batch, wanted in islice(self._batches, to - trace.num_steps):
                if schedule is not None:
                    schedule.set(trace.num_steps + len(losses))
                if plan.augment is not None:
                    batch = plan.augment(batch)
                losses.append(taken(update(batch, wanted)))
                if time.perf_counter() > deadline:
                    break
            if losses:
                self.last_batch = batch, wanted
        finally:
            trace.num_steps, trace.num_evaluations = trace.num_steps + len(losses), update.num_evaluations
        watch.switch("log")
        if plan.time_limit_s is not None and watch.seconds["train"] > plan.time_limit_s:
            raise OutOfTime(f"training took longer than train.time_limit_s={plan.time_limit_s:g}")
        return losses if self._on_cpu or not losses else torch.stack(losses).tolist()


def _evaluate_all(learner: Learner, data: Dataset, plan: TrainingPlan, watch: Stopwatch, trace: Trace) -> None:
    """Evaluate, and do what goes by the validation loss: the schedule, the best weights, and pruning."""
    watch.switch("eval")
    model, val_loss = learner.model, math.nan
    if "closure" in learner.needs:  # of others, gradients computed are steps
        trace.record("train", "gradients", trace.num_evaluations, plan)
    with learner.evaluation_weights():
        for split in ("val", "test"):
            for metric, value in evaluate(model, data, split, plan).items():
                trace.record(split, metric, value, plan)
                if (split, metric) == ("val", "loss"):
                    val_loss = value
                    if learner.schedule is not None and trace.step:
                        learner.schedule.observe(value)
                    if plan.keep_best:
                        trace.keep_if_best(value, model)
        if data.optimum is not None:
            trace.record("train", "gap", evaluate(model, data, "train", plan)["loss"] - data.optimum, plan)
    if plan.should_prune is not None and 0 < trace.step < plan.num_steps and plan.should_prune(trace.step, val_loss):
        raise Pruned(f"given up at step {trace.step}: above the median of the trials before it")


def _record_point(model: Any, trace: Trace) -> None:
    """Record the place of a model whose weights are a point in the plane, as long as it is finite."""
    if not hasattr(model, "window"):
        return
    x, y = model.point.detach().cpu()
    place = float(x), float(y), float(model.values(model.point.detach()))
    if all(map(math.isfinite, place)):
        trace.path.append((trace.step, *place))
