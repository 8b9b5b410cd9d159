"""Intervals and tests: Student's t, Holm's correction, the probability of being better, the sign test."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

LEVEL = 0.95
"""Level of every interval."""


def mean_interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float, float]:
    """Return the mean and its Student t interval.

    Args:
        values: One number a run; the missing are left out.
        level: Coverage of the interval, in (0, 1).

    Returns:
        (mean, low, high); the bounds are NaN below two values, all three without any.

    >>> [round(value, 3) for value in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    x = np.asarray(values, dtype=float)
    x = x[np.isfinite(x)]
    if len(x) == 0:
        return (math.nan,) * 3
    mean = float(x.mean())
    if len(x) == 1:
        return mean, math.nan, math.nan
    half = float(special.stdtrit(len(x) - 1, 0.5 + level / 2) * x.std(ddof=1) / math.sqrt(len(x)))
    return mean, mean - half, mean + half


def safe_exp(value: float) -> float:
    """Return exp of an interval's bound, inf where two pairs that hardly agree put it beyond what a float holds."""
    return math.exp(value) if value < 700 else value if math.isnan(value) else math.inf


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Add p_holm (Holm's over all rows that have a p) and significant (p_holm < .05) to a table with a column p."""
    p_holm = np.full(len(table), math.nan)
    tested = table["p"].notna().to_numpy(bool)
    p_holm[tested] = holm(table["p"].to_numpy(float)[tested])
    return table.assign(p_holm=p_holm, significant=p_holm < 1 - LEVEL)


def p_value(differences: np.ndarray) -> float:
    """Return the two-sided p of Student's t test that the mean of at least two paired differences is 0."""
    mean, n = float(differences.mean()), len(differences)
    spread = float(differences.std(ddof=1)) / math.sqrt(n)
    return float(2 * special.stdtr(n - 1, -abs(mean) / spread)) if spread > 0 else float(mean == 0)


def holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's adjusted p-values (Holm 1979): the family-wise error stays below the level.

    Args:
        p: p-values, each in [0, 1].

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(p) else p
    result = np.empty(len(p))
    result[order] = adjusted
    return result


def holm_factors(p: np.ndarray) -> np.ndarray:
    """Return the factor by which Holm's correction multiplies each p: an interval at level 1 - .05 / factor shows the same.

    Where the product is above 1, it is the factor of p's own rank.

    >>> holm_factors(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [3.0, 1.5, 2.0]
    """
    factors = np.empty(len(p))
    factors[np.argsort(p, kind="stable")] = len(p) - np.arange(len(p))
    adjusted = holm(p)
    inside = (p > 0) & (adjusted < 1)
    factors[inside] = adjusted[inside] / p[inside]
    return factors


class Probability(NamedTuple):
    """An estimated probability and its interval."""

    p: float
    low: float
    high: float


def probability_better(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, level: float = LEVEL
) -> Probability:
    """Estimate the probability that a run of A ends lower than a run of B: P(A < B) + P(A = B) / 2.

    p is the Mann-Whitney statistic over n_a n_b. The interval is Newcombe's method 5, all q with |q - p| <= t
    sqrt(V(q)), V(q) = q (1 - q) (1 + N ((1 - q) / (2 - q) + q / (1 + q))) / (n_a n_b), N = (n_a + n_b) / 2 - 1: it
    keeps its width where p is 0 or 1. Unlike there, t is Student's with n_a + n_b - 2 degrees of freedom, not the
    normal quantile: three runs each do not overlap one time in ten by chance, and must not exclude 1/2 then. Runs
    count as independent; pairing by seed makes the interval wider than needed.

    Args:
        a: Final losses of A, one a run; inf for a run that has none.
        b: Those of B.
        level: Coverage of the interval, in (0, 1).

    Returns:
        p, low, high in [0, 1]; NaN without runs.

    Raises:
        ValueError: A value is NaN; a lost run is inf.

    References:
        Vargha and Delaney (2000), J. Educ. Behav. Stat. 25; Newcombe, "Confidence intervals for an effect size
        measure based on the Mann-Whitney statistic, part 2" (2006), Stat. Med. 25, method 5.

    >>> [round(value, 2) for value in probability_better([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])]
    [1.0, 0.34, 1.0]
    """
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if np.isnan(x).any() or np.isnan(y).any():
        raise ValueError("losses must be numbers, got NaN; give inf for a run that has none")
    if len(x) == 0 or len(y) == 0:
        return Probability(math.nan, math.nan, math.nan)
    below = np.searchsorted(np.sort(y), x, side="right"), np.searchsorted(np.sort(y), x, side="left")
    p = float(1 - (below[0] + below[1]).sum() / (2 * len(x) * len(y)))
    quantile = float(special.stdtrit(max(1, len(x) + len(y) - 2), 0.5 + level / 2))
    n = (len(x) + len(y)) / 2 - 1

    def inside(q: float) -> bool:
        variance = q * (1 - q) * (1 + n * ((1 - q) / (2 - q) + q / (1 + q))) / (len(x) * len(y))
        return abs(q - p) <= quantile * math.sqrt(variance)

    return Probability(p, bisect_edge(inside, p, 0.0), bisect_edge(inside, p, 1.0))


def bisect_edge(inside: Callable[[float], bool], start: float, end: float) -> float:
    """Find by bisection where an interval that holds `start` ends on the way to `end`."""
    if start == end:
        return end
    near, far = start, end
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if inside(middle) else (near, middle)
    return near


def half_width(df: float) -> float:
    """Return the half-width of a 95 % interval of a mean, in standard errors."""
    return float(special.stdtrit(df, 0.5 + LEVEL / 2))


def sum_of_variances(parts: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Return the variance of a sum of independent estimates and its degrees of freedom.

    They are v = sum v_i and v^2 / sum(v_i^2 / d_i): the approximation of Welch and Satterthwaite.

    Args:
        parts: For each estimate its variance v_i, at least 0, and that variance's degrees of freedom d_i, above 0.

    Returns:
        The variance and its degrees of freedom, 1.0 where the variance is 0 and no number of them matters.

    References:
        Satterthwaite, "An approximate distribution of estimates of variance components" (1946), Biometrics Bulletin 2;
        Welch, "The generalization of Student's problem when several different population variances are involved" (1947),
        Biometrika 34.

    >>> sum_of_variances([(4.0, 9), (4.0, 9)])
    (8.0, 18.0)
    >>> sum_of_variances([(4.0, 9), (0.0, 4)])
    (4.0, 9.0)
    """
    known = list(parts)
    variance = sum((v for v, _ in known), 0.0)
    return variance, variance**2 / sum(v**2 / df for v, df in known) if variance > 0 else 1.0


def sign_test(wins: int, losses: int) -> float:
    """Return the two-sided p of the exact sign test of so many wins and losses, ties left out; 1 without any.

    >>> sign_test(wins=5, losses=0)
    0.0625
    """
    n = wins + losses
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), n, 0.5))) if n else 1.0
