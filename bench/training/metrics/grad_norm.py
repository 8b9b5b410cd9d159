"""Norm of the gradients."""

from __future__ import annotations

from bench.training.stop_metrics import StopMetric, norm


class GradNorm(StopMetric):
    """Euclidean norm of the gradients that the last step used, after clipping."""

    def values(self) -> dict[str, float]:
        """Return grad_norm."""
        return {"grad_norm": norm([p.grad for p in self.parameters if p.grad is not None])}
