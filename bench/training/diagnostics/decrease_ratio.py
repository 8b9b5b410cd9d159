"""Actual over predicted decrease of the batch's loss, the ratio of trust-region methods.

(L(w + u) - L(w)) / (g . u) on the batch of the step, with g its gradient at w: 1 where the loss is linear along the step, 1/2
where the step leads to the minimum of a parabola, 0 where it leads to the other side at the same height, below 0 where it
overshoots. Costs a forward pass, and a forward and backward pass.

References:
    Nocedal and Wright, Numerical Optimization, 2nd edition, 2006, chapter 4.
"""

from __future__ import annotations

import torch

from bench.training.diagnostics.base import WHOLE, LayerDiagnostic, Look, ratio


class DecreaseRatio(LayerDiagnostic):
    """Actual over predicted decrease of the batch's loss."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for the whole model."""
        after = [p.detach() for p in look.parameters.values()]
        before = look.before
        loss, gradient = look.gradient_at(before)
        with torch.no_grad():
            change = float(look.loss_at(after)) - loss
            parts = zip(after, before, gradient, strict=True)
            predicted = sum(float(((a - b).double() * g.double()).sum()) for a, b, g in parts)
        return {WHOLE: ratio(change, predicted)}
