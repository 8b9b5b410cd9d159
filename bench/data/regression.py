"""Synthetic linear regression with a chosen condition number."""

from __future__ import annotations

import math

import numpy as np
import torch

from bench.base.errors import UserError
from bench.data.dataset import Dataset, from_tensors


def load(features: int = 10, size: int = 1000, noise: float = 0.1, condition: float = 1.0, seed: int = 0) -> Dataset:
    """Draw y = w'x + b + noise * eps, with x from N(0, Sigma), and w, b and eps from N(0, 1).

    The eigenvalues of Sigma are spread evenly on a log scale from 1 down to 1 / condition, along axes
    turned at random. The Hessian of the mean squared error in w is 2 X'X / N, about 2 Sigma: the
    condition number is that of the problem. Val and test hold a fifth of `size` each, rounded down, and
    at least one.

    Args:
        features: Length of x, 1 to 1,000.
        size: Training examples, 1 to 1,000,000.
        noise: Standard deviation of the noise, 0 to 1e6; at 0 the lowest loss is 0.
        condition: Largest eigenvalue of Sigma over the smallest, 1 to 1e12.
        seed: Of the problem and all examples, 0 to 2^32 - 1; nothing else draws from it.

    Returns:
        Inputs (N, features), targets (N, 1). The optimum is the lowest mean squared error on train of a
        linear model with bias, by least squares in double precision.

    Raises:
        UserError: An argument is of another kind or out of its range.
    """
    for name, whole, least, most in (("features", features, 1, 1000), ("size", size, 1, 10**6)):
        if isinstance(whole, bool) or not isinstance(whole, int) or not least <= whole <= most:
            raise UserError(f"{name} must be a whole number from {least} to {most}, got {whole}; set such a one")
    for name, value, low, high in (("noise", noise, 0.0, 1e6), ("condition", condition, 1.0, 1e12)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(f"{name} must be a number from {low:g} to {high:g}, got {value}; set such a one")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UserError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed}; set such a one")
    if features == 1 and condition != 1:
        raise UserError(f"condition must be 1 for one feature, got {condition}; set features to 2 or more")
    random = np.random.RandomState(seed)
    weights, bias = random.normal(size=features), random.normal()
    spread = np.logspace(0, -math.log10(condition), features)
    # Q of a Gaussian matrix is uniform over rotations once R's diagonal is positive (Mezzadri 2007).
    turn, upper = np.linalg.qr(random.normal(size=(features, features)))
    axes = turn * np.sign(np.diag(upper)) * np.sqrt(spread)
    pairs = {}
    for split, num in (("train", size), ("val", max(1, size // 5)), ("test", max(1, size // 5))):
        x = random.normal(size=(num, features)) @ axes.T
        y = x @ weights + bias + noise * random.normal(size=num)
        pairs[split] = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y.astype(np.float32)).unsqueeze(1)
    inputs, targets = (part.numpy().astype(np.float64) for part in pairs["train"])
    optimum = lowest_loss(inputs, targets)
    return from_tensors(pairs, task="regression", optimum=optimum, optimum_of="models.linear.LinearRegression")


def lowest_loss(inputs: np.ndarray, targets: np.ndarray) -> float:
    """Return the lowest mean squared error of a linear model with bias.

    Args:
        inputs: Shape (N, features), double precision.
        targets: Shape (N, 1).
    """
    design = np.hstack([inputs, np.ones((len(inputs), 1))])
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]
    return float(np.mean((design @ solution - targets) ** 2))
