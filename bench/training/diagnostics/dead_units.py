"""Units that no longer take part: ReLU at 0 for the whole batch, sigmoid and tanh at their ends.

Of a ReLU a unit is a channel, or a feature of a linear layer; it is dead on this batch if it is 0 for every example and place.
Of sigmoid and tanh it counts if it is saturated, within 1 % of an end, for every example. Costs a forward pass.

References:
    Lu, Shin, Su and Karniadakis, "Dying ReLU and initialization", 2019, arXiv:1903.06733.
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010: saturation.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.training.diagnostics.base import WHOLE, LayerDiagnostic, Look

END = 0.01
"""Share of the range of sigmoid and tanh at either end that counts as saturated."""


class DeadUnits(LayerDiagnostic):
    """Share of the units behind each layer that are dead or saturated on this batch."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it by the layer whose outputs go into the activation, and for all of them together."""
        watcher = _Watcher()
        with watcher:
            look.watched_pass(watcher.leave)
        num, num_dead = sum(watcher.num.values()), sum(watcher.dead.values())
        shares = {layer: watcher.dead[layer] / count for layer, count in watcher.num.items()}
        return {WHOLE: num_dead / num, **shares} if num else {}


class _Watcher(TorchFunctionMode):
    """Counts units behind activations, whether these are modules or functions."""

    def __init__(self) -> None:
        super().__init__()
        self.num: dict[str, int] = {}
        self.dead: dict[str, int] = {}
        self._layer = "input"

    def leave(self, name: str) -> Any:
        """Return the hook that takes note of the layer whose outputs come next."""

        def hook(module: nn.Module, inputs: Any, outputs: Any) -> None:
            self._layer = name

        return hook

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        is_dead = _DEAD.get(getattr(func, "__name__", ""))
        if is_dead is not None and isinstance(result, Tensor) and result.ndim > 1:
            idle = is_dead(result.detach()).transpose(0, 1).flatten(1).all(1)
            self.num[self._layer] = self.num.get(self._layer, 0) + len(idle)
            self.dead[self._layer] = self.dead.get(self._layer, 0) + int(idle.sum())
        return result


_DEAD = {
    "relu": lambda out: out == 0,
    "relu_": lambda out: out == 0,
    "sigmoid": lambda out: (out < END) | (out > 1 - END),
    "tanh": lambda out: out.abs() > 1 - 2 * END,
}
"""Which outputs of an activation, by its name in torch, count as dead or saturated."""
