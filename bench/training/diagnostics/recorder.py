"""Records diagnostics at stops of training."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from bench.base.diagnostics import DIAGNOSTICS
from bench.training.diagnostics.base import LayerDiagnostic, Look, extents_of, flat
from bench.training.diagnostics.landscape import Landscape
from bench.training.losses import Loss


def diagnostics_named(names: Sequence[str]) -> dict[str, LayerDiagnostic]:
    """Return the diagnostics of these names, in the order of `bench.base.diagnostics.DIAGNOSTICS`."""
    found = {}
    for diagnostic in DIAGNOSTICS:
        if diagnostic.name in names:
            module, _, name = diagnostic.computed_by.rpartition(".")
            found[diagnostic.name] = getattr(importlib.import_module(module), name)()
    return found


class Recorder:
    """Takes note of the weights before a step, and of what it did after it.

    Nothing here changes the model, the optimizer or a generator.

    Args:
        names: Of diagnostics.
        every: Steps between records.
        model: That is trained.
        optimizer: That trains it.
        loss: What is minimised.
        autocast: Context of forward passes.
        clip_norm: Largest norm of the gradient, or None.
        landscape: Takes note of the path of the weights, or None.

    Attributes:
        rows: What was recorded: step, layer, name, value.
    """

    def __init__(
        self,
        names: Sequence[str],
        every: int,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Loss,
        autocast: AbstractContextManager[Any],
        clip_norm: float | None = None,
        landscape: Landscape | None = None,
    ) -> None:
        self.landscape = landscape
        self._diagnostics = diagnostics_named(names)
        self._every, self._model, self._optimizer = every, model, optimizer
        self._loss, self._autocast, self._clip_norm = loss, autocast, clip_norm
        network = getattr(model, "_orig_mod", model)
        self._parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._extents = extents_of(self._parameters)
        self._noted: list[Tensor] = []
        self.rows: list[tuple[int, str, str, float]] = []

    @property
    def num_notes(self) -> int:
        """How many steps in a row it has to take note of the weights before."""
        return 2 if any(diagnostic.looks_twice for diagnostic in self._diagnostics.values()) else 1

    def is_due(self, step: int) -> bool:
        """Tell whether something is recorded after a step."""
        return step % self._every == 0

    def note(self) -> None:
        """Take note of the weights before a step."""
        self._noted.append(flat(self._parameters.values()))

    def record(self, step: int, batch: tuple[Tensor, Tensor]) -> None:
        """Record what the last step did.

        Args:
            step: Its number.
            batch: Inputs and targets that it went by.
        """
        before, before_that = self._noted[-1], self._noted[-2] if len(self._noted) > 1 else None
        self._noted.clear()
        if self.landscape is not None:
            self.landscape.keep(step, before)
        look = Look(
            self._model, self._optimizer, self._parameters, self._extents, before, before_that, batch, self._loss, self._autocast, self._clip_norm
        )  # fmt: skip
        for name, diagnostic in self._diagnostics.items():
            for layer, value in diagnostic.values(look).items():
                if math.isfinite(value):
                    self.rows.append((step, layer, name, value))
