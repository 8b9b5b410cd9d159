"""Norms of the gradients of the first and of the last layer."""

from __future__ import annotations

from bench.training.stop_metrics import StopMetric, norm


class LayerGradNorm(StopMetric):
    """Norm of the gradient of the first and of the last parameter with two dimensions or more.

    These are weights, in the order in which the model holds them; no biases and no norms. A model with fewer than two
    has neither value.
    """

    def values(self) -> dict[str, float]:
        """Return grad_norm_first and grad_norm_last, each where that parameter has a gradient."""
        weights = [p for p in self.parameters if p.ndim >= 2]
        ends = {"grad_norm_first": weights[0], "grad_norm_last": weights[-1]} if len(weights) > 1 else {}
        return {name: norm([p.grad]) for name, p in ends.items() if p.grad is not None}
