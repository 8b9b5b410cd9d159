"""The training loop: plain torch, no Hydra, no files, no printing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from bench.clock import Stopwatch
from bench.data import Dataset
from bench.schedules import Schedule


class Diverged(Exception):
    """A loss is NaN, infinite or above the limit."""


class OutOfTime(Exception):
    """Training took longer than its limit."""


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "mse": functional.mse_loss,
}


@dataclass
class Trace:
    """What a run leaves behind.

    Attributes:
        points: Rows of `curves` less the run's id.
        step: Updates made up to the last stop.
        num_steps: Updates made.
        train_s: Seconds of training up to there.
        first_step_s: Seconds of the first step.
    """

    points: list[tuple[int, float, str, str, float, float]] = field(default_factory=list)
    step: int = 0
    num_steps: int = 0
    train_s: float = 0.0
    first_step_s: float | None = None


@dataclass(frozen=True)
class Plan:
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
    """

    num_steps: int
    batch_size: int
    log_every: int
    eval_every: int
    loss_limit: float
    time_limit_s: float | None
    order_seed: int
    autocast: AbstractContextManager[Any]

    def stops(self) -> Iterator[int]:
        """The steps after which training pauses to log or evaluate: the first, the last, and every few."""
        step = 1
        while step < self.num_steps:
            yield step
            step = min((step // every + 1) * every for every in (self.log_every, self.eval_every))
        yield self.num_steps


def train(
    model: nn.Module,
    optimizer: Optimizer,
    data: Dataset,
    plan: Plan,
    watch: Stopwatch,
    trace: Trace,
    tell: Callable[[int, int, float], None] = lambda step, num_steps, loss: None,
    schedule: Schedule | None = None,
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

    Raises:
        Diverged: A loss left the finite numbers or the limit.
        OutOfTime: The time limit passed.
    """
    loss_of = LOSSES[data.spec.loss]
    inputs, targets = data.splits["train"]
    # On a GPU losses stay there until they are logged; on the CPU there is nothing to wait for.
    taken = Tensor.item if inputs.device.type == "cpu" else Tensor.detach
    steps_per_epoch = math.ceil(len(inputs) / plan.batch_size)
    batches = shuffled(inputs, targets, plan.batch_size, plan.order_seed)

    def record(split: str, metric: str, value: float) -> None:
        if metric == "loss" and not value <= plan.loss_limit:
            raise Diverged(f"{split} {metric} {value:.6g} at step {trace.step} (limit {plan.loss_limit:g})")
        trace.points.append((trace.step, trace.step / steps_per_epoch, split, metric, value, trace.train_s))

    def evaluate_all() -> None:
        watch.switch("eval")
        for split in ("val", "test"):
            for metric, value in evaluate(model, *data.splits[split], loss_of, plan).items():
                record(split, metric, value)
                if schedule is not None and (split, metric) == ("val", "loss") and trace.step:
                    schedule.observe(value)

    evaluate_all()
    for stop in plan.stops():
        losses: list[Any] = []
        watch.switch("train")
        spent = watch.seconds["train"]
        deadline = math.inf if plan.time_limit_s is None else time.perf_counter() + plan.time_limit_s - spent
        try:
            for batch, wanted in islice(batches, stop - trace.step):
                if schedule is not None:
                    schedule.set(trace.step + len(losses))
                optimizer.zero_grad()
                with plan.autocast:
                    loss = loss_of(model(batch), wanted)
                loss.backward()
                optimizer.step()
                losses.append(taken(loss))
                if time.perf_counter() > deadline:
                    break
        finally:
            trace.num_steps = trace.step + len(losses)
        watch.switch("log")
        if plan.time_limit_s is not None and watch.seconds["train"] > plan.time_limit_s:
            raise OutOfTime(f"training took longer than train.time_limit_s={plan.time_limit_s:g}")
        trace.step, trace.train_s = stop, watch.seconds["train"]
        if trace.first_step_s is None:
            trace.first_step_s = trace.train_s
        mean_loss = float(sum(losses)) / len(losses)
        record("train", "loss", mean_loss)
        tell(stop, plan.num_steps, mean_loss)
        if stop % plan.eval_every == 0 or stop == plan.num_steps:
            evaluate_all()


def shuffled(inputs: Tensor, targets: Tensor, batch_size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches without end, each epoch in a new order, gathered on the device of the data."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for chosen in order.split(batch_size):
            yield inputs[chosen], targets[chosen]


@torch.no_grad()
def evaluate(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss_of: Callable[[Tensor, Tensor], Tensor], plan: Plan
) -> dict[str, float]:
    """Mean loss and, for classes, accuracy over a split, in evaluation mode.

    In batches of the training size, so that evaluation never sets the peak of memory.
    """
    model.eval()
    loss_sum = torch.zeros((), device=inputs.device)
    num_correct = torch.zeros((), device=inputs.device, dtype=torch.long)
    for batch, wanted in zip(inputs.split(plan.batch_size), targets.split(plan.batch_size), strict=True):
        with plan.autocast:
            outputs = model(batch.clone())  # a model may change its input in place
            loss_sum += loss_of(outputs, wanted) * len(batch)
        if wanted.ndim == 1:
            num_correct += (outputs.argmax(1) == wanted).sum()
    model.train()
    metrics = {"loss": loss_sum.item() / len(inputs)}
    if targets.ndim == 1:
        metrics["accuracy"] = num_correct.item() / len(inputs)
    return metrics
