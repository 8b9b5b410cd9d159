"""Quantiles of the sizes of gradients and of activations: the median, and what 99 % are below.

They show what a norm hides: a few large entries over many that are 0, or units that have grown without bound. Those of
activations, the outputs of each layer, cost a forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bench.training.diagnostics.base import WHOLE, LayerDiagnostic, Look, dense, layer_of


class _Quantile(LayerDiagnostic):
    share = 0.5
    """Of the entries, which are at most the quantile."""

    def _of(self, parts: Mapping[str, list[Tensor]]) -> dict[str, float]:
        """Return the quantile of absolute values for each layer, and over all layers."""
        whole = [part for own in parts.values() for part in own]
        if not whole:
            return {}
        return {layer: _quantile(own, self.share) for layer, own in {WHOLE: whole, **parts}.items()}


class GradientMedian(_Quantile):
    """Median of the absolute entries of the gradient."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for the whole model."""
        parts: dict[str, list[Tensor]] = {}
        for name, parameter in look.parameters.items():
            if parameter.grad is not None:
                parts.setdefault(layer_of(name), []).append(dense(parameter.grad))
        return self._of(parts)


class GradientTail(GradientMedian):
    """What 99 % of the absolute entries of the gradient are below."""

    share = 0.99


class ActivationMedian(_Quantile):
    """Median of the absolute outputs of layers on this batch."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for each layer and for all of them together."""
        parts: dict[str, list[Tensor]] = {}

        def take(name: str) -> Any:
            def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
                if isinstance(outputs, Tensor) and outputs.is_floating_point():
                    parts.setdefault(name, []).append(outputs.detach())

            return hook

        look.watched_pass(take)
        return self._of(parts)


class ActivationTail(ActivationMedian):
    """What 99 % of the absolute outputs of layers are below."""

    share = 0.99


def _quantile(parts: list[Tensor], share: float) -> float:
    """Return the smallest absolute value that so large a share of the entries does not exceed."""
    flat = torch.cat([part.detach().abs().reshape(-1).float() for part in parts])
    return flat.kthvalue(max(1, math.ceil(share * len(flat)))).values.item()
