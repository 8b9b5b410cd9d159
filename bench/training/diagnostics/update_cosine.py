"""Cosine between this update and that of the step before: u . u' / (|u| |u'|)."""

from __future__ import annotations

import math

from bench.training.diagnostics.base import LayerDiagnostic, Look, ratio


class UpdateCosine(LayerDiagnostic):
    """Cosine between this update and that of the step before: u . u' / (|u| |u'|)."""

    looks_twice = True

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        return look.values(lambda of: ratio(of.along, math.sqrt(of.updates * of.updates_before)))
