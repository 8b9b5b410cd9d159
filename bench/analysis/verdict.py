"""Decide where an interval lies beside the differences that do not matter."""

from __future__ import annotations

from typing import Literal

from bench.analysis.inference import LEVEL

NO_DIFFERENCE, CANNOT_TELL = "no difference", "cannot tell"
"""Words that all verdicts share. What lies beyond the margins is named by what was asked: a second study is better or
worse than the first, a claim is supported or refuted. These are answers to different questions, so the words stay apart."""


Standing = Literal["within", "above", "below", "unclear"]


def is_significant(p_holm: float) -> bool:
    """Tell whether an adjusted p is below the error rate of 5 %; NaN is not.

    >>> is_significant(0.049), is_significant(0.05), is_significant(float("nan"))
    (True, False, False)
    """
    return bool(p_holm < 1 - LEVEL)


def standing(low: float, high: float, least: float, most: float, significant: bool) -> Standing:
    """Tell where an interval lies beside margins within which a difference does not matter.

    To lie within them is an equivalence by the comparison's own interval (two one-sided tests), which no other comparison
    weakens. To lie beyond one of them counts only if the comparison is significant among all that were made.

    Args:
        low: Lower limit of the interval, in any units; NaN where there is none.
        high: Upper limit.
        least: The lower margin, in the same units.
        most: The upper margin.
        significant: Whether the adjusted p of lying beyond the margins is small enough.

    Returns:
        "within", "above" or "below" the margins; "unclear" where nothing of these is shown.

    >>> standing(-0.5, 0.5, -1.0, 1.0, significant=False)
    'within'
    >>> standing(1.2, 3.0, -1.0, 1.0, significant=True)
    'above'
    >>> standing(1.2, 3.0, -1.0, 1.0, significant=False)
    'unclear'
    """
    if least <= low and high <= most:
        return "within"
    if significant and low > most:
        return "above"
    return "below" if significant and high < least else "unclear"
