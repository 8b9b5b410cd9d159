"""Build what a run minimises, shipped or a person's own."""

from __future__ import annotations

import functools

from torch import Tensor

from bench.base.errors import UserError
from bench.base.text import first_line
from bench.build.targets import call_target, locate_target
from bench.config.losses import is_own
from bench.config.schema import Component
from bench.data.dataset import DataSpec
from bench.measure.device import is_out_of_memory
from bench.training.losses import Loss, loss_function, loss_name


def build_loss(chosen: str, spec: DataSpec) -> Loss:
    """Return the loss of a cell.

    Args:
        chosen: As configured: a name, or the dotted path of a function of outputs and targets, or of a class whose objects
            are such functions.
        spec: The data.

    Raises:
        UserError: It does not go with the data, or cannot be imported or built.
    """
    if not is_own(chosen):
        return loss_function(loss_name(chosen, spec))
    found = locate_target("loss", chosen)
    if isinstance(found, type):
        found = call_target("loss", Component(target=chosen, name="own", options={}), found)
    return found


def checked_loss(chosen: str, loss: Loss) -> Loss:
    """Return a loss that is held to return one number, if it is a person's own.

    Args:
        chosen: As configured.
        loss: What `build_loss` gave.

    Returns:
        A loss that raises a `UserError` where `loss` raises, or returns something else.
    """
    if not is_own(chosen):
        return loss

    @functools.wraps(loss)
    def checked(outputs: Tensor, targets: Tensor) -> Tensor:
        shapes = f"outputs {list(outputs.shape)} and targets {list(targets.shape)}"
        try:
            value = loss(outputs, targets)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            if is_out_of_memory(error):
                raise
            raise UserError(
                f"loss must take {shapes}, got {chosen}, which raised {type(error).__name__}: {first_line(error)};"
                " change it or the data"
            ) from error
        if not isinstance(value, Tensor) or value.numel() != 1 or value.ndim:
            what = (
                f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            )
            raise UserError(
                f"loss must return one number, the mean over the batch, got {what} from {chosen} for {shapes};"
                " take the mean"
            )
        return value

    return checked
