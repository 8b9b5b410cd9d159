"""Gradient noise scale: the batch size at which noise and signal of the gradient are alike.

tr(Sigma) / |G|^2, with G the true gradient and Sigma the covariance of that of one example. From the gradients of equal parts of
the batch, of b examples each, and of the whole batch of B:

    |G|^2 is estimated by (B |g_B|^2 - b mean |g_b|^2) / (B - b),
    tr(Sigma) by (mean |g_b|^2 - |g_B|^2) / (1 / b - 1 / B),

both without bias (McCandlish et al. 2018, appendix A.1). The ratio of the two is noisy on one batch: take its median over many
steps. Where the estimate of |G|^2 is not positive there is none. Costs a forward and backward pass in parts.

References:
    McCandlish, Kaplan, Amodei and the OpenAI Dota team, "An empirical model of large-batch training", 2018, arXiv:1812.06162.
"""

from __future__ import annotations

import torch

from bench.training.diagnostics.base import WHOLE, LayerDiagnostic, Look

MOST_PARTS = 8


class NoiseScale(LayerDiagnostic):
    """Trace of the gradient's covariance over the square of its norm, in examples."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for the whole model; nothing where the batch is too small, or noise hides the gradient."""
        inputs, targets = look.batch
        num_parts = min(MOST_PARTS, len(inputs) // 2)
        if num_parts < 2:
            return {}
        size = len(inputs) // num_parts
        parts = [(inputs[i * size : (i + 1) * size], targets[i * size : (i + 1) * size]) for i in range(num_parts)]
        weights = [p.detach() for p in look.parameters.values()]
        flat = torch.stack(
            [torch.cat([g.flatten().double() for g in look.gradient_at(weights, part)[1]]) for part in parts]
        )
        signal, noise = noise_and_signal(flat, size)
        return {WHOLE: noise / signal} if signal > 0 and noise >= 0 else {}


def noise_and_signal(gradients: torch.Tensor, size: int) -> tuple[float, float]:
    """Return unbiased estimates of |G|^2 and of tr(Sigma).

    Args:
        gradients: Of the parts of a batch, (parts, parameters).
        size: Examples of a part.
    """
    whole = size * len(gradients)
    small = float(gradients.square().sum(1).mean())
    big = float(gradients.mean(0).square().sum())
    return (whole * big - size * small) / (whole - size), (small - big) / (1 / size - 1 / whole)
