"""Share of the weights with a gradient that the step left as they were."""

from __future__ import annotations

from bench.training.diagnostics.base import LayerDiagnostic, Look, ratio


class Unchanged(LayerDiagnostic):
    """Share of the weights with a gradient that the step left as they were."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        return look.values(lambda of: ratio(of.num_unchanged, of.num_graded))
