"""Define the ranges of hyperparameters that are searched."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from bench.base.errors import UserError
from bench.config.schema import OptimizerConfig, SweepConfig

ENTRIES = {"beta1": ("betas", 0), "beta2": ("betas", 1)}
"""Names of what can be searched that are elements of a list: the hyperparameter, and which element."""


@dataclass(frozen=True)
class Range:
    """A range of a hyperparameter, uniform on a logarithmic scale.

    Attributes:
        name: As in `optimizer.search`.
        low: The lowest value of what is even: the value, or one less the value.
        high: The highest.
        one_minus: Whether that is one less the value.
    """

    name: str
    low: float
    high: float
    one_minus: bool = False

    def at(self, share: float) -> float:
        """Return the value at a share of the width, from 0 (lowest of what is even) to 1, to four digits."""
        even = float(f"{self.low * (self.high / self.low) ** share:.4g}")
        return float(f"{1 - even:.10g}") if self.one_minus else even

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        first, last = sorted((self.at(0.0), self.at(1.0)))
        return first, last

    def decade_beyond(self, above: bool) -> Range:
        """Return the decade next to the range: above its highest `even` value, or below its lowest."""
        if above:
            return replace(self, low=self.high, high=self.high * 10)
        return replace(self, low=self.low / 10, high=self.low)

    def with_decade(self, above: bool) -> Range:
        """Return the range with that decade added."""
        return replace(self, high=self.high * 10) if above else replace(self, low=self.low / 10)


def space(optimizer: OptimizerConfig, sweep: SweepConfig) -> list[Range]:
    """Return the ranges to be searched for an optimizer: the entries of `sweep.over` that it has.

    An optimizer without a `search` of its own (a person's class) is searched around the learning rate given.

    Raises:
        UserError: It has none of them, or a range leaves what the hyperparameter may be.
    """
    ranges = []
    for name in sweep.over:
        entry = optimizer.search.get(name)
        lr = optimizer.options.get("lr")
        if entry is not None:
            center, decades, one_minus = entry.center, entry.decades or sweep.decades, entry.scale == "one_minus"
        elif name == "lr" and isinstance(lr, float) and lr > 0 and not optimizer.search:
            center, decades, one_minus = lr, sweep.decades, False
        else:
            continue
        middle, half = (1 - center if one_minus else center), 10 ** (decades / 2)
        if middle <= 0:
            raise UserError(
                f"optimizer.search.{name}.center must be below 1 with scale: one_minus, got {center:g}; lower it"
            )
        high = min(middle * half, 1.0) if one_minus else middle * half
        ranges.append(Range(name, middle / half, high, one_minus))
    if not ranges:
        has = ", ".join(optimizer.search) or "nothing"
        raise UserError(
            f"sweep.over must name something to search of optimizer={optimizer.name}, which has {has}, got"
            f" {', '.join(sweep.over)}; add for example +optimizer.search.{sweep.over[0]}.center=0.01"
        )
    return ranges


def shares(method: str, num: int, num_axes: int, seed: int = 0) -> np.ndarray:
    """Return points of the unit cube.

    Args:
        method: grid: even, ends included; random: uniform; halton: the sequence in bases 2, 3, 5, ... after its
            first point, the origin (Halton 1960), so that it begins in the middle.
        num: How many.
        num_axes: Of the cube.
        seed: Of random.

    Returns:
        Shape (num, num_axes). The first points of a longer sequence are the shorter one, but for grid.

    Raises:
        UserError: A grid of so many points is not a cube.
    """
    if method == "grid":
        each = round(num ** (1 / num_axes))
        if each**num_axes != num:
            raise UserError(
                f"sweep.trials must be a whole number to the power of {num_axes}, the axes of the grid, such as"
                f" {max(2, each) ** num_axes}, got {num}; or choose sweep.method=halton"
            )
        axis = np.linspace(0, 1, each)
        return np.array(list(itertools.product(axis, repeat=num_axes)))
    if method == "random":
        return np.random.default_rng(seed).random((num, num_axes))
    from scipy.stats import qmc

    return np.asarray(qmc.Halton(num_axes, scramble=False).fast_forward(1).random(num))
