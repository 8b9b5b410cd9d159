"""Effects with censored values: intervals and one-sided bounds over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from bench.analysis.inference import LEVEL, sum_of_variances

MIN_PAIRS_OF_BOUNDS = 5
"""Pairs below which Student's t of bounds that end at a censoring says too much; see `effect`."""


TAIL = (1 - LEVEL) / 2
"""Error of each limit of an interval."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Hold what is known of a quantity on both sides of a comparison, paired by seed, a less b.

    Attributes:
        low: Of each pair, the least that d_i = x_a,i - x_b,i can be (for ratios: difference of natural logarithms), shape
            (pairs,). -inf where nothing is known.
        high: The most it can be; equal to `low` where the difference is known, inf where nothing is known.
        errors: Further independent errors of the difference, which shift all pairs alike, such as of separately measured
            step times: each (standard error >= 0, degrees of freedom > 0).
        exact: Nothing is random (bytes): the differences are the truth, the interval has no width.

    Raises:
        ValueError: Bounds are missing, of unequal number or the wrong way round, an error is not one, or what is exact
            has an infinite bound or an error.
    """

    low: np.ndarray
    high: np.ndarray
    errors: Sequence[tuple[float, float]] = ()
    exact: bool = False

    def __post_init__(self) -> None:
        low, high = np.array(self.low, dtype=float), np.array(self.high, dtype=float)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if low.ndim != 1 or low.shape != high.shape:
            raise ValueError(
                f"sample.high must have the shape of sample.low, (pairs,), got {high.shape} and {low.shape};"
                " give one of each a pair"
            )
        if not (low <= high).all():  # not so for NaN
            raise ValueError(
                f"sample.low must be at most sample.high, got {low.tolist()} and {high.tolist()}; give -inf and inf where"
                " nothing is known"
            )
        if not all(0 <= error < math.inf and 0 < df < math.inf for error, df in self.errors):
            raise ValueError(
                "sample.errors must be pairs of a standard error of at least 0 and degrees of freedom above 0, got"
                f" {list(self.errors)}; leave out what was not measured"
            )
        if self.exact and (self.errors or not np.isfinite([low, high]).all()):
            raise ValueError(
                "sample.exact must be false where an error or an infinite bound is given, got true; give differences only"
            )

    def __neg__(self) -> Sample:
        """Return the same of b less a."""
        return Sample(-self.high, -self.low, self.errors, self.exact)

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.low)

    @property
    def num_bounded(self) -> int:
        """Number of pairs whose difference is known only by bounds."""
        return int((self.low != self.high).sum())

    @property
    def method(self) -> str:
        """Where the interval comes from: `exact`, `t` (at least one limit), `sign` (order statistics), `none`."""
        if self.n < (1 if self.exact else 2):
            return "none"
        if self.exact:
            return "exact"
        if self._is_constant(self.low) and self._is_constant(self.high):
            return "sign"
        num_known = int(np.isfinite(self.low).all()) + int(np.isfinite(self.high).all())
        return "t" if num_known == 2 or (num_known == 1 and self.n >= MIN_PAIRS_OF_BOUNDS) else "sign"

    def _is_constant(self, bound: np.ndarray) -> bool:
        """Tell whether nothing shows how the differences vary; errors of their own do, and what is exact does not vary."""
        return not (self.exact or self.errors or bound.min() < bound.max())

    @property
    def estimate(self) -> tuple[float, str]:
        """The mean difference; where no mean is known, a bound of it and which one."""
        if self.n == 0:
            return math.nan, ""
        low, high = (np.isfinite(bound).all() for bound in (self.low, self.high))
        if low and high:
            return (_mean(self.low) + _mean(self.high)) / 2, ""
        if low:
            return _mean(self.low), "at least"
        return (_mean(self.high), "at most") if high else (math.nan, "")

    def lower_limit(self, tail: float = TAIL) -> float:
        """Return the limit below which the difference lies with that probability at most; -inf where there is none."""
        return min((test.lower_limit(tail) for test in self._tests()), default=-math.inf)

    def p_above(self, margin: float) -> float:
        """Return the one-sided p of "the difference is at most the margin"."""
        return max((test.p_above(margin) for test in self._tests()), default=1.0)

    def _tests(self) -> list[_Student | _Sign]:
        """Return the tests that must all lie above a margin for the difference to count as above it."""
        if self.method == "none":
            return []
        by_t = self.method in ("exact", "t")
        if np.isfinite(self.low).all() and self._is_constant(self.low):
            return [_sign(self.low, ())]
        if by_t and np.isfinite(self.low).all():
            return [_student(self.low, self.errors, self.exact)]
        tests: list[_Student | _Sign] = [_sign(self.low, self.errors)]
        if by_t:
            # the other limit is one of the mean, which a few outliers may have carried past the median
            tests.append(_student(self.high, self.errors))
        return tests


@dataclass(frozen=True, eq=False)
class Spread:
    """Hold two samples whose standard deviations are compared: the effect is log(sd_a / sd_b).

    The interval is that of the F distribution, for normal samples independent of each other. Pairing by seed makes
    it wider than needed; tails heavier than the normal's make it too narrow. Where one side does not vary at all, there
    is none: its spread is below what the numbers resolve.

    Attributes:
        a: One number a run, finite.
        b: The same of the other side.

    Raises:
        ValueError: A number is missing or infinite.
    """

    a: np.ndarray
    b: np.ndarray

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            values = np.array(getattr(self, name), dtype=float)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(
                    f"spread.{name} must be finite numbers, one a run, got {values.tolist()}; leave out runs that have none"
                )

    def __neg__(self) -> Spread:
        """Return the same of b to a."""
        return Spread(self.b, self.a)

    @property
    def n(self) -> int:
        """Number of runs of the side that has fewer."""
        return min(len(self.a), len(self.b))

    num_bounded = 0

    @property
    def method(self) -> str:
        """`F`, or `none` where a side does not vary."""
        varies = all(len(side) > 1 and side.min() < side.max() for side in (self.a, self.b))
        return "F" if varies else "none"

    @property
    def estimate(self) -> tuple[float, str]:
        """log(sd_a / sd_b), which is never a bound."""
        if self.method == "none":
            return math.nan, ""
        return math.log(self.a.std(ddof=1)) - math.log(self.b.std(ddof=1)), ""

    def lower_limit(self, tail: float = TAIL) -> float:
        """Return the limit below which the effect lies with that probability at most; -inf where there is none."""
        if self.method == "none":
            return -math.inf
        return self.estimate[0] - math.log(special.fdtri(*self._df, 1 - tail)) / 2

    def p_above(self, margin: float) -> float:
        """Return the one-sided p of "the difference is at most the margin"."""
        if self.method == "none":
            return 1.0
        return float(special.fdtrc(*self._df, math.exp(min(700.0, 2 * (self.estimate[0] - margin)))))

    @property
    def _df(self) -> tuple[int, int]:
        return len(self.a) - 1, len(self.b) - 1


@dataclass(frozen=True)
class _Student:
    """A mean with its standard error and degrees of freedom; without an error, the truth."""

    mean: float
    error: float
    df: float

    def lower_limit(self, tail: float) -> float:
        return self.mean - float(special.stdtrit(self.df, 1 - tail)) * self.error if self.error > 0 else self.mean

    def p_above(self, margin: float) -> float:
        if self.error == 0:
            return float(self.mean <= margin)
        return float(special.stdtr(self.df, (margin - self.mean) / self.error))


@dataclass(frozen=True, eq=False)
class _Sign:
    """Limits of a median by order statistics, whatever the distribution, and an error that all values share.

    The k-th smallest of n lies above the median with probability P(B < k), B binomial(n, 1/2). A shared error takes
    half of the level (Bonferroni), as nothing is known of how it adds to order statistics.
    """

    values: np.ndarray
    error: float
    df: float

    def lower_limit(self, tail: float) -> float:
        tail = tail / self._num_parts
        k = int((self._tails < tail).sum())
        shift = float(special.stdtrit(self.df, 1 - tail)) * self.error if self.error > 0 else 0.0
        return float(self.values[k - 1]) - shift if k else -math.inf

    def p_above(self, margin: float) -> float:
        if self.error > 0:
            apart = special.stdtr(self.df, (margin - self.values) / self.error)
        else:
            apart = (self.values <= margin).astype(float)
        return min(1.0, self._num_parts * float(np.maximum(self._tails, apart).min()))

    @property
    def _num_parts(self) -> int:
        return 2 if self.error > 0 else 1

    @property
    def _tails(self) -> np.ndarray:
        n = len(self.values)
        return np.asarray(special.bdtr(np.arange(n), n, 0.5))


def _student(values: np.ndarray, errors: Sequence[tuple[float, float]], exact: bool = False) -> _Student:
    fixed = exact or values.min() == values.max()
    error = 0.0 if fixed else float(values.std(ddof=1)) / math.sqrt(len(values))
    return _Student(_mean(values), *_sum_of_errors([(error, len(values) - 1), *errors]))


def _mean(values: np.ndarray) -> float:
    """Return the mean, of equal numbers that number itself: rounding must not carry it past a margin."""
    return float(values[0] if values.min() == values.max() else values.mean())


def _sign(values: np.ndarray, errors: Sequence[tuple[float, float]]) -> _Sign:
    return _Sign(np.sort(values), *_sum_of_errors(errors))


def _sum_of_errors(errors: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Return the standard error of a sum of independent parts and its degrees of freedom, see `sum_of_variances`."""
    parts = list(errors)
    scale = max((error for error, _ in parts), default=0.0) or 1.0  # the square of a small error may be 0
    variance, df = sum_of_variances(((error / scale) ** 2, df) for error, df in parts)
    return scale * math.sqrt(variance), df


class Effect(NamedTuple):
    """A difference, a less b, in the units of its sample.

    Attributes:
        estimate: The mean difference; NaN where no finite one is known.
        low: Lower limit of the 95 % interval, -inf where there is none.
        high: Upper limit, inf where there is none.
        n: Pairs.
        num_bounded: Of these, how many are known by bounds only.
        method: `t` (Student's, for at least one limit), `sign` (order statistics, for the median), `exact`, `F` or
            `none`.
        bound: `at least` or `at most` where the estimate is a bound, else empty.
    """

    estimate: float
    low: float
    high: float
    n: int
    num_bounded: int
    method: str
    bound: str


def effect(sample: Sample | Spread, tail: float = TAIL) -> Effect:
    """Return the effect that a sample shows, and its interval, of 95 % unless another error of each limit is given.

    Each limit stands by itself. The lower one is Student's t limit of the pairs' lower bounds where all are finite, as
    no difference is less than its bound; further errors are added after Welch and Satterthwaite. Else it is the order
    statistic of the lower bounds that bounds the median from below, -inf with fewer than six pairs (a shared error
    needs seven); it is then kept from passing the t interval of the upper bounds, if these are finite. The upper limit
    likewise. Numbers that do not vary, such as steps known to the spacing of evaluations, are no proof that nothing varies:
    their limits are order statistics. With further errors they count as known, and these are the errors.

    An outlier that is known by a bound only widens a t interval less than its true value would, so that a limit can move
    inwards with it; and bounds that end at a censoring are skewed. Of normal differences censored anywhere, a limit
    lies beyond the mean at most 2.6 % of the time with ten pairs, 3.9 % with five, 12 % with three (where all are
    known, 2.5 %): so with infinite bounds on one side t needs five pairs.

    Returns:
        Where all bounds are finite, the estimate is the mean of their middles; where only the lower or only the upper
        ones are, it is their mean, a bound. With fewer than two pairs of what is random, there is no interval.

    >>> found = effect(Sample([-0.3, -0.2, -0.25], [-0.3, -0.2, -0.25]))
    >>> round(found.estimate, 3), round(found.low, 3), round(found.high, 3), found.method
    (-0.25, -0.374, -0.126, 't')
    """
    estimate, bound = sample.estimate
    return Effect(
        estimate,
        sample.lower_limit(tail),
        -(-sample).lower_limit(tail),
        sample.n,
        sample.num_bounded,
        sample.method,
        bound,
    )


def p_above(sample: Sample | Spread, margin: float) -> float:
    """Return the one-sided p of "the difference is at most the margin".

    It is below .025 just where the interval lies above the margin.

    >>> round(p_above(Sample([0.3, 0.2, 0.25], [0.3, 0.2, 0.25]), 0.1), 4)
    0.0175
    """
    return sample.p_above(margin)


def p_below(sample: Sample | Spread, margin: float) -> float:
    """Return the one-sided p of "the difference is at least the margin".

    It is below .025 just where the interval lies below the margin.

    >>> round(p_below(Sample([-0.3, -0.2, -0.25], [-0.3, -0.2, -0.25]), -0.1), 4)
    0.0175
    """
    return (-sample).p_above(-margin)


def p_two_sided(sample: Sample | Spread) -> float:
    """Return the two-sided p of "there is no difference".

    >>> round(p_two_sided(Sample([-0.3, -0.2, -0.25], [-0.3, -0.2, -0.25])), 4)
    0.0131
    """
    return min(1.0, 2 * min(p_above(sample, 0.0), p_below(sample, 0.0)))
