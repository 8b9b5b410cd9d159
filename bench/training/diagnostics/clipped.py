"""Whether the gradient was scaled down to `train.clip_norm`."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import WHOLE, LayerDiagnostic, Look

CLOSE = 1e-3
"""A norm that is so near the limit, relatively, was scaled down to it."""


class Clipped(LayerDiagnostic):
    """1 where the norm of the whole gradient is at its limit, else 0; nothing where there is no limit."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for the whole model."""
        if look.clip_norm is None:
            return {}
        norm = math.sqrt(look.layers[WHOLE].gradients)
        return {WHOLE: float(norm >= (1 - CLOSE) * look.clip_norm)}
