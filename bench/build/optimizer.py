"""Build optimizers in the implementation that was asked for."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from bench.base.errors import UserError
from bench.base.text import first_line
from bench.build.targets import TargetRaised, call_target, locate_target, target_arguments
from bench.config.capabilities import capabilities_of, optimizers_with_reference
from bench.config.schema import Config, OptimizerConfig
from bench.measure.device import Unavailable
from bench.training.step import StepOptions, trained

SWITCHES: dict[str, dict[str, bool]] = {
    "default": {},
    "forloop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True, "fused": False},
    "fused": {"fused": True},
    "compiled": {},
}
"""Arguments of torch's constructors that choose an implementation."""


def needs_of(config: OptimizerConfig, optimizer: Optimizer) -> frozenset[str]:
    """Return what an optimizer needs beside gradients: what its config says, and what can be seen.

    A `step` that cannot be called without a closure needs one; methods `train` and `eval` mean that it
    keeps other weights to be judged by.
    """
    needs: set[str] = set(config.needs)
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        needs.add("closure")
    has_both = all(callable(getattr(optimizer, name, None)) for name in ("train", "eval"))
    if has_both:
        needs.add("evaluation_weights")
    elif "evaluation_weights" in needs:
        raise UserError(
            f"optimizer.needs must hold evaluation_weights only where the optimizer has methods train and eval,"
            f" got {config.target}; leave it out"
        )
    return frozenset(needs)


def step_options(config: Config) -> StepOptions:
    """Return how an update of a cell is made."""
    return StepOptions(
        accumulate=config.train.accumulate,
        l1=config.regularization.l1,
        weights_only=config.regularization.weights_only,
        clip_norm=config.train.clip_norm,
    )


def build_optimizer(
    config: OptimizerConfig, model: nn.Module, weights_only: bool = False, has_schedule: bool = False
) -> tuple[Optimizer, str]:
    """Build an optimizer over the trained parameters of a model.

    Args:
        config: The optimizer.
        model: Whose parameters.
        weights_only: Whether its weight decay leaves out biases and norms (parameters of one axis).
        has_schedule: Whether its learning rate changes: of a compiled step it is then a tensor, so that nothing is compiled again.

    Returns:
        The optimizer, and which implementation of its step runs: forloop, foreach, fused, compiled
        or reference; "own" for a class that is neither torch's nor ours.

    Raises:
        UserError: The class does not exist, is no optimizer, does not take these arguments or
            raises; or the model has nothing to train.
        Unavailable: It has no such implementation. Of `compiled` only the first step says so.
    """
    factory = locate_target("optimizer._target_", config.target)
    if inspect.isclass(factory) and not issubclass(factory, Optimizer):
        raise UserError(
            f"optimizer._target_ must be a torch.optim.Optimizer, got {config.target}, which is none;"
            " derive the class from torch.optim.Optimizer"
        )
    params = trained(model)
    if not params:
        raise UserError(f"model must have parameters to train, got none in {type(model).__name__}")
    wanted = config.implementation
    is_torch = getattr(factory, "__module__", "").startswith("torch.optim")
    factory, switches = _in_implementation(config, factory, is_torch)
    for name in ("foreach", "fused"):
        if name in config.options:
            raise UserError(f"optimizer.{name} must be left to optimizer.implementation, got {config.options[name]}")
    has_tensor_lr = wanted == "compiled" and has_schedule
    if has_tensor_lr and "capturable" in target_arguments(factory):
        switches = {**switches, "capturable": True}
    groups = _groups(params, weights_only and "weight_decay" in target_arguments(factory))
    try:
        optimizer = call_target("optimizer", config, factory, groups, **switches)
    except TargetRaised as raised:
        if wanted == "fused" and isinstance(raised.error, RuntimeError):
            raise Unavailable(
                f"optimizer.implementation=fused is not available on this machine: {raised.error}"
            ) from None
        raise
    if not isinstance(optimizer, Optimizer):
        raise UserError(
            f"optimizer._target_ must give a torch.optim.Optimizer, got {type(optimizer).__name__} from"
            f" {config.target}; derive the class from torch.optim.Optimizer"
        )
    if callable(switch := getattr(optimizer, "train", None)):
        switch()
    if has_tensor_lr:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(float(group["lr"]), device=params[0].device)
    if wanted == "compiled":
        optimizer.step = _compiled(optimizer.step)  # type: ignore[method-assign]
    if wanted == "default":
        return optimizer, _torch_default(optimizer, params) if is_torch else "own"
    return optimizer, wanted


def _in_implementation(
    config: OptimizerConfig, factory: Callable[..., Any], is_torch: bool
) -> tuple[Callable[..., Any], dict[str, bool]]:
    """Return the class that has the implementation asked for, and the arguments that choose it.

    Raises:
        Unavailable: There is none.
    """
    wanted = config.implementation
    if wanted == "reference":
        reference = capabilities_of(config).reference
        if reference is None:
            raise Unavailable(
                f"optimizer.implementation=reference is not available for {config.target}: there is a"
                f" reference rule for {', '.join(optimizers_with_reference())} only; name one in"
                " optimizer.capabilities.reference"
            )
        return locate_target("optimizer.capabilities.reference", reference), {}
    known = target_arguments(factory)
    needed = "fused" if wanted == "fused" else "foreach"
    if wanted == "compiled":
        if not is_torch:
            raise Unavailable(
                "optimizer.implementation=compiled is not available: it is the step of torch's optimizers"
                f" under torch.compile, and {config.target} is none of them"
            )
    elif wanted != "default" and needed not in known and not (is_torch and wanted == "forloop"):
        raise Unavailable(
            f"optimizer.implementation={wanted} is not available: {config.target} of torch"
            f" {torch.__version__.partition('+')[0]} has no argument {needed}"
        )
    return factory, {name: value for name, value in SWITCHES[wanted].items() if name in known}


def _groups(params: list[nn.Parameter], without_decay: bool) -> list[Any]:
    """Return the parameters, or two groups of them: those of two axes or more, and the others without weight decay."""
    if not without_decay:
        return list(params)
    weights = [param for param in params if param.ndim > 1]
    others = [param for param in params if param.ndim <= 1]
    return [{"params": weights}] * bool(weights) + [{"params": others, "weight_decay": 0.0}] * bool(others)


def _compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    """Put a step under torch.compile; where there is no compiler, its first call says so."""
    import torch._dynamo
    from torch._dynamo.exc import TorchDynamoException

    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)  # it warns of the profiler's marks in every step
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # rather than run uncompiled and say nothing
    compiled = torch.compile(step)

    @functools.wraps(step)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except TorchDynamoException as error:
            raise Unavailable(
                f"optimizer.implementation=compiled is not available on this machine: torch.compile says {first_line(error)}"
            ) from error

    return checked


def _torch_default(optimizer: Optimizer, params: list[nn.Parameter]) -> str:
    """Return which implementation torch picks by itself for these parameters."""
    from torch.optim.optimizer import _default_to_fused_or_foreach

    if "foreach" not in optimizer.defaults:
        return "forloop"
    fused, foreach = _default_to_fused_or_foreach(list(params), differentiable=False, use_fused=False)
    return "fused" if fused else "foreach" if foreach else "forloop"
