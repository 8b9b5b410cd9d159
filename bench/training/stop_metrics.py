"""Metrics on request that are looked at beside the loss, at the stops of training and outside its clock."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.base.metrics import METRICS


class StopMetric(ABC):
    """A metric of the weights and gradients at a stop of training.

    Args:
        parameters: What is trained, at the start.
    """

    looks_before_step = False
    """Whether `before_last_step` is to be called. Training then pauses once more before each stop."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters

    def before_last_step(self) -> None:  # noqa: B027
        """Take note of the weights before the step that ends at a stop."""

    @abstractmethod
    def values(self) -> dict[str, float]:
        """Return the values of the metric's curves now, by their names; without gradients being tracked."""

    def copies(self) -> list[Tensor]:
        """Return copies of the parameters as they are now."""
        return [p.detach().clone() for p in self.parameters]


class StopMetrics:
    """The metrics of a run that are looked at at its stops.

    Args:
        names: Names of metrics; those that are no `StopMetric` are left out.
        parameters: What is trained, at the start.
    """

    def __init__(self, names: Sequence[str], parameters: Iterable[nn.Parameter]) -> None:
        trained = list(parameters)
        kinds = [kind for kind in metric_classes(names) if issubclass(kind, StopMetric)]
        self._metrics: list[StopMetric] = [kind(trained) for kind in kinds]
        self.look_before_step = any(metric.looks_before_step for metric in self._metrics)

    def before_last_step(self) -> None:
        """Take note of the weights before the step that ends at a stop."""
        for metric in self._metrics:
            if metric.looks_before_step:
                metric.before_last_step()

    def values(self) -> dict[str, float]:
        """Return the values now, by the names of their curves."""
        found: dict[str, float] = {}
        with torch.no_grad():
            for metric in self._metrics:
                found |= metric.values()
        return found


def metric_classes(names: Sequence[str]) -> list[type[Any]]:
    """Return the classes that compute these metrics, in the order of `bench.base.metrics.METRICS`, then a person's own.

    Args:
        names: Of `METRICS`, or dotted paths of classes.
    """
    known = {metric.name: metric.computed_by for metric in METRICS}
    paths = [path for name, path in known.items() if name in names] + [name for name in names if name not in known]
    parts = [path.rpartition(".") for path in paths]
    return [getattr(importlib.import_module(module), name) for module, _, name in parts]


def norm(tensors: Sequence[Tensor]) -> float:
    """Return the Euclidean norm of all numbers in these tensors together, computed in float32; 0 where there are none."""
    if not tensors:
        return 0.0
    return float(torch.stack([tensor.float().norm() for tensor in tensors]).norm())
