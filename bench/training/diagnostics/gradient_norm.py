"""Norm of the gradient: |g|, as the step used it, after clipping."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import LayerDiagnostic, Look


class GradientNorm(LayerDiagnostic):
    """Norm of the gradient: |g|, as the step used it, after clipping."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        return look.values(lambda of: math.sqrt(of.gradients))
