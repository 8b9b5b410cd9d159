"""The architectures: shapes, sizes, refusals."""

from __future__ import annotations

import pytest
import torch

from models.cnn import MnistCNN
from models.logistic import LogisticRegression
from models.mlp import MLP


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
