"""Norm of the weights: |w|, before the step."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import LayerDiagnostic, Look


class WeightNorm(LayerDiagnostic):
    """Norm of the weights: |w|, before the step."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        return look.values(lambda of: math.sqrt(of.weights))
