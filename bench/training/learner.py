"""A model and what changes its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from bench.training.schedules import Schedule


@dataclass(frozen=True)
class Learner:
    """A model with its optimizer.

    Attributes:
        model: On the device of the data, in training mode.
        optimizer: Over the parameters of `model`.
        needs: What the optimizer needs beside gradients: some of `bench.training.step.NEEDS`.
        schedule: Sets the learning rate before each step; None: it stays what it is.
    """

    model: nn.Module
    optimizer: Optimizer
    needs: frozenset[str] = frozenset()
    schedule: Schedule | None = None

    @contextmanager
    def evaluation_weights(self) -> Iterator[None]:
        """Put in the weights that the optimizer wants its model to be judged by, where it keeps others to train on."""
        if "evaluation_weights" not in self.needs:
            yield
            return
        self.optimizer.eval()  # type: ignore[attr-defined]
        try:
            yield
        finally:
            self.optimizer.train()  # type: ignore[attr-defined]
