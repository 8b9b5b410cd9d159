"""Make training steps to be timed, phase by phase."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.step_cost.interleave import MAX_TIMER_SHARE, Arm, time_block, timer_cost

Marks = list[tuple[Any, ...]]
"""Times, or events of a GPU, between the phases of training steps."""


class TrainingSteps:
    """Whole training steps of a model, with any of its optimizers.

    Args:
        model: The model, on the device.
        loss_of: Loss from outputs and targets.
        batches: Endless training batches of one size.
        autocast: Context of every forward pass.
        device: Where steps are made.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_of: Callable[[Tensor, Tensor], Tensor],
        batches: Iterator[tuple[Tensor, Tensor]],
        autocast: AbstractContextManager[Any],
        device: torch.device,
    ) -> None:
        self._model, self._loss_of, self._batches = model, loss_of, batches
        self._autocast = autocast
        self._now: Callable[[], Any] = _event if device.type == "cuda" else time.perf_counter
        seconds = min(time_block(lambda: self._gradients(model.zero_grad), 1, device)[0] for _ in range(3))
        self._every = math.ceil(6 * timer_cost() / (MAX_TIMER_SHARE / 2 * seconds))

    def arm(self, optimizer: Optimizer, marks: Marks, restore: Callable[[], None]) -> Arm:
        """Return training steps with one optimizer as an arm; the clock is read between the phases of every n-th step.

        Args:
            optimizer: Makes the steps.
            marks: Takes the times of each marked step.
            restore: Called before each block.
        """
        count = itertools.count()

        def once() -> None:
            if next(count) % self._every:
                self._step(optimizer)
            else:
                marks.append(self._marked_step(optimizer))

        return Arm(restore, once, reads=6 / self._every)

    def _gradients(self, zero_grad: Callable[[], None]) -> None:
        batch, wanted = next(self._batches)
        zero_grad()
        with self._autocast:
            loss = self._loss_of(self._model(batch), wanted)
        loss.backward()

    def _step(self, optimizer: Optimizer) -> None:
        self._gradients(optimizer.zero_grad)
        optimizer.step()

    def _marked_step(self, optimizer: Optimizer) -> tuple[Any, ...]:
        """Make a step; return when it began and when each phase ended."""
        now = self._now
        began = now()
        batch, wanted = next(self._batches)
        data = now()
        optimizer.zero_grad()
        zero_grad = now()
        with self._autocast:
            loss = self._loss_of(self._model(batch), wanted)
        forward = now()
        loss.backward()
        backward = now()
        optimizer.step()
        return began, data, zero_grad, forward, backward, now()


def _event() -> Any:
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def median_between(marked: Marks, index: int) -> float:
    """Return the median seconds between a mark and the next."""
    spans = ((marks[index], marks[index + 1]) for marks in marked)
    if isinstance(marked[0][0], float):
        return float(median(end - start for start, end in spans))
    return float(median(start.elapsed_time(end) / 1e3 for start, end in spans))
