"""Norm of the update: |u|, what the step changed."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import LayerDiagnostic, Look


class UpdateNorm(LayerDiagnostic):
    """Norm of the update: |u|, what the step changed."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        return look.values(lambda of: math.sqrt(of.updates))
