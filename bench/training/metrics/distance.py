"""Distance from the start."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bench.training.stop_metrics import StopMetric, norm


class Distance(StopMetric):
    """Norm of the difference between the weights and those at the start."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters)
        self._start = self.copies()

    def values(self) -> dict[str, float]:
        """Return distance."""
        return {"distance": norm([p - old for p, old in zip(self.parameters, self._start, strict=True)])}
