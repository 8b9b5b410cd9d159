"""Size of the update beside the gradient: |u| / |g|."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import LayerDiagnostic, Look, ratio


class EffectiveRate(LayerDiagnostic):
    """Size of the update beside the gradient: |u| / |g|."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        return look.values(lambda of: math.sqrt(ratio(of.updates, of.gradients)))
