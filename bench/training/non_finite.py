"""Find the first tensor of training that is not finite, by repeating the run with an eye on every module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from bench.data.dataset import Dataset
from bench.measure.clock import Stopwatch
from bench.training.learner import Learner
from bench.training.loop import OutOfTime, train
from bench.training.plan import TrainingPlan
from bench.training.trace import Diverged, Trace


@dataclass(frozen=True)
class NonFinite:
    """A tensor that holds a NaN or an infinity.

    Attributes:
        what: Such as "the output of layers.1" or "the gradient of layers.0.weight".
        layer: Path of the module it belongs to; empty: the whole model.
        step: In which, or after which; 0: before the first.
    """

    what: str
    layer: str
    step: int


class _Found(Exception):
    def __init__(self, what: str, layer: str, is_in_step: bool) -> None:
        super().__init__(what)
        self.what, self.layer, self.is_in_step = what, layer, is_in_step


def first_non_finite(
    learner: Learner, data: Dataset, plan: TrainingPlan, after: int, limit_s: float
) -> NonFinite | None:
    """Repeat a run that ended with a loss that is not finite, and return the first tensor that was not.

    What is looked at, in the order of a step: the output of each module, the loss, the gradient of each parameter, what the
    optimizer keeps, the parameters, and the buffers of the model.

    Args:
        learner: As the run began with, random numbers too.
        data: Of the run.
        plan: Of the run.
        after: Step from which on every tensor is looked at: one up to which all was well.
        limit_s: Seconds of training after which it is given up.

    Returns:
        None where nothing was found: the run is too long, or went otherwise this time.
    """
    with ExitStack() as stack:
        watcher, trace = _Watcher(learner, stack), Trace()
        again = replace(
            plan, log_every=1, loss_limit=math.inf, time_limit_s=limit_s, keep_best=False, metrics=(), should_prune=None,
            loss=watcher.watched_loss(plan.loss),
        )  # fmt: skip
        if after == 0:
            watcher.begin()

        def on_progress(step: int, num_steps: int, loss: float) -> None:
            if step >= after:
                watcher.begin()
                watcher.check_state()

        watch = Stopwatch(next(learner.model.parameters()).device)
        try:
            train(learner, data, again, watch, trace, on_progress)
        except _Found as found:
            return NonFinite(found.what, found.layer, trace.num_steps + found.is_in_step)
        except (Diverged, OutOfTime):
            return None
    return None


class _Watcher:
    """Looks at every tensor of training once `begin` was called; raises `_Found` at the first that is not finite."""

    def __init__(self, learner: Learner, stack: ExitStack) -> None:
        self._learner, self._stack, self._is_on = learner, stack, False
        self._ignored: set[str] = set()

    def begin(self) -> None:
        """Look from now on; what is not finite already, such as the buffer of a mask, is meant to be so."""
        if self._is_on:
            return
        self._is_on = True
        self._ignored = {what for what, _, tensors in self._state() if not _are_finite(tensors)}
        for path, module in self._learner.model.named_modules():
            self._keep(module.register_forward_hook(self._output_check(path)))
        for name, parameter in self._learner.model.named_parameters():
            if parameter.requires_grad:
                self._keep(parameter.register_post_accumulate_grad_hook(self._gradient_check(name)))

    def _keep(self, handle: RemovableHandle) -> None:
        self._stack.callback(handle.remove)

    def _output_check(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def check(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if not _are_finite(_tensors(outputs)):
                where = "" if module.training else ", in an evaluation"
                raise _Found(f"the output of {path or 'the model'}{where}", path, is_in_step=module.training)

        return check

    def _gradient_check(self, name: str) -> Callable[[Tensor], None]:
        def check(parameter: Tensor) -> None:
            if parameter.grad is not None and not _are_finite(_tensors(parameter.grad)):
                raise _Found(f"the gradient of {name}", name.rpartition(".")[0], is_in_step=True)

        return check

    def watched_loss(self, loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return a loss that looks at itself."""

        def watched(outputs: Tensor, targets: Tensor) -> Tensor:
            value = loss(outputs, targets)
            if self._is_on and not _are_finite([value]):
                raise _Found("the loss, of outputs that are finite", "", is_in_step=self._learner.model.training)
            return value

        return watched

    def check_state(self) -> None:
        """Look at what the optimizer keeps, at parameters and at buffers, after a step."""
        for what, layer, tensors in self._state():
            if what not in self._ignored and not _are_finite(tensors):
                raise _Found(what, layer, is_in_step=False)

    def _state(self) -> Iterator[tuple[str, str, Iterator[Tensor]]]:
        """Yield what is kept between steps, each with the path of its module."""
        model, state = self._learner.model, self._learner.optimizer.state
        for name, parameter in model.named_parameters():
            for key, value in state.get(parameter, {}).items():
                yield f"{key} of {name}, which the optimizer keeps", name.rpartition(".")[0], _tensors(value)
        for name, parameter in model.named_parameters():
            yield f"{name}, after the optimizer's step", name.rpartition(".")[0], _tensors(parameter)
        for name, buffer in model.named_buffers():
            yield f"{name}, which the model keeps", name.rpartition(".")[0], _tensors(buffer)


def _are_finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(t.detach()).all()) for t in tensors if t.is_floating_point() or t.is_complex())


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in what a module returns or an optimizer keeps."""
    if isinstance(value, Tensor):
        yield value.coalesce().values() if value.is_sparse else value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
