"""Metrics on request: what is looked at beside the loss, at the stops of training and outside its clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

LATENCY_REPEATS = 30


class TrainingDiagnostics:
    """Norms of gradients and weights at a stop.

    - grad_norm: Euclidean norm of the gradients that the last step used, after clipping.
    - layer_grad_norm: that of the first and of the last parameter with two dimensions or more (weights; no
      biases, no norms), as grad_norm_first and grad_norm_last, in the order in which the model holds them. A
      model with fewer than two such parameters has neither.
    - update_ratio: norm of what the last step changed, over the norm of the weights before it.
    - distance: norm of the difference between the weights and those at the start.

    Args:
        names: Which of the four; others are of no account.
        parameters: What is trained, at the start.
    """

    def __init__(self, names: Sequence[str], parameters: Iterable[nn.Parameter]) -> None:
        self._names = names
        self._parameters = list(parameters)
        self._start = self._copy() if "distance" in names else []
        self._before: list[Tensor] = []

    def before_last_step(self) -> None:
        """Take note of the weights before the step that ends at a stop."""
        if "update_ratio" in self._names:
            self._before = self._copy()

    def values(self) -> dict[str, float]:
        """The metrics, now."""
        if not self._names:
            return {}
        with torch.no_grad():
            return self._values()

    def _values(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if "grad_norm" in self._names:
            found["grad_norm"] = _norm([p.grad for p in self._parameters if p.grad is not None])
        if "layer_grad_norm" in self._names:
            weights = [p for p in self._parameters if p.ndim >= 2]
            ends = {"grad_norm_first": weights[0], "grad_norm_last": weights[-1]} if len(weights) > 1 else {}
            found |= {metric: _norm([p.grad]) for metric, p in ends.items() if p.grad is not None}
        if "update_ratio" in self._names:
            change = _norm([p - old for p, old in zip(self._parameters, self._before, strict=True)])
            before = _norm(self._before)
            if before > 0:
                found["update_ratio"] = change / before
        if "distance" in self._names:
            found["distance"] = _norm([p - old for p, old in zip(self._parameters, self._start, strict=True)])
        return found

    def _copy(self) -> list[Tensor]:
        return [p.detach().clone() for p in self._parameters]


def _norm(tensors: Sequence[Tensor]) -> float:
    if not tensors:
        return 0.0
    return float(torch.stack([tensor.float().norm() for tensor in tensors]).norm())


@torch.no_grad()
def latency_ms(
    model: nn.Module, inputs: Tensor, autocast: AbstractContextManager[Any], synchronize: Callable[[], None]
) -> float:
    """Milliseconds of a forward pass in evaluation mode: the median of 30, after 5 that do not count.

    Args:
        model: Left in training mode.
        inputs: (N, ...).
        autocast: Context of the forward pass.
        synchronize: Returns once the device has finished.
    """
    model.eval()
    seconds = []
    for _ in range(5 + LATENCY_REPEATS):
        batch = inputs.clone()  # a model may change its input in place
        synchronize()
        started = time.perf_counter()
        with autocast:
            model(batch)
        synchronize()
        seconds.append(time.perf_counter() - started)
    model.train()
    return 1e3 * statistics.median(seconds[5:])
