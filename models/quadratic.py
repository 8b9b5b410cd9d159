"""A noisy quadratic with the curvature of a deep network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

DIMENSION = 100
NUM_FLAT = 90


class Quadratic(nn.Module):
    """The loss (theta - x)' Q (theta - x) / 2 of each example x, with theta as the one parameter.

    Nine tenths of the eigenvalues of Q lie between 0 and 1, the rest between 30 and 60, as was found in
    deep networks. Q is a part of the problem, the same for every seed; theta starts at (1, ..., 1).

    Args:
        input_shape: Must be (100,).

    Shapes:
        Input (N, 100), output (N, 1): the loss itself.

    Raises:
        ValueError: The data has another shape.

    References:
        Schneider, Balles and Hennig, "DeepOBS: A Deep Learning Optimizer Benchmark Suite", 2019,
        arXiv:1903.05499: the problem quadratic_deep. The spectrum is after Chaudhari et al.,
        "Entropy-SGD: Biasing Gradient Descent Into Wide Valleys", 2017, arXiv:1611.01838.
    """

    hessian: Tensor

    def __init__(self, input_shape: Sequence[int]) -> None:
        super().__init__()
        if tuple(input_shape) != (DIMENSION,):
            got = "x".join(map(str, input_shape))
            raise ValueError(f"input_shape must be {DIMENSION} for quadratic, got {got}")
        self.theta = nn.Parameter(torch.ones(DIMENSION))
        self.register_buffer("hessian", torch.from_numpy(hessian()).float())

    def forward(self, inputs: Tensor) -> Tensor:
        difference = self.theta - inputs
        return 0.5 * (difference @ self.hessian * difference).sum(-1, keepdim=True)


def eigenvalues(random: np.random.RandomState) -> np.ndarray:
    """Draw 90 eigenvalues uniform on (0, 1), then 10 uniform on (30, 60), unsorted.

    Args:
        random: A generator with nothing drawn from it yet.
    """
    return np.concatenate([random.uniform(0, 1, NUM_FLAT), random.uniform(30, 60, DIMENSION - NUM_FLAT)])


def rotation(random: np.random.RandomState, dimension: int) -> np.ndarray:
    """Return an orthogonal matrix with determinant 1, uniform by the Haar measure.

    From a uniform rotation of the plane, each round adds a dimension in front and reflects its axis onto a
    uniform point v of the sphere: R <- (I - 2 u u') diag(1, R), where u = (e_1 - v) / |e_1 - v|.

    Args:
        random: The angle is drawn from it, then the points, in the order of their dimension.
        dimension: 2 or more.

    Returns:
        Shape (dimension, dimension).

    References:
        Diaconis and Shahshahani, "The subgroup algorithm for generating uniform random variables",
        Probability in the Engineering and Informational Sciences 1, 1987.

    Differs from the paper's R in the sign, like DeepOBS: -R has determinant 1 in every dimension. Q is
    the same for both.
    """
    angle = 2 * np.pi * random.uniform()
    made = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for size in range(3, dimension + 1):
        axis = -random.normal(size=size)
        axis /= np.linalg.norm(axis)
        axis[0] += 1
        axis /= np.linalg.norm(axis)
        larger = np.eye(size)
        larger[1:, 1:] = made
        made = larger - 2 * np.outer(axis, axis @ larger)
    return -made


def hessian(seed: int = 42) -> np.ndarray:
    """Return the matrix Q = R' diag(eigenvalues) R, in double precision.

    Args:
        seed: Of the stream that eigenvalues and rotation come from, in this order; 42 is DeepOBS's.

    Returns:
        Shape (100, 100), symmetric and positive definite.
    """
    random = np.random.RandomState(seed)
    spectrum = eigenvalues(random)
    turn = rotation(random, DIMENSION)
    made: np.ndarray = turn.T @ (spectrum[:, None] * turn)
    return made
