"""Build models, load their weights, compile them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.base.text import first_line
from bench.build.targets import TargetRaised, call_target, locate_target, target_arguments
from bench.config.identity import present_target
from bench.config.schema import Component, Config, StepCostConfig
from bench.data.dataset import DataSpec
from bench.measure.device import Unavailable, is_out_of_memory


def build_model(config: Component, spec: DataSpec) -> nn.Module:
    """Build a model for that data, with fresh weights from the global generator.

    Raises:
        UserError: The class does not exist, is no `torch.nn.Module`, does not take these
            arguments or raises.
    """
    factory = locate_target("model._target_", config.target)
    from_data: dict[str, Any] = {"input_shape": spec.input_shape, "num_outputs": spec.num_outputs}
    known = target_arguments(factory)
    if "num_tokens" in known and spec.num_tokens is None:
        raise UserError(
            f"data must hold words or characters for model={config.name}, got inputs of shape"
            f" {'x'.join(map(str, spec.input_shape))}; choose data=text or data=chars"
        )
    from_data["num_tokens"] = spec.num_tokens
    try:
        model = call_target("model", config, factory, **{k: v for k, v in from_data.items() if k in known})
    except TargetRaised as raised:
        subject = str(raised.error).partition(" ")[0]
        if subject not in from_data or (needs := _needs(config.target)) is None:
            raise
        raise UserError(f"{raised}; {_advice(subject, needs, spec)}") from raised.error
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model._target_ must give a torch.nn.Module, got {type(model).__name__} from {config.target};"
            " derive the class from torch.nn.Module"
        )
    return model


def _needs(target: str) -> dict[str, Any] | None:
    """Return what the shipped config of a model says that it needs of data; None where no config is of that model."""
    for file in sorted((CONF_DIR / "model").glob("*.yaml")):
        node = yaml.safe_load(file.read_text())
        if node["_target_"] == present_target(target):
            return node.get("needs") or {}
    return None


def _advice(subject: str, needs: Mapping[str, Any], spec: DataSpec) -> str:
    """Return which keys give data the shape that a model takes.

    Args:
        subject: What did not fit: input_shape, num_outputs or num_tokens.
        needs: As in the config of the model.
        spec: The data.
    """
    if subject == "num_outputs":
        return "set data.reconstruct=true where data has it" if needs.get("reconstruct") else "choose other data"
    if "data" in needs:
        return f"choose data={needs['data']}"
    if len(spec.input_shape) != 3:
        return "choose data of images"
    wanted = {"data.channels": needs.get("channels"), "data.resize": needs.get("image_size")}
    has = {"data.channels": spec.input_shape[0], "data.resize": spec.input_shape[-1]}
    keys = [f"{key}={value}" for key, value in wanted.items() if value not in (None, has[key])]
    return f"set {' and '.join(keys)} where data has it" if keys else "set data.resize, or choose other data"


def checked_outputs(config: Config | StepCostConfig, spec: DataSpec, model: nn.Module, inputs: Tensor) -> Tensor:
    """Run a model on a batch, and hold what comes out to its data.

    Raises:
        UserError: The model fails on such inputs, or its output has another shape than the data
            asks for.
    """
    shape = "x".join(map(str, spec.input_shape))
    fits = f"model={config.model.name} must fit data={config.data.name} (inputs {shape}, {spec.task})"
    try:
        outputs = model(inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(f"{fits}, got {type(error).__name__}: {first_line(error)}; change one of the two") from error
    wanted = (len(inputs), *spec.target_shape, spec.num_outputs)
    # the losses of the bench's own know what to do with one number an example, see `bench.training.losses.mse`
    is_flat = (
        wanted == (len(inputs), 1) and spec.task == "regression" and getattr(config, "loss", "default") == "default"
    )
    fitting = [wanted, wanted[:1]] if is_flat else [wanted]
    if not isinstance(outputs, Tensor) or tuple(outputs.shape) not in fitting:
        raise UserError(
            f"{fits}: its output for {len(inputs)} examples must be of shape {list(wanted)},"
            f" got {list(getattr(outputs, 'shape', ())) or type(outputs).__name__}; change one of the two"
        )
    return outputs


def load_weights(model: nn.Module, path: str) -> None:
    """Put weights of a file into a model: a state dict, as `train.save_best` leaves one.

    Raises:
        UserError: The file holds something else, or the weights of another model.
    """
    try:
        state = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"a {type(state).__name__}")
        if odd := [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, Tensor))]:
            raise TypeError(f"{odd[0]!r} is no name of a tensor")
    except Exception as error:  # whatever unpickling meets
        raise UserError(
            f"train.init_from must be a file of weights that torch.load reads with weights_only, got {path}:"
            f" {type(error).__name__}: {first_line(error)}; save model.state_dict() with torch.save"
        ) from error
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = str(error).strip().splitlines()
        raise UserError(
            f"train.init_from must hold the weights of this model, got {path}: {' '.join(lines[1:2] or lines).strip()};"
            " give weights of the same model and data"
        ) from error


def compiled_model(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], train: Callable[..., Tensor]) -> Any:
    """Compile a model with torch.compile, for training on these batches and for evaluation.

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
            f"train.compile=true is not available on this machine: torch.compile says {first_line(error)}"
        ) from error
    model.zero_grad()
    with torch.no_grad():
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return compiled
