"""Losses, by name: what a run minimises."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bench.base.errors import UserError
from bench.config.losses import CHOSEN_LOSSES, is_own
from bench.data.dataset import DataSpec

Loss = Callable[[Tensor, Tensor], Tensor]
"""From outputs (N, *target_shape, num_outputs) and targets to a number: the mean over the batch, unless its `LossChoice`
says otherwise."""


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy in nats, the mean over examples and, in sequences, over places.

    Example:
        >>> round(cross_entropy(torch.zeros(3, 10), torch.tensor([0, 4, 9])).item(), 4)  # log 10
        2.3026
    """
    if targets.ndim == 1:
        return functional.cross_entropy(outputs, targets)
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


def nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of log-probabilities, as torch's NLLLoss.

    Example:
        >>> log_probabilities = torch.tensor([[0.25, 0.75]]).log()
        >>> round(nll(log_probabilities, torch.tensor([1])).exp().item(), 4)
        1.3333
    """
    return functional.nll_loss(outputs.flatten(0, -2), targets.flatten())


def mse(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error; outputs (N,) fit targets (N, 1).

    Example:
        >>> mse(torch.tensor([1.0, 3.0]), torch.tensor([[1.0], [1.0]])).item()
        2.0
    """
    return functional.mse_loss(outputs.reshape(targets.shape) if outputs.ndim < targets.ndim else outputs, targets)


def mean(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of what the model returns, which is the loss itself."""
    return outputs.mean()


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "mse": mse,
    "mean": mean,
}
"""Losses that data asks for, by name: see `DataSpec.loss`."""


@functools.cache
def loss_function(name: str) -> Loss:
    """Return the loss of a name: a key of `LOSSES` or of `bench.config.losses.CHOSEN_LOSSES`.

    Example:
        >>> loss_function("mse")(torch.tensor([1.0, 3.0]), torch.zeros(2)).item()
        5.0
    """
    if name in LOSSES:
        return LOSSES[name]
    module, _, function = CHOSEN_LOSSES[name].computed_by.rpartition(".")
    found: Loss = getattr(importlib.import_module(module), function)
    return found


def loss_name(chosen: str, spec: DataSpec) -> str:
    """Return the name of a loss, for tables and for `loss_function`, from the choice of the configuration.

    Args:
        chosen: "default" (the one of the data's task), a key of `CHOSEN_LOSSES`, or a dotted path.
        spec: The data.

    Raises:
        UserError: It is a loss of classes, and the data has none.
    """
    if chosen == "default":
        return spec.loss
    if is_own(chosen):
        return chosen
    if spec.task != "classification":
        raise UserError(f"loss must be default for data of {spec.task}, got {chosen}; it is a loss of classes")
    return chosen


def check_log_probabilities(outputs: Tensor) -> None:
    """Hold what goes into `nll` to its domain.

    Raises:
        UserError: Some outputs are no log-probabilities.
    """
    total = outputs.detach().float().logsumexp(-1)
    if not torch.allclose(total, torch.zeros_like(total), atol=1e-2):
        raise UserError(
            "loss=nll must be given log-probabilities, got outputs whose exponentials do not add up to 1;"
            " set model.log_softmax=true where the model has it, or loss=default"
        )
