"""From targets to objects: implementations, and what is refused how."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import optimizers
from bench.base.errors import UserError
from bench.build.model import build_model, checked_outputs
from bench.build.optimizer import build_optimizer
from bench.build.targets import build_data
from bench.config.schema import Component, Config, OptimizerConfig
from bench.data.dataset import DataSpec
from bench.measure.device import Unavailable

SPEC = DataSpec((1, 8, 8), 10, "classification")
TORCH_NAMES = ["SGD", "Adam", "RMSprop", "NAdam", "Adamax", "Adadelta"]


def optimizer_config(target: str, implementation: str = "default", **options: Any) -> OptimizerConfig:
    return OptimizerConfig(target=target, name="x", options=options, implementation=implementation)


def cell() -> Config:
    model, data = (Component(target="mine.It", name=name, options={}) for name in ("mlp", "digits"))
    return Config.model_construct(model=model, data=data)


def component(target: str, **options: Any) -> Component:
    return Component(target=target, name="x", options=options)


@pytest.mark.parametrize("name", TORCH_NAMES)
@pytest.mark.parametrize("implementation", ["forloop", "foreach", "reference"])
def test_implementations(name: str, implementation: str) -> None:
    model = torch.nn.Linear(3, 2)
    optimizer, ran = build_optimizer(optimizer_config(f"torch.optim.{name}", implementation, lr=0.5), model)
    assert ran == implementation
    assert optimizer.defaults["lr"] == 0.5
    if implementation == "reference":
        assert type(optimizer) is getattr(optimizers, name)
    else:
        assert optimizer.defaults["foreach"] is (implementation == "foreach")


@pytest.mark.parametrize("name", TORCH_NAMES)
def test_fused_runs_where_torch_has_it_and_is_unavailable_elsewhere(name: str) -> None:
    config = optimizer_config(f"torch.optim.{name}", "fused")
    if name in ("SGD", "Adam"):
        optimizer, ran = build_optimizer(config, torch.nn.Linear(3, 2))
        assert ran == "fused"
        assert optimizer.defaults["fused"] is True
    else:
        with pytest.raises(
            Unavailable, match=f"implementation=fused is not available: torch.optim.{name} .* no argument fused"
        ):
            build_optimizer(config, torch.nn.Linear(3, 2))


def test_default_says_what_torch_picks_on_the_cpu() -> None:
    for name in TORCH_NAMES:
        _, ran = build_optimizer(optimizer_config(f"torch.optim.{name}"), torch.nn.Linear(3, 2))
        assert ran == "forloop"


def test_torchs_private_choice_is_still_there() -> None:
    """bench.build asks torch which implementation it picks; this fails when torch moves the function."""
    from torch.optim.optimizer import _default_to_fused_or_foreach

    assert _default_to_fused_or_foreach([torch.zeros(1)], differentiable=False, use_fused=False) == (False, False)


def test_arguments_may_be_objects_of_their_own(folder: Path) -> None:
    config = component("mine.Net", width={"_target_": "builtins.int", "_args_": ["7"]})
    assert sum(p.numel() for p in build_model(config, SPEC).parameters()) == 64 * 7 + 7 + 7 * 10 + 10


def test_frozen_parameters_are_not_trained() -> None:
    model = torch.nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    optimizer, _ = build_optimizer(optimizer_config("torch.optim.SGD"), model)
    assert [len(g["params"]) for g in optimizer.param_groups] == [1]


def test_betas_come_as_a_tuple() -> None:
    optimizer, _ = build_optimizer(optimizer_config("torch.optim.Adam", betas=[0.8, 0.9]), torch.nn.Linear(3, 2))
    assert optimizer.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (optimizer_config("torch.optim.Nope"), "optimizer._target_ must be a class or function that can be imported"),
        (optimizer_config("no_such_file.Nope"), "No module named 'no_such_file'"),
        (optimizer_config("models.Nope"), "models is the bench's own package: give your file another name"),
        (optimizer_config("torch.nn.Linear"), "must be a torch.optim.Optimizer, got torch.nn.Linear"),
        (optimizer_config("torch.float32"), "must be a class or function, got torch.float32, a dtype"),
        (
            optimizer_config("torch.optim.Adam", lrr=1),
            "optimizer.lrr must be an argument of torch.optim.Adam.*arguments are lr, betas",
        ),
        (
            optimizer_config("torch.optim.Adam", foreach=True),
            "optimizer.foreach must be left to optimizer.implementation",
        ),
        (optimizer_config("torch.optim.SGD", nesterov=True), "Nesterov momentum requires a momentum"),
        (optimizer_config("mine.NotAnOptimizer"), "must be a torch.optim.Optimizer, got mine.NotAnOptimizer"),
        (
            optimizer_config("mine.Mine", trouble="constructor"),
            r"which raised KeyError: 'no good' \(mine.py, line \d+\)",
        ),
        (optimizer_config("optimizers.SGD", lr=-1.0), "optimizer.lr must be a finite number of at least 0, got -1.0"),
    ],
)
def test_bad_optimizers(folder: Path, config: OptimizerConfig, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_optimizer(config, torch.nn.Linear(3, 2))
    assert "\n" not in str(caught.value)


def test_reference_exists_for_ours_only(folder: Path) -> None:
    with pytest.raises(Unavailable, match="a reference rule for Adadelta, Adam, Adamax, NAdam, RMSprop, SGD only"):
        build_optimizer(optimizer_config("mine.Mine", "reference"), torch.nn.Linear(3, 2))
    with pytest.raises(Unavailable, match="has no argument foreach"):
        build_optimizer(optimizer_config("mine.Mine", "foreach"), torch.nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (component("mine.NotAnOptimizer", params=1), "model._target_ must give a torch.nn.Module, got NotAnOptimizer"),
        (component("mine.NotAnOptimizer"), "model.params must be set for mine.NotAnOptimizer, got nothing"),
        (component("mine.Net", depth=3), "model.depth must be an argument of mine.Net.*its arguments are width"),
        (component("models.mlp.MLP", hidden="x"), "model.hidden must be a list of widths"),
        (component("models.cnn.MnistCNN"), "model.input_shape must be 1x28x28"),
    ],
)
def test_bad_models(folder: Path, config: Component, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_model(config, SPEC)


def test_torchvisions_models_by_name() -> None:
    colour = DataSpec((3, 32, 32), 10, "classification")
    config = Component(target="models.torchvision.build", name="net", options={"architecture": "squeezenet1_1"})
    assert type(build_model(config, colour)).__name__ == "SqueezeNet"
    with pytest.raises(UserError, match=r"^model.name must be one of torchvision's .* got resnet5; try .*resnet50"):
        build_model(config.model_copy(update={"options": {"architecture": "resnet5"}}), colour)
    with pytest.raises(UserError, match=r"^model.input_shape must be 3xHxW for squeezenet1_1, got 1x8x8"):
        build_model(config, SPEC)


class Returns(torch.nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: torch.Tensor) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def test_outputs_are_held_to_the_data() -> None:
    config = cell()
    inputs, right = torch.zeros(4, 1, 8, 8), torch.zeros(4, 10)
    assert checked_outputs(config, SPEC, Returns(right), inputs) is right
    for value, told in (
        (right[:3], r"must be of shape \[4, 10\], got \[3, 10\]; change one of the two"),
        ((right, right), r"must be of shape \[4, 10\], got tuple; change one of the two"),
        (RuntimeError("mat1 and mat2\ndo not fit"), "got RuntimeError: mat1 and mat2; change one of the two"),
    ):
        with pytest.raises(UserError, match=f"model=mlp must fit data=digits .*{told}$"):
            checked_outputs(config, SPEC, Returns(value), inputs)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        checked_outputs(config, SPEC, Returns(RuntimeError("DefaultCPUAllocator: not enough memory")), inputs)


def test_models_get_what_they_ask_for(folder: Path) -> None:
    model = build_model(component("mine.Net", width=5), SPEC)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert build_model(component("mine.Scalars"), SPEC)(torch.ones(2, 3)).tolist() == [3.0, 3.0]


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(UserError, match="model must have parameters to train, got none in ReLU"):
        build_optimizer(optimizer_config("torch.optim.SGD"), torch.nn.ReLU())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (component("mine.two_splits"), "data must be three pairs"),
        (component("mine.line", sizes=3), "data.sizes must be an argument of mine.line"),
        (
            component("mine.line", size="x"),
            "data._target_ must be something that can be built, got mine.line, which raised TypeError",
        ),
        (component("bench.data.digits.load", resize=-1), "data.resize must be a whole number of pixels"),
    ],
)
def test_bad_data(folder: Path, config: Component, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_data(config)


def test_own_data(folder: Path) -> None:
    data = build_data(component("mine.line", size=50))
    assert data.spec == DataSpec((4,), 1, "regression")


@pytest.mark.parametrize(
    ("target", "options", "shape", "num_outputs", "advice"),
    [
        ("models.cnn.MnistCNN", {}, (1, 8, 8), 10, "set data.resize=28 where data has it"),
        ("models.cnn.MnistCNN", {}, (3, 28, 28), 10, "set data.resize, or choose other data"),
        ("models.cnn.Conv64", {}, (1, 8, 8), 10, "set data.channels=3 and data.resize=32 where data has it"),
        ("models.cnn.Conv64", {}, (10,), 10, "choose data of images"),
        (
            "models.torchvision.build",
            {"architecture": "resnet18"},
            (1, 8, 8),
            10,
            "set data.channels=3 where data has it",
        ),
        ("models.autoencoder.ConvAutoencoder", {}, (1, 8, 8), 10, "set data.reconstruct=true where data has it"),
        ("models.quadratic.Quadratic", {}, (1, 8, 8), 1, "choose data=quadratic_deep"),
        ("models.textcnn.TextCNN", {}, (1, 8, 8), 10, "choose data=text"),
        ("models.textcnn.TextCNNAsPrinted", {}, (1, 8, 8), 10, "choose data=text"),
        ("models.transformer.Transformer", {}, (1, 8, 8), 10, "choose data=chars"),
    ],
)
def test_a_model_says_what_it_takes_and_the_build_which_keys_give_it(
    target: str, options: dict[str, Any], shape: tuple[int, ...], num_outputs: int, advice: str
) -> None:
    spec = DataSpec(shape, num_outputs, "classification", (), 20)
    with pytest.raises(UserError, match=rf"^model\.\w+ must be .*, got [x0-9]+; {re.escape(advice)}$"):
        build_model(component(target, **options), spec)
