"""What a diagnostic sees of a step, and what it returns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer

from bench.training.losses import Loss

WHOLE = ""
"""Name of the layer that is the whole model."""


@dataclass(slots=True)
class Sums:
    """Sums over the parameters of a layer, of one step.

    Attributes:
        weights: Of squares of the weights before the step.
        gradients: Of squares of the gradient.
        updates: Of squares of what the step changed.
        downhill: Of products of update and gradient.
        along: Of products of this update and that of the step before; NaN where that was not looked at.
        updates_before: Of squares of the update of the step before; likewise.
        num_graded: Parameters whose gradient is not 0.
        num_unchanged: Those of them that the step left as they were.
    """

    weights: float
    gradients: float
    updates: float
    downhill: float
    along: float
    updates_before: float
    num_graded: float
    num_unchanged: float


@dataclass(frozen=True, eq=False)
class Look:
    """A step that has just been made.

    Attributes:
        model: With the weights after it, in training mode.
        optimizer: That made it.
        parameters: What is trained, by name.
        extents: Where the parameters of each layer lie in a vector of all.
        weights_before: Their values before the step, as a vector.
        weights_before_that: Those before the step before; None where nobody took note of them.
        batch: Inputs and targets.
        loss: What is minimised.
        autocast: Context of forward passes.
        clip_norm: Largest norm of the gradient, or None.
    """

    model: nn.Module
    optimizer: Optimizer
    parameters: Mapping[str, nn.Parameter]
    extents: Mapping[str, slice]
    weights_before: Tensor
    weights_before_that: Tensor | None
    batch: tuple[Tensor, Tensor]
    loss: Loss
    autocast: AbstractContextManager[Any]
    clip_norm: float | None

    @property
    def before(self) -> list[Tensor]:
        """The weights before the step, in the order of `parameters`."""
        return parts(self.weights_before, list(self.parameters.values()))

    @cached_property
    def layers(self) -> dict[str, Sums]:
        """Sums for the whole model, and for each layer, that is module with parameters of its own, by its path."""
        gradients = [torch.zeros_like(p) if p.grad is None else dense(p.grad) for p in self.parameters.values()]
        vectors = (flat(self.parameters.values()), self.weights_before, flat(gradients))
        after, before, gradient = map(_as_array, vectors)
        on_cpu = isinstance(after, np.ndarray)
        dot, count = (np.dot, np.count_nonzero) if on_cpu else (torch.dot, torch.count_nonzero)
        found: list[Any] = []
        with np.errstate(over="ignore", invalid="ignore"):  # of a run that diverges
            update = after - before
            earlier = self.weights_before_that
            previous = update * math.nan if earlier is None else before - _as_array(earlier)
            has_gradient = gradient != 0
            unchanged = has_gradient & (update == 0)
            for at in self.extents.values():
                w, g, u, v = before[at], gradient[at], update[at], previous[at]
                found += dot(w, w), dot(g, g), dot(u, u), dot(u, g), dot(u, v), dot(v, v)
                found += count(has_gradient[at]), count(unchanged[at])
        numbers = list(map(float, found)) if on_cpu else torch.stack([each.double() for each in found]).tolist()
        rows = [numbers[i : i + 8] for i in range(0, len(numbers), 8)]
        whole = Sums(*map(sum, zip(*rows, strict=True)))
        return {WHOLE: whole, **{layer: Sums(*row) for layer, row in zip(self.extents, rows, strict=True)}}

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


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return tensors as one new vector, one after the other."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def parts(vector: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a vector that `flat` made, in the shapes, types and places of these tensors."""
    split = vector.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape).to(tensor) for part, tensor in zip(split, like, strict=True)]


def extents_of(parameters: Mapping[str, Tensor]) -> dict[str, slice]:
    """Return where the parameters of each layer lie in the vector of all.

    >>> sizes = {"layers.1.weight": 6, "layers.1.bias": 2, "w": 1}
    >>> extents_of({name: torch.zeros(size) for name, size in sizes.items()})
    {'layers.1': slice(0, 8, None), 'w': slice(8, 9, None)}
    """
    found: dict[str, slice] = {}
    end = 0
    for name, parameter in parameters.items():
        start, end = end, end + parameter.numel()
        layer = layer_of(name)
        found[layer] = slice(found[layer].start if layer in found else start, end)
    return found


def _as_array(vector: Tensor) -> Any:
    """Return a vector in single or double precision: on the CPU as one of NumPy, whose calls cost a fraction of torch's."""
    if vector.dtype not in (torch.float32, torch.float64):
        vector = vector.float()
    return vector.numpy() if vector.device.type == "cpu" else vector


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
