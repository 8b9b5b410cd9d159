"""The training loop: plain torch, no Hydra, no files, no printing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.data.dataset import Dataset
from bench.measure.clock import Stopwatch
from bench.training.diagnostics import TrainingDiagnostics
from bench.training.losses import loss_function
from bench.training.schedules import Schedule
from bench.training.step import StepOptions, Update, trained


class Diverged(Exception):
    """A loss is NaN, infinite or above the limit."""


class OutOfTime(Exception):
    """Training took longer than its limit."""


class Pruned(Exception):
    """A trial is given up: others had gone further."""


@dataclass
class Trace:
    """What a run leaves behind.

    Attributes:
        points: Rows of `curves` less the run's id.
        path: Rows of `trajectories` less the run's id, of a model whose weights are a point in the plane.
        step: Updates made up to the last stop.
        num_steps: Updates made.
        num_evaluations: Times that loss and gradients of a batch were computed for them.
        train_s: Seconds of training up to there.
        first_step_s: Seconds of the first step.
        best_val_loss: The lowest validation loss, where the best weights are kept.
        best_state: Weights and buffers of the model there, on the CPU.
        steps_per_epoch: Updates that go once through the training set.
    """

    points: list[tuple[int, float, str, str, float, float]] = field(default_factory=list)
    path: list[tuple[int, float, float, float]] = field(default_factory=list)
    step: int = 0
    num_steps: int = 0
    num_evaluations: int = 0
    train_s: float = 0.0
    first_step_s: float | None = None
    best_val_loss: float = math.inf
    best_state: dict[str, Tensor] | None = None
    steps_per_epoch: int = 1

    def record(self, split: str, metric: str, value: float, plan: TrainingPlan) -> None:
        """Add a point at the last stop; a metric on request that is not finite has none.

        Raises:
            Diverged: It is a loss that is not finite, or above the limit.
        """
        if metric == "loss" and not (math.isfinite(value) and value <= plan.loss_limit):
            raise Diverged(f"{split} {metric} {value:.6g} at step {self.step} (limit {plan.loss_limit:g})")
        if math.isfinite(value):
            self.points.append((self.step, self.step / self.steps_per_epoch, split, metric, value, self.train_s))


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: the same for every optimizer that is compared.

    Attributes:
        num_steps: The budget, in updates.
        batch_size: Examples a step; the last batch of an epoch holds what is left.
        log_every: Steps between points of the training loss.
        eval_every: Steps between evaluations.
        loss_limit: A loss above it is a diverged run.
        time_limit_s: Seconds of training (evaluation excluded), or None.
        order_seed: Seed of the batch order, which nothing else draws from.
        autocast: Context of every forward pass.
        loss: A name for `loss_function`.
        step: How an update is made.
        frozen_order: Whether every epoch goes through the batches of the first.
        augment: Changes the inputs of a training batch, or None.
        keep_best: Whether to keep the weights of the lowest validation loss.
        metrics: What else is recorded at every stop: see `bench.base.metrics`.
        should_prune: Asked at evaluations before the last, with (step, validation loss), whether to stop there; None: never.
    """

    num_steps: int
    batch_size: int
    log_every: int
    eval_every: int
    loss_limit: float
    time_limit_s: float | None
    order_seed: int
    autocast: AbstractContextManager[Any]
    loss: str = "cross_entropy"
    step: StepOptions = field(default_factory=StepOptions)
    frozen_order: bool = False
    augment: Callable[[Tensor], Tensor] | None = None
    keep_best: bool = False
    metrics: tuple[str, ...] = ()
    should_prune: Callable[[int, float], bool] | None = None

    def stops(self) -> Iterator[int]:
        """Yield the steps after which training pauses to log or evaluate: the first, the last, and every few."""
        step = 1
        while step < self.num_steps:
            yield step
            step = min((step // every + 1) * every for every in (self.log_every, self.eval_every))
        yield self.num_steps


def train(
    model: nn.Module,
    optimizer: Optimizer,
    data: Dataset,
    plan: TrainingPlan,
    watch: Stopwatch,
    trace: Trace,
    tell: Callable[[int, int, float], None] = lambda step, num_steps, loss: None,
    schedule: Schedule | None = None,
    needs: frozenset[str] = frozenset(),
) -> None:
    """Train for the budget, and leave points in `trace`. The clock runs only while steps are made.

    Args:
        model: On the device of `data`, in training mode.
        optimizer: Over the parameters of `model`.
        data: Where batches come from, and what is evaluated.
        plan: How to train.
        watch: Books on its counters "train", "eval" and "log".
        trace: Where the points go, also when this raises.
        tell: Called with (step, steps in all, training loss) at every stop.
        schedule: Sets the learning rate before each step; None: it stays what it is.
        needs: What the optimizer needs beside gradients: some of `bench.training.step.NEEDS`.

    Raises:
        Diverged: A loss left the finite numbers or the limit.
        OutOfTime, Pruned: The time limit passed, or `plan.should_prune` said so.
    """
    parameters = trained(model)
    update = Update(model, parameters, optimizer, loss_function(plan.loss), plan.autocast, plan.step, needs)
    # On a GPU losses stay there until they are logged; on the CPU there is nothing to wait for.
    taken = Tensor.item if parameters[0].device.type == "cpu" else Tensor.detach
    diagnostics = TrainingDiagnostics(plan.metrics, parameters)
    trace.steps_per_epoch = data.steps_per_epoch(plan.batch_size)
    batches = data.shuffled(plan.batch_size, plan.order_seed, plan.frozen_order)

    mark: Callable[[], None] = partial(_mark, model, trace) if hasattr(model, "window") else _no_mark

    def advance(to: int) -> list[Any]:
        """Make steps, the clock running, and give their losses."""
        losses: list[Any] = []
        watch.switch("train")
        spent = watch.seconds["train"]
        deadline = math.inf if plan.time_limit_s is None else time.perf_counter() + plan.time_limit_s - spent
        try:
            for batch, wanted in islice(batches, to - trace.num_steps):
                if schedule is not None:
                    schedule.set(trace.num_steps + len(losses))
                if plan.augment is not None:
                    batch = plan.augment(batch)
                losses.append(taken(update(batch, wanted)))
                if time.perf_counter() > deadline:
                    break
        finally:
            trace.num_steps, trace.num_evaluations = trace.num_steps + len(losses), update.num_evaluations
        watch.switch("log")
        if plan.time_limit_s is not None and watch.seconds["train"] > plan.time_limit_s:
            raise OutOfTime(f"training took longer than train.time_limit_s={plan.time_limit_s:g}")
        return losses

    def evaluate_all() -> None:
        watch.switch("eval")
        with evaluation_weights(optimizer, needs):
            _evaluate_all(model, data, plan, trace, schedule)

    evaluate_all()
    mark()
    for stop in plan.stops():
        losses = advance(stop - 1) if diagnostics.look_before_step else []
        diagnostics.before_last_step()
        losses += advance(stop)
        trace.step, trace.train_s = stop, watch.seconds["train"]
        trace.first_step_s = trace.first_step_s or trace.train_s
        mean_loss = float(sum(losses)) / len(losses)
        for metric, value in {"loss": mean_loss, **diagnostics.values()}.items():
            trace.record("train", metric, value, plan)
        mark()
        tell(stop, plan.num_steps, mean_loss)
        if stop % plan.eval_every == 0 or stop == plan.num_steps:
            evaluate_all()


def _evaluate_all(model: nn.Module, data: Dataset, plan: TrainingPlan, trace: Trace, schedule: Schedule | None) -> None:
    """Evaluate, and do what goes by the validation loss: the schedule, the best weights, and giving up."""
    val_loss = math.nan
    for split in ("val", "test"):
        for metric, value in evaluate(model, data, split, plan).items():
            trace.record(split, metric, value, plan)
            if (split, metric) != ("val", "loss"):
                continue
            val_loss = value
            if schedule is not None and trace.step:
                schedule.observe(value)
            if plan.keep_best and value < trace.best_val_loss:
                trace.best_val_loss = value
                state = getattr(model, "_orig_mod", model).state_dict()  # of a compiled model, the model's own
                trace.best_state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
    if data.optimum is not None:
        trace.record("train", "gap", evaluate(model, data, "train", plan)["loss"] - data.optimum, plan)
    if plan.should_prune is not None and 0 < trace.step < plan.num_steps and plan.should_prune(trace.step, val_loss):
        raise Pruned(f"given up at step {trace.step}: above the median of the trials before it")


def _no_mark() -> None:
    """Record nothing: the weights of any other model are no point in the plane."""


def _mark(model: Any, trace: Trace) -> None:
    """Record the place of a model whose weights are a point in the plane, as long as it is finite."""
    x, y = model.point.detach().cpu()
    place = float(x), float(y), float(model.values(model.point.detach()))
    if all(map(math.isfinite, place)):
        trace.path.append((trace.step, *place))


@contextmanager
def evaluation_weights(optimizer: Optimizer, needs: frozenset[str]) -> Iterator[None]:
    """Put in the weights that an optimizer wants its model to be judged by, where it keeps others to train on."""
    if "evaluation_weights" not in needs:
        yield
        return
    optimizer.eval()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        optimizer.train()  # type: ignore[attr-defined]


@torch.no_grad()
def evaluate(
    model: nn.Module, data: Dataset, split: str, plan: TrainingPlan, change: Callable[[Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Return the mean loss and, for classes, the accuracy over a split, in evaluation mode.

    In batches of the training size, so that evaluation never sets the peak of memory.

    Args:
        model: Left in training mode.
        data: Where the split comes from.
        split: One of train, val, test.
        plan: Batch size, loss and precision.
        change: Changes the inputs of each batch before the model sees them; None: nothing does.
    """
    model.eval()
    loss_of = loss_function(plan.loss)
    has_classes = data.spec.task == "classification"
    num, num_targets = 0, 0
    loss_sum: Any = 0.0
    num_correct: Any = 0
    for batch, wanted in data.in_order(split, math.ceil(plan.batch_size / plan.step.accumulate)):
        if change is not None:
            batch = change(batch)
        with plan.autocast:
            outputs = model(batch)
            loss_sum = loss_sum + loss_of(outputs, wanted) * len(wanted)
        if has_classes:
            num_correct = num_correct + (outputs.argmax(-1) == wanted).sum()
        num, num_targets = num + len(wanted), num_targets + wanted.numel()
    model.train()
    metrics = {"loss": float(loss_sum) / num}
    if has_classes:
        metrics["accuracy"] = float(num_correct) / num_targets
    return metrics
