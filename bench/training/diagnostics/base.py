"""What a diagnostic sees of a step, and what it returns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from bench.training.losses import Loss

WHOLE = ""
"""Name of the layer that is the whole model."""


@dataclass
class Sums:
    """Sums over the parameters of a layer, of one step.

    Attributes:
        weights: Of squares of the weights before the step.
        gradients: Of squares of the gradient.
        updates: Of squares of what the step changed.
        downhill: Of products of update and gradient.
        along: Of products of this update and that of the step before; NaN where that was not looked at.
        updates_before: Of squares of the update of the step before; likewise.
        num_graded: Parameters whose gradient is not 0; all of them where each has changed.
        num_unchanged: Those of them that the step left as they were.
    """

    weights: float = 0.0
    gradients: float = 0.0
    updates: float = 0.0
    downhill: float = 0.0
    along: float = 0.0
    updates_before: float = 0.0
    num_graded: float = 0.0
    num_unchanged: float = 0.0

    def add(self, numbers: Sequence[float]) -> None:
        """Add the sums over further parameters, in the order of the attributes."""
        for name, number in zip(self.__dataclass_fields__, numbers, strict=True):
            setattr(self, name, getattr(self, name) + number)


@dataclass(frozen=True, eq=False)
class Look:
    """A step that has just been made.

    Attributes:
        model: With the weights after it, in training mode.
        optimizer: That made it.
        parameters: What is trained, by name.
        before: Its values before the step, in the same order.
        before_that: Those before the step before; None where nobody took note of them.
        batch: Inputs and targets.
        loss: What is minimised.
        autocast: Context of forward passes.
        clip_norm: Largest norm of the gradient, or None.
    """

    model: nn.Module
    optimizer: Optimizer
    parameters: Mapping[str, nn.Parameter]
    before: Sequence[Tensor]
    before_that: Sequence[Tensor] | None
    batch: tuple[Tensor, Tensor]
    loss: Loss
    autocast: AbstractContextManager[Any]
    clip_norm: float | None

    @cached_property
    def layers(self) -> dict[str, Sums]:
        """Sums for each layer, that is module with parameters of its own, by its path; and for the whole model."""
        found: dict[str, Sums] = {}
        whole = Sums()
        for name, numbers in zip(self.parameters, self._sums(), strict=True):
            found.setdefault(layer_of(name), Sums()).add(numbers)
            whole.add(numbers)
        return {WHOLE: whole, **found}

    @torch.no_grad()
    def _sums(self) -> list[list[float]]:
        """Return the sums of each parameter, in the order of `Sums`."""
        after = [p.detach() for p in self.parameters.values()]
        gradients = [
            torch.zeros_like(p) if p.grad is None else dense(p.grad.detach()) for p in self.parameters.values()
        ]
        updates = torch._foreach_sub(after, list(self.before))
        norms = [
            *torch._foreach_norm(list(self.before)),
            *torch._foreach_norm(gradients),
            *torch._foreach_norm(updates),
        ]
        products = _products(updates, gradients)
        if self.before_that is not None:
            previous = torch._foreach_sub(list(self.before), list(self.before_that))
            norms += torch._foreach_norm(previous)
            products += _products(updates, previous)
        # a gradient or update that is 0 somewhere is rare: only then are the places counted
        kept = [torch.count_nonzero(u) for u in updates]
        flat = torch.stack([*norms, *products, *kept]).double().tolist()
        num = len(after)
        columns = [flat[i * num : (i + 1) * num] for i in range(len(flat) // num)]
        weights, graded, updated = ([value * value for value in column] for column in columns[:3])
        if self.before_that is None:
            downhill, changed = columns[3:]
            along = squares = [math.nan] * num
        else:
            squares, (downhill, along, changed) = [value * value for value in columns[3]], columns[4:]
        unchanged = [
            (p.numel(), 0)
            if count == p.numel()
            else (torch.count_nonzero(g).item(), torch.count_nonzero(g * (u == 0)).item())
            for p, count, g, u in zip(after, changed, gradients, updates, strict=True)
        ]
        rows = zip(weights, graded, updated, downhill, along, squares, *zip(*unchanged, strict=True), strict=True)
        return [list(row) for row in rows]

    def values(self, of: Callable[[Sums], float]) -> dict[str, float]:
        """Return a number for each layer."""
        return {layer: of(sums) for layer, sums in self.layers.items()}

    def loss_at(self, weights: Sequence[Tensor], batch: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the loss of a batch at given weights, the same random numbers each time; the model and generators stay as they are.

        Args:
            weights: In the order of `parameters`.
            batch: Inputs and targets; None: that of the step.
        """
        network = getattr(self.model, "_orig_mod", self.model)
        state = dict(zip(self.parameters, weights, strict=True))
        return loss_at(network, state, self.batch if batch is None else batch, self.loss, self.autocast)

    def watched_pass(self, hook_of: Callable[[str], Callable[..., None]]) -> None:
        """Make a forward pass of the batch of the step, and call a hook after each module with parameters of its own.

        Args:
            hook_of: Gives the forward hook of a module by its path; of the model itself the path is "model".
        """
        network = getattr(self.model, "_orig_mod", self.model)
        handles = [
            module.register_forward_hook(hook_of(name or "model"))
            for name, module in network.named_modules()
            if any(True for _ in module.parameters(recurse=False))
        ]
        try:
            with torch.no_grad():
                self.loss_at([p.detach() for p in self.parameters.values()])
        finally:
            for handle in handles:
                handle.remove()

    def gradient_at(
        self, weights: Sequence[Tensor], batch: tuple[Tensor, Tensor] | None = None
    ) -> tuple[float, tuple[Tensor, ...]]:
        """Return the loss of a batch at given weights, and its gradient."""
        with torch.enable_grad():
            leaves = [weight.detach().requires_grad_() for weight in weights]
            loss = self.loss_at(leaves, batch)
            found = torch.autograd.grad(loss, leaves, allow_unused=True)
        return loss.item(), tuple(torch.zeros_like(w) if g is None else g for g, w in zip(found, leaves, strict=True))


def loss_at(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    batch: tuple[Tensor, Tensor],
    loss: Loss,
    autocast: AbstractContextManager[Any],
) -> Tensor:
    """Return the loss of a batch at given weights, the same random numbers each time; the network and generators stay as they are.

    Args:
        network: Not compiled, in the mode wanted.
        weights: Of its trained parameters, by name.
        batch: Inputs and targets.
        loss: What is minimised.
        autocast: Context of forward passes.
    """
    inputs, targets = batch
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    devices = [inputs.device] if inputs.device.type == "cuda" else []
    with torch.random.fork_rng(devices), autocast:
        return loss(functional_call(network, {**weights, **buffers}, (inputs,)), targets)


def layer_of(parameter: str) -> str:
    """Return the path of the module that a parameter belongs to; its own name where that is the model.

    >>> layer_of("layers.1.weight"), layer_of("w")
    ('layers.1', 'w')
    """
    return parameter.rpartition(".")[0] or parameter


def dense(gradient: Tensor) -> Tensor:
    """Return a gradient as a dense tensor."""
    return gradient.to_dense() if gradient.is_sparse else gradient


def _products(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    return [torch.dot(x.reshape(-1), y.reshape(-1).to(x.dtype)) for x, y in zip(a, b, strict=True)]


def ratio(a: float, b: float) -> float:
    """Return a / b, NaN where b is 0."""
    return a / b if b else math.nan


class LayerDiagnostic(ABC):
    """A number for each layer, taken right after a step."""

    looks_twice = False
    """Whether it needs the weights before the step before, too."""

    @abstractmethod
    def values(self, look: Look) -> dict[str, float]:
        """Return the numbers by layer, `WHOLE` for the whole model; those that are not finite are left out of the table."""
