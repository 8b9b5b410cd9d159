"""One update of the weights: the gradients of a batch, and the optimizer's step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.base.errors import UserError
from bench.training.losses import Loss

NEEDS = ("closure", "create_graph", "evaluation_weights")
"""What an optimizer may need beside gradients: a function that evaluates them anew, gradients that can be
differentiated again, or to be told before the model is evaluated and after."""


NOT_PLAIN = frozenset({"closure", "create_graph"})
"""Those of them with which a step is more than gradients and `step()`."""


_NOTHING = nullcontext()


def _unmarked(phase: str) -> AbstractContextManager[Any]:
    return _NOTHING


def trained(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a model that are trained."""
    return [param for param in model.parameters() if param.requires_grad]


@dataclass(frozen=True)
class StepOptions:
    """How an update is made, the same for every optimizer.

    Attributes:
        accumulate: Parts that a batch is computed in, one after the other; their gradients add up.
        l1: Weight of the sum of absolute weights that is added to what is minimised.
        weights_only: Whether that leaves out biases and norms (parameters of one axis).
        clip_norm: Largest Euclidean norm of all gradients together; above it they are scaled down to it.
    """

    accumulate: int = 1
    l1: float = 0.0
    weights_only: bool = False
    clip_norm: float | None = None


class Update:
    """Makes updates of a model's weights; called with a batch, it makes one and returns the loss before it.

    Args:
        model: From inputs to outputs.
        parameters: What is trained.
        optimizer: Over these.
        loss_of: The loss, without the L1 term.
        autocast: Context of every forward pass.
        options: How an update is made.
        needs: Of `NEEDS`.
        phase: Gives the context in which "forward", "backward" and "step" run.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        parameters: Iterable[nn.Parameter],
        optimizer: Optimizer,
        loss_of: Loss,
        autocast: AbstractContextManager[Any],
        options: StepOptions = StepOptions(),
        needs: frozenset[str] = frozenset(),
        phase: Callable[[str], AbstractContextManager[Any]] = _unmarked,
    ) -> None:
        self._model, self._optimizer, self._loss_of = model, optimizer, loss_of
        self._parameters = list(parameters)
        self._penalised = [p for p in self._parameters if p.ndim > 1 or not options.weights_only]
        self._autocast, self._options, self._phase = autocast, options, phase
        self._takes_closure, self._create_graph = "closure" in needs, "create_graph" in needs
        self._is_plain = not needs & NOT_PLAIN and options == StepOptions() and phase is _unmarked
        self.num_evaluations = 0
        if self._create_graph:  # the cycle that it warns of is cut by the next step's zero_grad
            warnings.filterwarnings("ignore", "Using backward\\(\\) with create_graph=True")

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Make one update; the loss of the batch before it."""
        if self._is_plain:  # the same as below, without what costs a small model 3 % of its step
            self.num_evaluations += 1
            self._optimizer.zero_grad()
            with self._autocast:
                loss = self._loss_of(self._model(inputs), targets)
            loss.backward()
            self._optimizer.step()
            return loss.detach()
        if self._takes_closure:
            return self._with_closure(inputs, targets)
        loss = self._gradients(inputs, targets)[0]
        with self._phase("step"):
            self._optimizer.step()
        return loss

    def _with_closure(self, inputs: Tensor, targets: Tensor) -> Tensor:
        losses: list[Tensor] = []

        def closure() -> Tensor:
            with torch.enable_grad():
                loss, minimised = self._gradients(inputs, targets)
            losses.append(loss)
            return minimised

        with self._phase("step"):
            self._optimizer.step(closure)  # type: ignore[arg-type]
        if not losses:
            raise UserError(
                f"optimizer.needs must not hold closure for {type(self._optimizer).__name__}, got an optimizer that"
                " does not call it; leave it out"
            )
        return losses[0]

    def _gradients(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Leave fresh gradients at the parameters; the loss, and what is minimised: with the L1 term."""
        options = self._options
        self.num_evaluations += 1
        self._optimizer.zero_grad()
        if options.accumulate == 1:
            loss = minimised = self._backward(inputs, targets, 1.0)
        else:
            parts = [self._backward(*part, len(part[0]) / len(inputs)) for part in _parts(inputs, targets, options)]
            loss = minimised = torch.stack(parts).sum()
        if options.l1 and self._penalised:
            with self._phase("backward"):
                penalty = options.l1 * torch.stack([p.abs().sum() for p in self._penalised]).sum()
                penalty.backward(create_graph=self._create_graph)
                minimised = loss + penalty.detach()
        if options.clip_norm is not None:
            with self._phase("backward"):
                nn.utils.clip_grad_norm_(self._parameters, options.clip_norm)
        return loss, minimised

    def _backward(self, inputs: Tensor, targets: Tensor, share: float) -> Tensor:
        with self._phase("forward"), self._autocast:
            loss = self._loss_of(self._model(inputs), targets)
            if share != 1.0:
                loss = loss * share
        with self._phase("backward"):
            loss.backward(create_graph=self._create_graph)
        return loss.detach()


def _parts(inputs: Tensor, targets: Tensor, options: StepOptions) -> Iterator[tuple[Tensor, Tensor]]:
    num = min(options.accumulate, len(inputs))
    return zip(inputs.tensor_split(num), targets.tensor_split(num), strict=True)
