"""Functions of two variables with known minima: what an optimizer does where one can watch it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

Interval = tuple[float, float]


class _Problem(NamedTuple):
    value: Callable[[Tensor, Tensor], Tensor]
    minimum: tuple[float, float]
    start: tuple[float, float]
    window: tuple[Interval, Interval]


def rosenbrock(x: Tensor, y: Tensor) -> Tensor:
    """Return (1 - x)^2 + 100 (y - x^2)^2: a long, flat, bent valley; minimum 0 at (1, 1).

    References:
        Rosenbrock, "An automatic method for finding the greatest or least value of a function", 1960.
    """
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def beale(x: Tensor, y: Tensor) -> Tensor:
    """Return (1.5 - x + x y)^2 + (2.25 - x + x y^2)^2 + (2.625 - x + x y^3)^2: minimum 0 at (3, 0.5).

    References:
        Beale, "On an iterative method for finding a local minimum of a function of more than one
        variable", 1958.
    """
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def rastrigin(x: Tensor, y: Tensor) -> Tensor:
    """Return 20 + x^2 - 10 cos(2 pi x) + y^2 - 10 cos(2 pi y): a lattice of local minima; the lowest is 0 at (0, 0).

    References:
        Rastrigin, "Systems of extremal control", 1974.
    """
    tau = 2 * math.pi
    return 20 + x**2 - 10 * torch.cos(tau * x) + y**2 - 10 * torch.cos(tau * y)


FUNCTIONS = {
    "rosenbrock": _Problem(rosenbrock, (1.0, 1.0), (-1.2, 1.0), ((-2.0, 2.0), (-1.0, 3.0))),
    "beale": _Problem(beale, (3.0, 0.5), (1.0, 1.0), ((0.0, 4.0), (-1.0, 1.5))),
    "rastrigin": _Problem(rastrigin, (0.0, 0.0), (-2.0, 3.5), ((-5.12, 5.12), (-5.12, 5.12))),
}
"""By name: the function, where its minimum lies, where to start, and what to draw of it."""


class Function(nn.Module):
    """One point of the plane as the parameter, the value of a function there as the loss.

    Inputs only say how often the value is wanted. Nothing is random, so one seed says all.

    Args:
        function: "rosenbrock", "beale" or "rastrigin".
        start: Where the point starts, (x, y); None: (-1.2, 1) for rosenbrock and (1, 1) for beale, after
            Moré, Garbow and Hillstrom; (-2, 3.5) for rastrigin, from the well-known pictures of the
            package torch_optimizer.

    Attributes:
        point: The parameter, shape (2,).
        minimum: Where the function is lowest, (x, y).
        window: ((x_min, x_max), (y_min, y_max)) that is worth drawing, widened to hold the start.

    Shapes:
        Input (N, ...), output (N, 1): the value, N times.

    Raises:
        ValueError: There is no such function, or the start is not two finite numbers.

    References:
        Moré, Garbow and Hillstrom, "Testing unconstrained optimization software", 1981.
    """

    def __init__(self, function: str, start: Sequence[float] | None = None) -> None:
        super().__init__()
        if function not in FUNCTIONS:
            raise ValueError(f"model.name must be one of {', '.join(FUNCTIONS)}, got {function}; choose one of them")
        self._problem = FUNCTIONS[function]
        begin = self._problem.start if start is None else start
        if (
            not isinstance(begin, list | tuple)
            or len(begin) != 2
            or any(isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) <= 1e6 for v in begin)
        ):
            raise ValueError(
                f"start must be two numbers from -1e6 to 1e6, or null, got {start}; for example [-1.2, 1.0]"
            )
        self.point = nn.Parameter(torch.tensor([float(v) for v in begin]))
        (x_low, x_high), (y_low, y_high) = self._problem.window
        x, y = float(begin[0]), float(begin[1])
        self.window = (min(x_low, x), max(x_high, x)), (min(y_low, y), max(y_high, y))
        self.minimum = self._problem.minimum

    def values(self, points: Tensor) -> Tensor:
        """Return the function at some points.

        Args:
            points: Shape (..., 2).

        Returns:
            Shape (...).
        """
        return self._problem.value(points[..., 0], points[..., 1])

    def forward(self, inputs: Tensor) -> Tensor:
        return self.values(self.point).expand(len(inputs), 1)
