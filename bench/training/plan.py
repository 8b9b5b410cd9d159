"""How a run is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from bench.training.losses import Loss, cross_entropy
from bench.training.step import StepOptions


@dataclass(frozen=True)
class TrainingPlan:
    """How to train: the same for every optimizer that is compared.

    Attributes:
        num_steps: The budget, in updates.
        batch_size: Examples a step; the last batch of an epoch holds what is left.
        log_every: Steps between points of the training loss.
        eval_every: Steps between evaluations.
        loss_limit: A training loss that stays above it is a diverged run, see `bench.training.trace.Trace.record`.
        time_limit_s: Seconds of training (evaluation excluded), or None.
        order_seed: Seed of the batch order, which nothing else draws from.
        autocast: Context of every forward pass.
        loss: What is minimised.
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
    loss: Loss = cross_entropy
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
