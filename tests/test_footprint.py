"""The memory pass: it adds up, agrees with the allocator, is predicted exactly, and changes nothing."""

from __future__ import annotations

import math
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bench import tables
from bench.base.errors import UserError
from bench.build.model import build_model
from bench.build.targets import build_data
from bench.config.schema import Config, OptimizerConfig
from bench.data.dataset import Dataset
from bench.execution.memory_pass import profile_memory
from bench.measure import device
from bench.measure.device import Unavailable
from bench.measure.memory_tracker import CATEGORIES

WITNESS = Path(__file__).resolve().parent.parent / "benchmarks" / "memory_truth.py"
if not WITNESS.is_file():
    pytest.skip("benchmarks/memory_truth.py, the witness, is not there", allow_module_level=True)
truth = runpy.run_path(str(WITNESS))
cell, witnessed = truth["cell"], truth["witnessed"]

CPU = torch.device("cpu")
GREY = {"_target_": "bench.data.digits.load", "name": "digits", "resize": 28}
COLOUR = {"_target_": "bench.data.digits.load", "name": "digits", "resize": 32, "channels": 3}
SPLIT = [f"{category}_mib" for category in CATEGORIES]
NOT_PREDICTED = {"rss_increase_mib", "allocated_mib", "reserved_mib"}

# model: how much more the allocator may see than the tracker, as a share of the peak, and why
UNSEEN = {
    "mnist_cnn": (0.3, "oneDNN's convolution_backward reorders its inputs into copies, freed before it returns"),
}
DOES_NOT_EXIST = {(name, "fused") for name in ("rmsprop", "nadam", "adamax", "adadelta")}
CELLS = [
    (optimizer, implementation)
    for optimizer in truth["OPTIMIZERS"]
    for implementation in truth["IMPLEMENTATIONS"]
    if (optimizer, implementation) not in DOES_NOT_EXIST
]


def torchvision(name: str) -> dict[str, Any]:
    return {"_target_": "models.torchvision.build", "name": name, "architecture": name}


def made(
    model: Any, optimizer: str = "adam", implementation: str = "forloop", data: Any = GREY, batch: int = 64
) -> tuple[Config, Dataset]:
    config = cell(model, optimizer, implementation, data, batch)
    return config, build_data(config.data)


def swapped(config: Config, target: str, **options: Any) -> Config:
    optimizer = OptimizerConfig(target=target, name="x", options=options, implementation="default")
    return config.model_copy(update={"optimizer": optimizer})


@pytest.mark.parametrize("model", ["mlp", "mnist_cnn"])
@pytest.mark.parametrize(("optimizer", "implementation"), CELLS)
def test_truth_and_prediction(model: str, optimizer: str, implementation: str) -> None:
    config, data = made(model, optimizer, implementation)
    tracked = profile_memory(config, data, CPU, fake=False)
    assert tracked["peak_mib"] == pytest.approx(sum(tracked[name] for name in SPLIT), rel=1e-12)
    peaks = [tracked[f"{phase}_peak_mib"] for phase in ("forward", "backward", "step")]
    assert tracked["peak_mib"] == max(peaks) == tracked[f"{tracked['peak_phase']}_peak_mib"]

    seen, _ = witnessed(config, data)
    unseen, reason = UNSEEN.get(model, (0.02, "as the rule is"))
    assert (1 - unseen) * max(seen.values()) <= tracked["peak_mib"] <= 1.02 * max(seen.values()), reason
    assert tracked["step_peak_mib"] == pytest.approx(seen["step"], rel=0.02)

    predicted = profile_memory(config, data, CPU, fake=True)
    assert predicted.keys() == tracked.keys()
    assert {predicted[name] for name in NOT_PREDICTED} == {None}
    assert predicted["peak_phase"] == tracked["peak_phase"]
    for name in [*SPLIT, "peak_mib", "forward_peak_mib", "backward_peak_mib", "step_peak_mib", "step_temporaries_mib"]:
        assert predicted[name] == pytest.approx(tracked[name], rel=0.01, abs=0.01 * tracked["peak_mib"])
    for name in ("state_bytes_per_parameter", "num_parameters", "num_steps", "implementation"):
        assert predicted[name] == tracked[name]


def test_without_onednn_nothing_is_unseen() -> None:
    config, data = made("mnist_cnn", "sgd")
    with torch.backends.mkldnn.flags(enabled=False):
        tracked = profile_memory(config, data, CPU, fake=False)
        seen, _ = witnessed(config, data)
    assert tracked["peak_mib"] == pytest.approx(max(seen.values()), rel=1e-3)


@pytest.mark.parametrize(
    ("name", "optimizer", "implementation"),
    [("resnet18", "adam", "foreach"), ("mobilenet_v3_small", "sgd", "forloop")],
)
def test_torchvision_models_are_predicted(name: str, optimizer: str, implementation: str) -> None:
    config, data = made(torchvision(name), optimizer, implementation, COLOUR, batch=4)
    tracked, predicted = (profile_memory(config, data, CPU, fake=fake) for fake in (False, True))
    differ = {key for key in tracked if tracked[key] != predicted[key]}
    assert predicted["peak_mib"] == pytest.approx(tracked["peak_mib"], rel=0.01), differ
    assert tracked["buffers_mib"] > 0


def test_bf16_is_predicted_and_smaller() -> None:
    config, data = made("mnist_cnn")
    half = config.model_copy(update={"device": config.device.model_copy(update={"precision": "bf16"})})
    tracked, predicted = (profile_memory(half, data, CPU, fake=fake) for fake in (False, True))
    assert predicted["peak_mib"] == pytest.approx(tracked["peak_mib"], rel=0.01)
    assert predicted["activations_mib"] < profile_memory(config, data, CPU, fake=True)["activations_mib"]


@pytest.mark.parametrize(
    ("optimizer", "bytes_per_parameter"),
    [("sgd", 0), ("adam", 8), ("rmsprop", 4), ("nadam", 8), ("adamax", 8), ("adadelta", 8)],
)
def test_state_is_as_the_rules_say(optimizer: str, bytes_per_parameter: int) -> None:
    row = profile_memory(*made("mlp", optimizer), CPU, fake=True)
    assert row["num_parameters"] == 784 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10
    assert row["state_bytes_per_parameter"] == pytest.approx(bytes_per_parameter, abs=0.01)  # and scalars


def test_foreach_adam_needs_a_copy_of_the_parameters_and_sgd_nothing() -> None:
    adam, sgd = (profile_memory(*made("mlp", name, "foreach"), CPU, fake=True) for name in ("adam", "sgd"))
    assert adam["step_temporaries_mib"] == pytest.approx(adam["parameters_mib"], rel=0.01)
    assert sgd["step_temporaries_mib"] == 0
    assert profile_memory(*made("mlp", "adam", "fused"), CPU, fake=True)["step_temporaries_mib"] < 0.001


def test_the_process_grows_by_at_least_about_the_peak(tmp_path: Path) -> None:
    """In a process of its own: one that has worked before may have room left."""
    settings = ["model.hidden=[2000,2000]", "train.steps=2", "seeds=[0]", "report=false"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    subprocess.run([sys.executable, "-m", "bench", *settings], cwd=tmp_path, env=environment, check=True)
    row = tables.load_side(tmp_path / "results" / "digits-mlp", "memory").iloc[0]
    if pd.isna(row["rss_increase_mib"]):
        pytest.skip("this system cannot reset the peak resident set")
    assert row["peak_mib"] > 60
    assert 0.9 < row["rss_increase_mib"] / row["peak_mib"] < 3
    assert pd.isna(row["allocated_mib"])


@pytest.mark.parametrize("fake", [False, True])
def test_a_run_after_it_is_what_it_was_before(fake: bool) -> None:
    config, data = made("mnist_cnn")
    before = {split: (x.clone(), y.clone()) for split, (x, y) in data.splits.items()}

    def draws() -> torch.Tensor:
        device.reset(CPU, 1, "fp32", seed=3)
        model = build_model(config.model, data.spec)
        return torch.cat([p.detach().flatten() for p in model.parameters()] + [torch.randn(10)])

    first = draws()
    profile_memory(config, data, CPU, fake=fake)
    assert torch.equal(first, draws())
    assert all(torch.equal(x, before[s][0]) and torch.equal(y, before[s][1]) for s, (x, y) in data.splits.items())


def test_a_prediction_allocates_nothing() -> None:
    node = {"_target_": "bench.data.imagenet_shapes.load", "name": "imagenet_shapes"}
    wide = {"_target_": "models.mlp.MLP", "name": "mlp", "hidden": [2**18, 2**18]}  # 256 GiB of parameters and more
    row = profile_memory(*made(wide, "adam", "foreach", node, batch=256), CPU, fake=True)
    assert row["parameters_mib"] > 2**18
    assert row["optimizer_state_mib"] == pytest.approx(2 * row["parameters_mib"], rel=1e-6)


def test_an_optimizer_with_a_closure_fills_its_history() -> None:
    config, data = made("mlp")
    lbfgs = swapped(config, "torch.optim.LBFGS", history_size=3, max_iter=2)
    row = profile_memory(lbfgs, data, CPU, fake=False)
    assert row["num_steps"] == 5
    assert row["state_bytes_per_parameter"] >= 4 * (2 * 3 + 2)  # steps, differences, direction, gradient
    assert row["step_peak_mib"] > 0
    assert row["peak_mib"] == pytest.approx(sum(row[name] for name in SPLIT))
    with pytest.raises(Unavailable, match=r"optimizer=x cannot be predicted: .* depends on values \(aten"):
        profile_memory(lbfgs, data, CPU, fake=True)


def test_weights_drawn_by_rejection_are_predicted(folder: Path) -> None:
    (folder / "rejection.py").write_text(
        "import torch\n"
        "class Drawn(torch.nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(784, 10)\n"
        "        torch.nn.init.trunc_normal_(self.weight, std=1.0, a=-2, b=2)\n"
        "        torch.nn.init.trunc_normal_(self.bias, std=1.0, a=3, b=4)\n"
        "        while not torch.nn.init.normal_(self.bias).lt(1).all():\n"
        "            pass\n"
        "    def forward(self, x):\n"
        "        return super().forward(x.flatten(1))\n"
    )
    config, data = made({"_target_": "rejection.Drawn", "name": "drawn"})
    tracked, predicted = (profile_memory(config, data, CPU, fake=fake) for fake in (False, True))
    assert predicted["peak_mib"] == tracked["peak_mib"]


def test_compiled_is_refused() -> None:
    config, data = made("mlp")
    compiled = config.optimizer.model_copy(update={"implementation": "compiled"})
    with pytest.raises(Unavailable, match="optimizer.implementation=compiled is not available"):
        profile_memory(config.model_copy(update={"optimizer": compiled}), data, CPU, fake=True)


@pytest.mark.parametrize("fake", [False, True])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine.Scalars", r"model=x must fit data=digits .*: its output for 64 examples must be of shape \[64, 10\]"),
        ("torch.nn.Bilinear", "model.in1_features must be set"),
        ("models.cnn.MnistCNN", "model.input_shape must be 1x28x28"),
    ],
)
def test_a_model_that_does_not_fit_is_one_sentence(folder: Path, target: str, message: str, fake: bool) -> None:
    model = {"_target_": target, "name": "x"}
    with pytest.raises(UserError, match=message) as caught:
        profile_memory(*made(model, data=COLOUR), CPU, fake=fake)
    assert "\n" not in str(caught.value)


def test_a_model_that_looks_at_values_cannot_be_predicted(folder: Path) -> None:
    (folder / "picky.py").write_text(
        "import torch\n"
        "class Picky(torch.nn.Linear):\n"
        "    def __init__(self):\n"
        "        super().__init__(784, 10)\n"
        "    def forward(self, x):\n"
        "        return super().forward(x.flatten(1)) * (2 if x.sum() > 0 else 1)\n"
    )
    config, data = made({"_target_": "picky.Picky", "name": "picky"})
    assert math.isfinite(profile_memory(config, data, CPU, fake=False)["peak_mib"])
    with pytest.raises(Unavailable, match="memory of model=picky with optimizer=adam cannot be predicted"):
        profile_memory(config, data, CPU, fake=True)
