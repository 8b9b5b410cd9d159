"""Norm of the gradient of the first layer over that of the last: how much of it gets there."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import WHOLE, LayerDiagnostic, Look, ratio


class GradientReach(LayerDiagnostic):
    """Norm of the gradient of the first layer over that of the last."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for the whole model; nothing where there is one layer only."""
        layers = [sums for layer, sums in look.layers.items() if layer != WHOLE]
        if len(layers) < 2:
            return {}
        return {WHOLE: ratio(math.sqrt(layers[0].gradients), math.sqrt(layers[-1].gradients))}
