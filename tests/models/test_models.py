"""The architectures: shapes, sizes, refusals."""

from __future__ import annotations

import warnings

import pytest
import torch

from models.cnn import MnistCNN
from models.logistic import LogisticRegression
from models.mlp import MLP
from models.torchvision import build


def _size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_mlp() -> None:
    model = MLP((1, 8, 8), 10, hidden=[64, 64])
    assert model(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
    assert _size(model) == 64 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10
    assert _size(MLP((4,), 2, hidden=[])) == 4 * 2 + 2


@pytest.mark.parametrize("hidden", [[0], [8, -1], "x", [1.5]])
def test_mlp_refuses_bad_widths(hidden: object) -> None:
    with pytest.raises(ValueError, match="hidden must be a list of widths of at least 1"):
        MLP((4,), 2, hidden=hidden)  # type: ignore[arg-type]


def test_mnist_cnn_is_the_articles() -> None:
    model = MnistCNN((1, 28, 28), 10)
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    assert _size(model) == (25 * 10 + 10) + (250 * 20 + 20) + (320 * 50 + 50) + (50 * 10 + 10) == 21_840


def test_mnist_cnn_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"input_shape must be 1x28x28 for mnist_cnn, got 1x8x8; set data.resize=28"):
        MnistCNN((1, 8, 8), 10)


def test_logistic_starts_at_the_uniform_prediction() -> None:
    model = LogisticRegression((1, 8, 8), 10)
    outputs = model(torch.randn(5, 1, 8, 8))
    assert torch.equal(outputs, torch.zeros(5, 10))


@pytest.mark.parametrize(
    ("name", "side", "size"),
    [("resnet18", 32, 11_181_642), ("mobilenet_v3_small", 32, 1_528_106), ("vit_b_32", 64, 87_428_362)],
)
def test_torchvision_classifiers(name: str, side: int, size: int) -> None:
    model = build(name, (3, side, side), 10)
    assert model(torch.zeros(2, 3, side, side)).shape == (2, 10)
    assert _size(model) == size


@pytest.mark.parametrize(("name", "side"), [("inception_v3", 75), ("googlenet", 32)])
def test_torchvision_without_auxiliary_outputs_and_without_a_word(name: str, side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with torch.device("meta"):
            model = build(name, (3, side, side), 7)
    assert model.training
    assert model(torch.zeros(2, 3, side, side, device="meta")).shape == (2, 7)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("resnet5", "resnet50"),
        ("fasterrcnn_resnet50_fpn", "resnet18"),
        ("deeplabv3_resnet50", "resnet50"),
        ("r3d_18", "resnet18"),
        ("quantized_resnet18", "resnet18"),
        ("torchvision", "resnet18"),
        ("ResNet50", "resnet50"),
    ],
)
def test_torchvision_refuses_what_is_no_classifier_and_names_some(name: str, close: str) -> None:
    with pytest.raises(
        ValueError, match=f"model.name must be one of torchvision's .* got {name}; try .*{close}"
    ) as caught:
        build(name, (3, 32, 32), 10)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 28, 28), (4,), (28, 28)])
def test_torchvision_wants_colour(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_shape must be 3xHxW for resnet18, got .*; set data.channels=3"):
        build("resnet18", shape, 10)
