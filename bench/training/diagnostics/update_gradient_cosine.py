"""Cosine between the update and the way downhill: -u . g / (|u| |g|)."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import LayerDiagnostic, Look, ratio


class UpdateGradientCosine(LayerDiagnostic):
    """Cosine between the update and the way downhill: -u . g / (|u| |g|)."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        return look.values(lambda of: -ratio(of.downhill, math.sqrt(of.updates * of.gradients)))
