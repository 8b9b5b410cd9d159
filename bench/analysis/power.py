"""How many seeds a comparison needs, and how small a difference a number of seeds can detect."""

from __future__ import annotations

import math

from scipy import special

from bench.analysis.inference import LEVEL, bisect_edge, safe_exp


def seeds_needed(log_sd: float, ratio: float, power: float = 0.8, level: float = LEVEL) -> int:
    """Return how many paired seeds show a given true ratio of the losses of two optimizers.

    The smallest n with P(|T| > t_crit) >= power, T noncentral t with n - 1 degrees of freedom and noncentrality
    sqrt(n) |log ratio| / log_sd: the exact power of the paired t test, of one comparison taken alone.

    Args:
        log_sd: Standard deviation of the paired log-ratios over seeds, above 0 (`log_sd` of `paired_ratios`).
        ratio: The true ratio to be seen, such as 1.02 or 0.98.
        power: Probability of seeing it, in (0, 1).
        level: 1 less the error rate of the test, in (0, 1).

    Returns:
        At least 2.

    Raises:
        ValueError: log_sd is not above 0; ratio is not above 0, or is 1: no number of seeds shows that.

    >>> seeds_needed(log_sd=0.05, ratio=1.05)
    11
    """
    if not log_sd > 0 or not ratio > 0 or ratio == 1:
        raise ValueError(
            f"log_sd must be above 0 and ratio above 0 and not 1, got {log_sd:g} and {ratio:g}; give others"
        )
    effect = abs(math.log(ratio)) / log_sd
    low, high = 1, 2
    while _power(effect, high, level) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(effect, middle, level) >= power else (middle, high)
    return high


def detectable_ratio(log_sd: float, num_seeds: int, power: float = 0.8, level: float = LEVEL) -> float:
    """Return the smallest ratio above 1 that this many paired seeds tell from 1: the inverse of `seeds_needed`.

    Args:
        log_sd: Standard deviation of the paired log-ratios over seeds.
        num_seeds: Pairs, at least 2.
        power: Probability of seeing it, in (0, 1).
        level: 1 less the error rate of the test, in (0, 1).

    >>> round(detectable_ratio(log_sd=0.05, num_seeds=11), 3)
    1.048
    """
    most = 1.0
    while _power(most, num_seeds, level) < power:
        most *= 2
    return safe_exp(log_sd * bisect_edge(lambda effect: _power(effect, num_seeds, level) < power, 0.0, most))


def _power(effect: float, n: int, level: float) -> float:
    """Return the power of the two-sided paired t test; `effect` is the mean difference over its standard deviation."""
    shift = effect * math.sqrt(n)
    critical = float(special.stdtrit(n - 1, 0.5 + level / 2))
    if shift > 4 * critical + 8:  # above 1 - 1e-5; far beyond, SciPy's noncentral t may not come to an end
        return 1.0
    # above 6 the other tail is below 1e-9, and SciPy may give NaN for it
    wrong_side = float(special.nctdtr(n - 1, shift, -critical)) if shift < 6 else 0.0
    return 1 - float(special.nctdtr(n - 1, shift, critical)) + wrong_side
