"""From configuration to objects: models, data and optimizers, by their `_target_`.

The only file that calls `hydra.utils.instantiate`. Whatever is wrong with a target or its arguments
comes back as one sentence.
"""

from __future__ import annotations

import functools
import inspect
import logging
import sysconfig
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from torch import Tensor, nn
from torch.optim import Optimizer

import optimizers
from bench.config import Component, Config, OptimizerConfig, StepCostConfig
from bench.data import Dataset, DataSpec, as_dataset
from bench.device import Unavailable, is_out_of_memory
from bench.update import StepOptions, trained

logging.getLogger("hydra.utils").setLevel(logging.CRITICAL)  # It prints what we say in a sentence of our own.

SWITCHES: dict[str, dict[str, bool]] = {
    "default": {},
    "forloop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True, "fused": False},
    "fused": {"fused": True},
    "compiled": {},
}
"""Arguments of torch's constructors that choose an implementation."""

GIVEN: dict[str, Callable[..., Any]] = {}
"""What targets stand for that no import finds: functions of a running program, see `bench.given`."""


def build_data(config: Component) -> Dataset:
    """Load a data set.

    Raises:
        ValueError: The function does not exist, does not take these arguments, fails, or returns
            something else than three splits.
    """
    return as_dataset(_call("data", config, _locate("data", config.target)))


def build_model(config: Component, spec: DataSpec) -> nn.Module:
    """Build a model for that data, with fresh weights from the global generator.

    Raises:
        ValueError: The class does not exist, is no `torch.nn.Module`, does not take these
            arguments or raises.
    """
    factory = _locate("model", config.target)
    from_data: dict[str, Any] = {"input_shape": spec.input_shape, "num_outputs": spec.num_outputs}
    known = _arguments(factory)
    if "num_tokens" in known and spec.num_tokens is None:
        raise ValueError(
            f"data must hold words or characters for model={config.name}, got inputs of shape"
            f" {'x'.join(map(str, spec.input_shape))}; choose data=text or data=chars"
        )
    from_data["num_tokens"] = spec.num_tokens
    model = _call("model", config, factory, **{k: v for k, v in from_data.items() if k in known})
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model._target_ must give a torch.nn.Module, got {type(model).__name__} from {config.target};"
            " derive the class from torch.nn.Module"
        )
    return model


def checked_outputs(config: Config | StepCostConfig, spec: DataSpec, model: nn.Module, inputs: Tensor) -> Tensor:
    """Run a model on a batch, and hold what comes out to its data.

    Raises:
        ValueError: The model fails on such inputs, or its output has another shape than the data
            asks for.
    """
    shape = "x".join(map(str, spec.input_shape))
    fits = f"model={config.model.name} must fit data={config.data.name} (inputs {shape}, {spec.task})"
    try:
        outputs = model(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{fits}, got {type(error).__name__}: {first_line(error)}; change one of the two") from error
    wanted = (len(inputs), *spec.target_shape, spec.num_outputs)
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) != wanted:
        raise ValueError(
            f"{fits}: its output for {len(inputs)} examples must be of shape {list(wanted)},"
            f" got {list(getattr(outputs, 'shape', ())) or type(outputs).__name__}; change one of the two"
        )
    return outputs


def load_weights(model: nn.Module, path: str) -> None:
    """Put weights of a file into a model: a state dict, as `train.save_best` leaves one.

    Raises:
        ValueError: The file holds something else, or the weights of another model.
    """
    try:
        state = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"a {type(state).__name__}")
        if odd := [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]:
            raise TypeError(f"{odd[0]!r} is no name of a tensor")
    except Exception as error:  # whatever unpickling meets
        raise ValueError(
            f"train.init_from must be a file of weights that torch.load reads with weights_only, got {path}:"
            f" {type(error).__name__}: {first_line(error)}; save model.state_dict() with torch.save"
        ) from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise ValueError(
            f"train.init_from must hold the weights of this model, got {path}: {' '.join(lines[1:2] or lines).strip()};"
            " give weights of the same model and data"
        ) from error


def compiled_model(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], train: Callable[..., Tensor]) -> Any:
    """A model under torch.compile, compiled for training on these batches and for evaluation.

    Weights and buffers are afterwards what they were.

    Args:
        model: On its device.
        batches: Inputs and targets, one pair of each size that is to come.
        train: From (model, inputs, targets) to a loss.

    Raises:
        Unavailable: It cannot be compiled here.
    """
    from torch._dynamo.exc import TorchDynamoException

    compiled: Any = torch.compile(model)
    buffers = [buffer.clone() for buffer in model.buffers()]
    try:
        for inputs, targets in batches:
            train(compiled, inputs.clone(), targets).backward()
            with torch.no_grad():
                compiled.eval()
                compiled(inputs.clone())
                compiled.train()
    except TorchDynamoException as error:
        raise Unavailable(
            f"train.compile=true is not to be had here: torch.compile says {first_line(error)}"
        ) from error
    model.zero_grad()
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return compiled


def needs_of(config: OptimizerConfig, optimizer: Optimizer) -> frozenset[str]:
    """What an optimizer needs beside gradients: what its config says, and what can be seen.

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
        raise ValueError(
            f"optimizer.needs must hold evaluation_weights only where the optimizer has methods train and eval,"
            f" got {config.target}; leave it out"
        )
    return frozenset(needs)


def step_options(config: Config) -> StepOptions:
    """How an update of a cell is made."""
    return StepOptions(
        accumulate=config.train.accumulate,
        l1=config.regularization.l1,
        weights_only=config.regularization.weights_only,
        clip_norm=config.train.clip_norm,
    )


def build_optimizer(config: OptimizerConfig, model: nn.Module, weights_only: bool = False) -> tuple[Optimizer, str]:
    """Build an optimizer over the trained parameters of a model.

    Args:
        config: The optimizer.
        model: Whose parameters.
        weights_only: Whether its weight decay leaves out biases and norms (parameters of one axis).

    Returns:
        The optimizer, and which implementation of its step runs: forloop, foreach, fused, compiled
        or reference; "own" for a class that is neither torch's nor ours.

    Raises:
        ValueError: The class does not exist, is no optimizer, does not take these arguments or
            raises; or the model has nothing to train.
        Unavailable: It has no such implementation. Of `compiled` only the first step says so.
    """
    factory = _locate("optimizer", config.target)
    if inspect.isclass(factory) and not issubclass(factory, Optimizer):
        raise ValueError(
            f"optimizer._target_ must be a torch.optim.Optimizer, got {config.target}, which is none;"
            " derive the class from torch.optim.Optimizer"
        )
    params = trained(model)
    if not params:
        raise ValueError(f"model must have parameters to train, got none in {type(model).__name__}")
    wanted = config.implementation
    is_torch = getattr(factory, "__module__", "").startswith("torch.optim")
    switches: dict[str, bool] = {}
    if wanted == "reference":
        if not (is_torch and factory.__name__ in optimizers.__all__):
            raise Unavailable(
                f"optimizer.implementation=reference is not to be had for {config.target}: there is a"
                f" reference rule for {', '.join(optimizers.__all__)} only"
            )
        factory = getattr(optimizers, factory.__name__)
    else:
        known = _arguments(factory)
        needed = "fused" if wanted == "fused" else "foreach"
        if wanted == "compiled":
            if not is_torch:
                raise Unavailable(
                    "optimizer.implementation=compiled is not to be had: it is the step of torch's optimizers"
                    f" under torch.compile, and {config.target} is none of them"
                )
        elif wanted != "default" and needed not in known and not (is_torch and wanted == "forloop"):
            raise Unavailable(
                f"optimizer.implementation={wanted} is not to be had: {config.target} of torch"
                f" {torch.__version__.partition('+')[0]} has no argument {needed}"
            )
        switches = {name: value for name, value in SWITCHES[wanted].items() if name in known}
    for name in ("foreach", "fused"):
        if name in config.options:
            raise ValueError(f"optimizer.{name} must be left to optimizer.implementation, got {config.options[name]}")
    groups: list[Any] = params
    if weights_only and "weight_decay" in _arguments(factory):
        weights = [param for param in params if param.ndim > 1]
        others = [param for param in params if param.ndim <= 1]
        groups = [{"params": weights}] * bool(weights) + [{"params": others, "weight_decay": 0.0}] * bool(others)
    try:
        optimizer = _call("optimizer", config, factory, groups, **switches)
    except _Raised as raised:
        if wanted == "fused" and isinstance(raised.error, RuntimeError):
            raise Unavailable(f"optimizer.implementation=fused is not to be had here: {raised.error}") from None
        raise
    if not isinstance(optimizer, Optimizer):
        raise ValueError(
            f"optimizer._target_ must give a torch.optim.Optimizer, got {type(optimizer).__name__} from"
            f" {config.target}; derive the class from torch.optim.Optimizer"
        )
    if callable(switch := getattr(optimizer, "train", None)):
        switch()
    if wanted == "compiled":
        optimizer.step = _compiled(optimizer.step)  # type: ignore[method-assign]
    if wanted == "default":
        return optimizer, _torch_default(optimizer, params) if is_torch else "own"
    return optimizer, wanted


def _compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step under torch.compile; where the compiler cannot be had, its first call says so."""
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
                f"optimizer.implementation=compiled is not to be had here: torch.compile says {first_line(error)}"
            ) from error

    return checked


def _torch_default(optimizer: Optimizer, params: list[nn.Parameter]) -> str:
    """Which implementation torch picks by itself for these parameters."""
    from torch.optim.optimizer import _default_to_fused_or_foreach

    if "foreach" not in optimizer.defaults:
        return "forloop"
    fused, foreach = _default_to_fused_or_foreach(list(params), differentiable=False, use_fused=False)
    return "fused" if fused else "foreach" if foreach else "forloop"


class _Raised(ValueError):
    """A constructor or loader raised; the message is our sentence, `error` what it raised."""

    def __init__(self, sentence: str, error: BaseException) -> None:
        super().__init__(sentence)
        self.error = error


def _locate(key: str, target: str) -> Callable[..., Any]:
    if target in GIVEN:
        return GIVEN[target]
    try:
        found = get_object(target)
    except (Exception, SystemExit) as error:
        cause = error.__cause__ or error
        top = target.split(".")[0]
        ours = f" ({top} is the bench's own package: give your file another name)" if top in _OURS else ""
        raise ValueError(
            f"{key}._target_ must be a class or function that can be imported, got {target}:"
            f" {type(cause).__name__}: {first_line(cause)}{_where(cause)}{ours}"
        ) from error
    if not callable(found):
        raise ValueError(f"{key}._target_ must be a class or function, got {target}, a {type(found).__name__}")
    return found  # type: ignore[no-any-return]


_OURS = ("bench", "models", "optimizers")


def _arguments(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return {}


def _call(key: str, config: Component, factory: Callable[..., Any], *args: Any, **extra: Any) -> Any:
    known = _arguments(factory)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    for option in config.options:
        if known and option not in known and not takes_any:
            names = [n for n, p in known.items() if n not in ("params", "foreach", "fused", *extra)]
            raise ValueError(
                f"{key}.{option} must be an argument of {config.target}, got an unknown one;"
                f" its arguments are {', '.join(names) or 'none'}"
            )
    for name, parameter in list(known.items())[len(args) :]:
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and name not in config.options and name not in extra:
            raise ValueError(f"{key}.{name} must be set for {config.target}, got nothing; add +{key}.{name}=...")
    try:
        options = dict(config.options)
        for name, value in options.items():
            if isinstance(value, dict | list) and "_target_" in str(value):  # an object of its own
                options[name] = instantiate(value, _convert_="all")
        return factory(*args, **options, **extra)
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, ValueError) and config.target.split(".")[0] in (*_OURS, "torch"):
            subject = str(error).partition(" ")[0].partition("[")[0]
            prefix = "" if "." in subject else f"{key}." if subject in known else f"{key}={config.name}: "
            raise _Raised(f"{prefix}{first_line(error)}", error) from error
        raise _Raised(
            f"{key}._target_ must be something that can be built, got {config.target}, which raised"
            f" {type(error).__name__}: {first_line(error)}{_where(error)}",
            error,
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, for a sentence: its first line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(no message)"


def _where(error: BaseException) -> str:
    """The file and line in which a person's own code raised."""
    not_theirs = {Path(__file__).parent, *(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib"))}
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not not_theirs & set(Path(frame.filename).parents)
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
