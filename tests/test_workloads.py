"""Every named workload composes and makes two steps; every model and data set is in one; and the list of them."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from samples import write_cifar, write_idx, write_images, write_texts
from torchvision.datasets import CIFAR10, CIFAR100

from bench.base.paths import CONF_DIR
from bench.build.model import build_model, checked_outputs
from bench.build.optimizer import build_optimizer, needs_of, step_options
from bench.cli import workloads
from bench.compose.nodes import plain
from bench.config.parse import group_options, parse
from bench.config.schema import Config
from bench.execution.workload import check_batch_size, dataset
from bench.training.losses import loss_function, loss_name
from bench.training.step import Update

SMALLER = {
    "imagenet": ["train.batch_size=2", "data.workers=0"],
    "resnet18_images": ["train.batch_size=4"],
    "resnet18_cifar10": ["train.batch_size=8"],
}
"""What a test of two steps cannot afford in full."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds small files of every data set, in their true formats, where they are looked for."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MNIST", "FashionMNIST"):
            write_idx(root / name / "raw")
        for kind in (CIFAR10, CIFAR100):
            write_cifar(kind, root, patch)
        write_texts(root)
        write_images(root / "images", num=60)
        patch.setenv("BENCH_DATA_ROOT", str(root))
        patch.setenv("BENCH_IMAGE_ROOT", str(root / "images"))
        yield root


def composed(name: str, *overrides: str) -> Config:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return parse(plain(compose("config", [f"experiment={name}", *overrides])))


@pytest.mark.parametrize("name", group_options("experiment"))
def test_two_steps(name: str, everything: Path) -> None:
    config = composed(name, *SMALLER.get(name, []))
    device = torch.device("cpu")
    data = dataset(config.data, device)
    check_batch_size(config, data)
    torch.manual_seed(0)
    model = build_model(config.model, data.spec)
    optimizer, _ = build_optimizer(config.optimizer, model)
    start = [p.detach().clone() for p in model.parameters()]
    update = Update(
        lambda inputs: checked_outputs(config, data.spec, model, inputs),
        list(model.parameters()),
        optimizer,
        loss_function(loss_name(config.loss, data.spec)),
        nullcontext(),
        step_options(config),
        needs_of(config.optimizer, optimizer),
    )
    batches = data.shuffled(config.train.batch_size, seed=0)
    losses = [update(*next(batches)).item() for _ in range(2)]
    batches.close()
    assert all(torch.tensor(losses).isfinite())
    assert any(not torch.equal(p, old) for p, old in zip(model.parameters(), start, strict=True))
    assert len(data.fingerprint) == 12
    assert workloads.about(name).endswith(".")
    assert config.schedule.name == "constant"


def test_every_model_and_data_set_is_in_a_workload() -> None:
    configs = [composed(name) for name in group_options("experiment")]
    models, data = {c.model.target for c in configs}, {c.data.target for c in configs}
    for group, used in (("model", models), ("data", data)):
        for option in group_options(group):
            if option in ("custom", "imagenet_shapes"):
                continue
            with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
                node = compose("config", [f"{group}={option}"])
            assert node[group]["_target_"] in used, f"{group}={option}"


def test_no_workload_sets_the_optimizer() -> None:
    for name in group_options("experiment"):
        assert "optimizer" not in (CONF_DIR / "experiment" / f"{name}.yaml").read_text().partition("defaults")[2]


def test_the_list_says_what_is_here_and_what_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for variable in ("BENCH_DATA_ROOT", "BENCH_IMAGE_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bench.workloads"])
    assert workloads.main() == 0
    out = capsys.readouterr().out
    for name in group_options("experiment"):
        assert f"\n{name} " in out
    found = {w.name: w for w in workloads.workloads(["mlp_digits", "mnist_tutorial", "quadratic_deep", "imagenet"])}
    assert found["mlp_digits"].num_parameters == 8970
    assert (found["mlp_digits"].num_train, found["mlp_digits"].unavailable_reason) == (1077, None)
    assert found["quadratic_deep"].num_parameters == 100
    for name, key in (("mnist_tutorial", "data.root"), ("imagenet", "BENCH_IMAGE_ROOT")):
        assert found[name].num_train is None
        assert key in str(found[name].unavailable_reason)
    assert "not available on this machine: data.root must hold the MNIST files" in " ".join(out.split())


def test_a_workload_that_there_is_not(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.workloads", "mlp_digit"])
    assert workloads.main() == 2
    assert "a workload must be one of autoencoder_digits, " in capsys.readouterr().err
