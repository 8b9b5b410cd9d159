"""Test functions: their minima, values by hand, gradients, starts and refusals; and the data that is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UserError
from bench.data import nothing
from models.function import FUNCTIONS, Function

VALUES = [
    ("rosenbrock", (1, 1), 0.0),
    ("rosenbrock", (-1.2, 1), 24.2),  # Moré, Garbow and Hillstrom, problem 1
    ("rosenbrock", (0, 0), 1.0),
    ("rosenbrock", (2, 1), 901.0),
    ("beale", (3, 0.5), 0.0),
    ("beale", (1, 1), 14.203125),  # the same, problem 5
    ("beale", (0, 0), 14.203125),
    ("beale", (1, -1), 0.5**2 + 2.25**2 + 0.625**2),
    ("rastrigin", (0, 0), 0.0),
    ("rastrigin", (1, 1), 2.0),
    ("rastrigin", (0.5, 0.5), 40.5),
    ("rastrigin", (4.5, -4.5), 80.5),
]


@pytest.mark.parametrize(("function", "point", "value"), VALUES)
def test_values_are_those_worked_out_by_hand(function: str, point: tuple[float, float], value: float) -> None:
    found = Function(function).values(torch.tensor(point, dtype=torch.float64))
    assert found.item() == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_minimum_is_0_and_no_point_of_a_fine_grid_is_lower(function: str) -> None:
    model = Function(function)
    (x_low, x_high), (y_low, y_high) = model.window
    x, y = (torch.linspace(low, high, 501, dtype=torch.float64) for low, high in ((x_low, x_high), (y_low, y_high)))
    values = model.values(torch.cartesian_prod(x, y))
    assert values.min().item() >= -1e-12
    minimum = torch.tensor(model.minimum, dtype=torch.float64, requires_grad=True)
    at = model.values(minimum)
    assert at.item() == pytest.approx(0, abs=1e-12)
    (slope,) = torch.autograd.grad(at, minimum)
    assert slope.tolist() == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_grid_of_101_over_the_window_has_the_minimum_on_it(function: str) -> None:
    model = Function(function)
    for (low, high), at in zip(model.window, model.minimum, strict=True):
        assert (torch.linspace(low, high, 101, dtype=torch.float64) - at).abs().min().item() < 1e-9


def _slope(function: str, x: float, y: float) -> tuple[float, float]:
    """Derivatives by pencil."""
    if function == "rosenbrock":
        return -2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)
    if function == "beale":
        parts = [(c - x + x * y**n, n) for c, n in ((1.5, 1), (2.25, 2), (2.625, 3))]
        return sum(2 * p * (y**n - 1) for p, n in parts), sum(2 * p * n * x * y ** (n - 1) for p, n in parts)
    tau = 2 * torch.pi
    sine = [float(torch.sin(torch.tensor(tau * v, dtype=torch.float64))) for v in (x, y)]
    return 2 * x + 10 * tau * sine[0], 2 * y + 10 * tau * sine[1]


@pytest.mark.parametrize("function", FUNCTIONS)
@given(x=st.floats(-3, 3), y=st.floats(-3, 3), rows=st.integers(1, 5))
def test_the_gradient_is_that_of_one_value_however_many_rows(function: str, x: float, y: float, rows: int) -> None:
    model = Function(function, [x, y]).double()
    with torch.no_grad():
        model.point.copy_(torch.tensor([x, y], dtype=torch.float64))
    outputs = model(torch.zeros(rows, 1))
    assert outputs.shape == (rows, 1)
    outputs.mean().backward()
    assert model.point.grad is not None
    assert model.point.grad.tolist() == pytest.approx(_slope(function, x, y), rel=1e-6, abs=1e-6)
    point = model.point.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(model.values, (point,))


def test_starts_are_the_customary_ones_or_given_and_lie_in_the_window() -> None:
    starts = {name: Function(name).point.tolist() for name in FUNCTIONS}
    assert starts["rosenbrock"] == pytest.approx([-1.2, 1])
    assert starts["beale"] == [1, 1]
    assert starts["rastrigin"] == [-2, 3.5]
    far = Function("beale", [-7, 9.5])
    assert far.point.tolist() == [-7, 9.5]
    assert far.window == ((-7, 4), (-1, 9.5))
    assert [name for name, _ in far.named_parameters()] == ["point"]
    for name, (x, y) in starts.items():
        (x_low, x_high), (y_low, y_high) = Function(name).window
        assert x_low <= x <= x_high
        assert y_low <= y <= y_high


@pytest.mark.parametrize("start", [[1], [1, 2, 3], "ab", 3, [True, 1], [float("nan"), 0], [1e9, 0], [None, 1], {}])
def test_a_start_that_is_no_point_is_refused(start: Any) -> None:
    with pytest.raises(ValueError, match="start must be two numbers from -1e6 to 1e6, or null, got "):
        Function("rosenbrock", start)


@pytest.mark.parametrize("function", ["Rosenbrock", "function", ""])
def test_an_unknown_function_is_refused_with_a_list(function: str) -> None:
    with pytest.raises(ValueError, match=f"model.name must be one of rosenbrock, beale, rastrigin, got {function};"):
        Function(function)


def test_momentum_finds_the_end_of_the_valley() -> None:
    model = Function("rosenbrock")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    for _ in range(2000):
        optimizer.zero_grad()
        model(torch.zeros(1, 1)).mean().backward()
        optimizer.step()
    assert model.point.tolist() == pytest.approx([1, 1], abs=1e-3)


def test_data_that_is_none_is_zeros_and_an_epoch_of_one_step() -> None:
    data = nothing.load(examples=4)
    assert {split: data.size(split) for split in data.splits} == {"train": 4, "val": 4, "test": 4}
    assert (data.spec.task, data.spec.loss, data.spec.num_outputs, data.spec.input_shape) == (
        "objective",
        "mean",
        1,
        (1,),
    )
    assert not any(part.any() for pair in data.splits.values() for part in pair)
    batches = data.shuffled(4, 0)
    assert [len(next(batches)[0]) for _ in range(3)] == [4, 4, 4]
    assert data.class_counts() is None


@pytest.mark.parametrize("examples", [0, -1, 1.5, True, None, 10**7])
def test_a_number_of_examples_out_of_range_is_refused(examples: Any) -> None:
    with pytest.raises(UserError, match=f"examples must be a whole number from 1 to 1000000, got {examples}; set"):
        nothing.load(examples=examples)
