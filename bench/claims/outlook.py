"""Estimate how many seeds would decide a comparison that is open."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

from bench.analysis.bounds import TAIL, Spread
from bench.claims.verdict import orient

POWER = 0.8
"""Probability with which so many pairs as `pairs_to_decide` says decide a comparison."""


def pairs_to_decide(row: Any) -> float:
    """Return about how many pairs would decide a comparison, if they go on as those so far.

    With 80 % probability the interval of so many pairs lies on one side of the nearest limit between two answers. It is infinite
    where no number of pairs decides: where separately measured step times, or bounds, leave open more than the distance to that
    limit. Where infinite bounds say too little, it is four times the pairs so far: the next two looks.

    Args:
        row: One of what `bench.claims.verdict.judge` gives.
    """
    n, sign = int(row.n), orient(row.direction)
    tail = TAIL / row.factor
    limits = {"same": (-row.delta, row.delta), "less": (row.delta,), "more": (row.delta,)}
    margins = limits.get(row.direction, (-row.delta,))
    if isinstance(row.sample, Spread):  # the log of a ratio of standard deviations varies as 1 / (n - 1)
        distance = min(abs(sign * row.sample.estimate[0] - margin) for margin in margins)
        return 1.0 + _pairs(1.0, distance**2, 0.0, tail)
    sample = row.sample if sign > 0 else -row.sample
    known = [bound for bound in (sample.low, sample.high) if np.isfinite(bound).all()]
    if not known or n < 2:
        both = np.isinf(sample.low) & np.isinf(sample.high)
        return math.inf if n >= 10 and 2 * both.sum() >= n else 4.0 * n
    variance = max(float(bound.var(ddof=1)) for bound in known)
    fixed = sum(error**2 for error, _ in sample.errors)
    least, most = float(sample.low.mean()), float(sample.high.mean())
    distances = [max(least - margin, margin - most, 0.0) for margin in margins]
    needed = max(_pairs(variance, distance**2, fixed, tail) for distance in distances)
    return 4.0 * n if len(known) == 1 and math.isinf(needed) else needed


def _pairs(variance: float, squared_distance: float, fixed: float, tail: float) -> float:
    """Return the pairs at which a mean so far from a limit is told from it: variance in one pair, and a fixed one beside."""
    pairs = 2.0
    for _ in range(8):  # Student's quantile depends on the number it is to give
        critical = -float(special.stdtrit(max(1.0, pairs - 1), tail)) + float(special.ndtri(POWER))
        room = squared_distance - critical**2 * fixed
        if pairs > 1e9 or (room <= 0 and pairs > 30):
            return math.inf
        pairs = 60.0 if room <= 0 else max(2.0, critical**2 * variance / room)
    return pairs
