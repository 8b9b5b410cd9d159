"""Intervals and tests of ratios that are paired by seed: Student's t, bootstrap, Holm's correction, sign test."""

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
    """Mean and its Student t interval.

    Args:
        values: One number a run; the missing are left out.
        level: Coverage of the interval, in (0, 1).

    Returns:
        (mean, low, high); the bounds are NaN below two values, all three without any.
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


RATIO_COLUMNS = ("num_pairs", "ratio", "ratio_low", "ratio_high", "p", "log_sd", "method")
"""What `mean_log_ratio` gives."""


MIN_BOOTSTRAP_PAIRS = 20
"""Pairs from which intervals come from a bootstrap; below, resampling undercovers and Student's t holds better."""


NUM_RESAMPLES = 4_999


def mean_log_ratio(differences: np.ndarray, strata: np.ndarray | None = None) -> dict[str, float | int | str]:
    """Ratio of two paired quantities, its interval, and p of no difference.

    The ratio is exp(m), m the mean of the differences d_i = log a_i - log b_i. Below 20 pairs the interval
    is Student's t. From 20 on it is that of a studentised bootstrap: d is resampled within each stratum,
    T* = (m* - m) / se*, the interval is [m - q_hi se, m - q_lo se] with the quantiles q of T*, and p is the share of
    |T*| at least as large as |m| / se. It has a random generator of its own, always seeded alike.

    Args:
        differences: d_i, at least two finite numbers.
        strata: A label for each, such as the environment it was measured in; None for one stratum.

    Returns:
        The keys of RATIO_COLUMNS.

    References:
        Davison and Hinkley, "Bootstrap Methods and their Application" (1997), sections 3.2 (strata) and 5.2
        (studentised).
    """
    n = len(differences)
    mean, low, high = mean_interval(differences)
    p, method = p_value(differences), "t"
    spread = float(differences.std(ddof=1))
    if n >= MIN_BOOTSTRAP_PAIRS and spread > 0:
        scaled = _studentised(differences, np.zeros(n) if strata is None else strata)
        error = _stratified_error(differences, np.zeros(n) if strata is None else strata)
        if scaled is not None and error > 0:
            q_low, q_high = np.quantile(scaled, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
            low, high, method = mean - q_high * error, mean - q_low * error, "bootstrap"
            p = float((1 + (np.abs(scaled) >= abs(mean) / error).sum()) / (1 + len(scaled)))
    values = (n, math.exp(mean), safe_exp(low), safe_exp(high), p, spread, method)
    return dict(zip(RATIO_COLUMNS, values, strict=True))


def _stratified_error(values: np.ndarray, strata: np.ndarray) -> float:
    """Standard error of the mean of a stratified sample."""
    groups = [values[strata == label] for label in np.unique(strata)]
    return math.sqrt(sum(len(g) * float(g.var(ddof=1)) for g in groups if len(g) > 1)) / len(values)


def _studentised(values: np.ndarray, strata: np.ndarray) -> np.ndarray | None:
    """T* of resamples within strata; None where strata are too small to resample."""
    random = np.random.default_rng(0)
    total, variance = np.zeros(NUM_RESAMPLES), np.zeros(NUM_RESAMPLES)
    for label in np.unique(strata):
        group = values[strata == label]
        if len(group) < 2:
            return None
        drawn = group[random.integers(len(group), size=(NUM_RESAMPLES, len(group)))]
        total += drawn.sum(axis=1)
        variance += len(group) * drawn.var(axis=1, ddof=1)
    known = variance > 0
    n = len(values)
    return np.asarray((total[known] / n - values.mean()) / (np.sqrt(variance[known]) / n))


def safe_exp(value: float) -> float:
    """Of an interval's bound: two pairs that hardly agree can put it beyond what a float holds."""
    return math.exp(value) if value < 700 else math.inf


def with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """A table of comparisons with a column p, and p_holm (Holm's over all with a p) and significant (p_holm < .05)."""
    p_holm = np.full(len(table), math.nan)
    tested = table["p"].notna().to_numpy(bool)
    p_holm[tested] = holm(table["p"].to_numpy(float)[tested])
    return table.assign(p_holm=p_holm, significant=p_holm < 1 - LEVEL)


def p_value(differences: np.ndarray) -> float:
    """Two-sided p of Student's t test that the mean of at least two paired differences is 0."""
    mean, n = float(differences.mean()), len(differences)
    spread = float(differences.std(ddof=1)) / math.sqrt(n)
    return float(2 * special.stdtr(n - 1, -abs(mean) / spread)) if spread > 0 else float(mean == 0)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values (Holm 1979): the family-wise error stays below the level.

    Args:
        p: p-values, each in [0, 1].
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.minimum(1.0, np.maximum.accumulate(p[order] * factors)) if len(p) else p
    result = np.empty(len(p))
    result[order] = adjusted
    return result


class Probability(NamedTuple):
    """An estimated probability and its interval."""

    p: float
    low: float
    high: float


def probability_better(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, level: float = LEVEL
) -> Probability:
    """Probability that a run of A ends lower than a run of B: P(A < B) + P(A = B) / 2.

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
    """Where an interval that holds `start` ends on the way to `end`, by bisection."""
    if start == end:
        return end
    near, far = start, end
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if inside(middle) else (near, middle)
    return near


def half_width(df: float) -> float:
    """Standard errors on either side of a mean in its interval."""
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
    """Two-sided p of the exact sign test: this many wins and losses, ties left out; 1 without any."""
    n = wins + losses
    return min(1.0, 2 * float(special.bdtr(min(wins, losses), n, 0.5))) if n else 1.0
