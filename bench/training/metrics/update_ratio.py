"""Size of the last update beside the weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bench.training.stop_metrics import StopMetric, norm


class UpdateRatio(StopMetric):
    """Norm of what the last step changed, over the norm of the weights before it; none where these are all 0."""

    looks_before_step = True

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__(parameters)
        self._before: list[Tensor] = []

    def before_last_step(self) -> None:
        """Take note of the weights before the step that ends at a stop."""
        self._before = self.copies()

    def values(self) -> dict[str, float]:
        """Return update_ratio."""
        change = norm([p - old for p, old in zip(self.parameters, self._before, strict=True)])
        before = norm(self._before)
        return {"update_ratio": change / before} if before > 0 else {}
