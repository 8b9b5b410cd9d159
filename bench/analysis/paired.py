"""Comparisons of pairs of runs as a table: ratios, intervals and p-values, corrected for how many are made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.bounds import TAIL, Sample, effect, p_two_sided
from bench.analysis.inference import safe_exp, with_holm

RATIO_COLUMNS = (
    "num_pairs",
    "num_bounded",
    "ratio",
    "bound",
    "ratio_low",
    "ratio_high",
    "p",
    "log_sd",
    "skew",
    "method",
)
"""What `ratio_row` gives."""


MIN_SKEW_PAIRS = 5
"""Pairs from which the skew of their differences is told."""


def ratio_row(sample: Sample, num_choices: int = 1, num_looks: int = 1) -> dict[str, Any]:
    """Return the ratio of two quantities that are paired by seed, its 95 % interval, and p of no difference.

    The ratio is exp of the mean difference of logarithms, the interval Student's t; see `bench.analysis.bounds.effect`
    for pairs of which only bounds are known, and for differences that do not vary, whose limits are order statistics.

    Args:
        sample: Differences of natural logarithms, or bounds of them.
        num_choices: Among how many comparisons this one was chosen, by the very runs that it compares: both settings of
            several, say. p counts them all (Bonferroni).
        num_looks: At how many numbers of pairs, set beforehand, it was to be looked at whether there are enough. p counts
            them all, and the interval's error is divided by them (a repeated confidence interval, by the union bound).

    Returns:
        The keys of `RATIO_COLUMNS`: num_pairs; num_bounded, pairs of which only bounds are known; ratio, NaN where none is
        known; bound: "at least" or "at most" where it is a bound; ratio_low, ratio_high: not corrected for other comparisons;
        p; log_sd and skew: standard deviation and sample skewness of the differences, NaN where there are bounds, too few
        pairs or no variation; method: t, sign or none.

    >>> found = ratio_row(Sample(np.log([0.9, 0.8, 0.85]), np.log([0.9, 0.8, 0.85])))
    >>> [round(found[key], 3) for key in ("ratio", "ratio_low", "ratio_high", "p")]
    [0.849, 0.733, 0.983, 0.041]
    """
    found = effect(sample, TAIL / num_looks)
    known = sample.low if sample.num_bounded == 0 else np.array([])
    spread = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    return {
        "num_pairs": sample.n,
        "num_bounded": sample.num_bounded,
        "ratio": safe_exp(found.estimate),
        "bound": found.bound,
        "ratio_low": safe_exp(found.low),
        "ratio_high": safe_exp(found.high),
        "p": min(1.0, num_choices * num_looks * p_two_sided(sample)) if found.method != "none" else math.nan,
        "log_sd": spread,
        "skew": _skew(known) if spread > 0 and len(known) >= MIN_SKEW_PAIRS else math.nan,
        "method": found.method,
    }


def chances(
    a: str, b: str, num_settings: Mapping[str, int] | None, num_looks: Mapping[str, int] | None
) -> tuple[int, int]:
    """Return among how many comparisons that of two series was chosen, and at how many looks: see `ratio_row`.

    Args:
        a: A series.
        b: The other.
        num_settings: Of each series, among how many it was chosen; 1 where it is not named.
        num_looks: Of each series, at how many numbers of seeds it was looked at; likewise.

    >>> chances("adam", "sgd", {"adam": 9}, None)
    (9, 1)
    """
    settings, looks = num_settings or {}, num_looks or {}
    return settings.get(a, 1) * settings.get(b, 1), max(looks.get(a, 1), looks.get(b, 1))


def _skew(values: np.ndarray) -> float:
    """Return the sample skewness g1: the third central moment over the standard deviation cubed."""
    apart = values - values.mean()
    return float((apart**3).mean() / (apart**2).mean() ** 1.5)


def corrected(rows: Sequence[Mapping[str, Any]], samples: Sequence[Sample], columns: Sequence[str]) -> pd.DataFrame:
    """Return comparisons as a table, with Holm's p and intervals that say the same as it.

    Args:
        rows: What `ratio_row` gave, and more.
        samples: Of each row.
        columns: Of the table, `RATIO_COLUMNS` among them.

    Returns:
        The columns; p_holm, adjusted over all rows; significant: p_holm < .05; adjusted_low, adjusted_high: the interval at
        the level at which Holm's procedure tests this comparison, 1 - .05 p / p_holm. It leaves out 1 just where the
        difference is significant.

    References:
        Efird and Nielsen, "A method to compute multiplicity corrected confidence intervals for odds ratios and other relative
        effect estimates" (2008), Int. J. Environ. Res. Public Health 5.
    """
    table = with_holm(pd.DataFrame(rows, columns=list(columns)))
    limits = [
        _limits(sample, row.p_holm, p_two_sided(sample) if row.method != "none" else math.nan, len(samples))
        for sample, row in zip(samples, table.itertuples(), strict=True)
    ]
    return table.assign(adjusted_low=[low for low, _ in limits], adjusted_high=[high for _, high in limits])


def _limits(sample: Sample, p_holm: float, p: float, num: int) -> tuple[float, float]:
    if math.isnan(p):
        return math.nan, math.nan
    found = effect(sample, TAIL * p / p_holm if p_holm > 0 else TAIL / num)
    return safe_exp(found.low), safe_exp(found.high)
