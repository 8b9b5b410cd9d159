"""Synthetic linear regression: its covariance, its lowest loss, what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from bench.base.errors import UserError
from bench.data import regression
from bench.data.dataset import as_dataset


def _arrays(data: Any, split: str = "train") -> tuple[np.ndarray, np.ndarray]:
    x, y = data.splits[split]
    return x.double().numpy(), y.double().numpy()


def test_it_is_what_it_was() -> None:
    data = as_dataset(regression.load())
    assert data.spec.input_shape == (10,)
    assert (data.spec.num_outputs, data.spec.loss) == (1, "mse")
    assert [data.size(split) for split in ("train", "val", "test")] == [1000, 200, 200]
    x, y = data.splits["train"]
    assert x[0, :3].tolist() == pytest.approx([0.96017927, 0.04539512, 0.10851757], rel=1e-5)
    assert y[0, 0].item() == pytest.approx(4.22864056, rel=1e-5)
    assert data.optimum == pytest.approx(0.0100559084, rel=1e-6)


@given(
    st.integers(1, 12),
    st.integers(1, 80),
    st.floats(0, 2),
    st.floats(1, 1e4),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=30)
def test_the_optimum_is_that_of_least_squares_and_nothing_is_below_it(
    features: int, size: int, noise: float, condition: float, seed: int
) -> None:
    data = regression.load(features, size, noise, 1.0 if features == 1 else condition, seed)
    x, y = _arrays(data)
    fitted = LinearRegression().fit(x, y)
    lowest = np.mean((fitted.predict(x) - y) ** 2)
    assert data.optimum is not None
    assert data.optimum == pytest.approx(lowest, rel=1e-6, abs=1e-9)
    random = np.random.RandomState(0)
    for scale in (0.0, 1e-3, 1.0):
        weights = fitted.coef_.T + scale * random.normal(size=(features, 1))
        bias = fitted.intercept_ + scale * random.normal()
        assert data.optimum <= np.mean((x @ weights + bias - y) ** 2) + 1e-9


@pytest.mark.parametrize("condition", [1.0, 100.0, 1e4])
def test_the_covariance_has_the_condition_number_and_evenly_spread_eigenvalues(condition: float) -> None:
    x, _ = _arrays(regression.load(features=5, size=50_000, condition=condition))
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    assert eigenvalues == pytest.approx(np.logspace(0, -math.log10(condition), 5), rel=0.05)
    assert np.abs(x.mean(0)).max() < 0.02


def test_the_axes_are_turned() -> None:
    x, _ = _arrays(regression.load(features=5, size=5_000, condition=100.0))
    correlations = np.corrcoef(x.T)[np.triu_indices(5, 1)]
    assert np.abs(correlations).max() > 0.2


@pytest.mark.parametrize("noise", [0.0, 0.1, 3])
def test_the_noise_is_what_least_squares_leaves(noise: float) -> None:
    data = regression.load(features=4, size=20_000, noise=noise)
    assert data.optimum == pytest.approx(noise**2, rel=0.05, abs=1e-12)


def test_gradient_descent_arrives_at_the_optimum() -> None:
    data = regression.load(condition=10.0)
    x, y = data.splits["train"]
    layer = torch.nn.Linear(10, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.4)
    losses = []
    for _ in range(400):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(layer(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert data.optimum is not None
    assert losses[-1] - data.optimum == pytest.approx(0, abs=1e-6)
    assert losses[0] - data.optimum > 1


def test_seeds_are_different_problems_and_nothing_global_is_drawn_from() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    prints = [regression.load(seed=seed).fingerprint for seed in (0, 1, 0)]
    assert prints[0] == prints[2] != prints[1]
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (np.random.get_state()[1] == numpy_state).all()


def test_val_and_test_are_other_examples_of_the_same_problem() -> None:
    data = regression.load(size=400, noise=0.01)
    fitted = LinearRegression().fit(*_arrays(data))
    seen = {row.tobytes() for row in data.splits["train"][0].numpy()}
    for split in ("val", "test"):
        x, y = _arrays(data, split)
        assert len(x) == 80
        assert np.mean((fitted.predict(x) - y) ** 2) < 2 * 0.01**2
        assert not seen & {row.tobytes() for row in data.splits[split][0].numpy()}
    assert regression.load(size=3).size("val") == 1


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("features", 0, "a whole number from 1 to 1000"),
        ("features", 1001, "a whole number from 1 to 1000"),
        ("features", True, "a whole number from 1 to 1000"),
        ("features", 2.0, "a whole number from 1 to 1000"),
        ("size", 0, "a whole number from 1 to 1000000"),
        ("size", "many", "a whole number from 1 to 1000000"),
        ("noise", -0.1, r"a number from 0 to 1e\+06"),
        ("noise", math.nan, r"a number from 0 to 1e\+06"),
        ("noise", math.inf, r"a number from 0 to 1e\+06"),
        ("noise", True, r"a number from 0 to 1e\+06"),
        ("condition", 0.5, r"a number from 1 to 1e\+12"),
        ("condition", math.nan, r"a number from 1 to 1e\+12"),
        ("condition", None, r"a number from 1 to 1e\+12"),
        ("condition", True, r"a number from 1 to 1e\+12"),
        ("seed", -1, "a whole number from 0 to 4294967295"),
        ("seed", 2**32, "a whole number from 0 to 4294967295"),
        ("seed", True, "a whole number from 0 to 4294967295"),
    ],
)
def test_it_refuses_nonsense(name: str, value: Any, rule: str) -> None:
    with pytest.raises(UserError, match=rf"^{name} must be {rule}, got {value}; set such a one$"):
        regression.load(**{name: value})


def test_one_feature_has_no_condition_to_choose() -> None:
    with pytest.raises(UserError, match=r"condition must be 1 for one feature, got 10.0; set features to 2 or more"):
        regression.load(features=1, condition=10.0)
