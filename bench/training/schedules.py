"""Set the learning rate of an optimizer by a schedule."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from bench.base.errors import UserError
from bench.config.schedules import SCHEDULES, Plateau


class Schedule:
    """Sets the learning rate of an optimizer before each step: its own, times a factor.

    Args:
        name: A key of `SCHEDULES`.
        options: Arguments of that one.
        num_steps: The budget, in updates.
        optimizer: Whose parameter groups it sets.

    Raises:
        UserError: The optimizer has no learning rate.
    """

    def __init__(self, name: str, options: dict[str, Any], num_steps: int, optimizer: Optimizer) -> None:
        rates = [(group, group.get("lr")) for group in optimizer.param_groups]
        self._groups: list[tuple[dict[str, Any], Any]] = [
            (group, lr.item() if isinstance(lr, Tensor) else lr) for group, lr in rates
        ]
        self._factor = SCHEDULES[name](num_steps, **options)
        if any(isinstance(lr, bool) or not isinstance(lr, int | float) for _, lr in self._groups):
            raise UserError(
                f"schedule must be constant for {type(optimizer).__name__}, got {name}: it has no learning rate to set"
            )

    def set(self, step: int) -> None:
        """Set the learning rate of an update.

        Args:
            step: Updates made before it.
        """
        factor = self._factor(step)
        for group, lr in self._groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr * factor)
            else:
                group["lr"] = lr * factor

    def observe(self, val_loss: float) -> None:
        """Take in the validation loss of an evaluation."""
        if isinstance(self._factor, Plateau):
            self._factor.observe(val_loss)
