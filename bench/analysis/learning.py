"""Decide whether an optimizer learned anything at its setting."""

from __future__ import annotations

import math

LEAST_FALL = 0.2
"""Share of the loss at the start by which it must fall to count as learned."""


SHARE_OF_LARGEST = 0.5
"""Share of the largest fall of all optimizers that counts as learned too, where the loss cannot fall by `LEAST_FALL`."""


def has_learned(start: float, end: float, largest_fall: float) -> bool:
    """Tell whether a loss fell by a fifth of its start, or by half of what the best optimizer's fell by.

    The second rule is for losses with a high floor, such as the noise of a regression, where nobody's falls by a fifth.

    Args:
        start: The loss before training; NaN where it is unknown: then it counts as learned.
        end: The loss at the end; NaN where there is none: then it did not learn.
        largest_fall: The largest fall among the optimizers that are compared.

    >>> has_learned(2.30, 2.29, 2.0), has_learned(2.30, 0.2, 2.1), has_learned(1.0, 0.95, 0.06)
    (False, True, True)
    """
    if math.isnan(end):
        return False
    if math.isnan(start):
        return True
    fall = start - end
    enough = SHARE_OF_LARGEST * largest_fall if start <= 0 else min(LEAST_FALL * start, SHARE_OF_LARGEST * largest_fall)
    return fall > 0 and fall >= enough
