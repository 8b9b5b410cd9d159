"""Learning-rate schedules: the factor on `optimizer.lr` at each step of the budget.

The parameters of a schedule are the keys of its configuration: annotations are their ranges, and defaults their defaults.
A new one is a function here, its line in `SCHEDULES`, and its file in `conf/schedule/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from bench.config.fields import Count, InnerShare, PositiveShare, Share, Stretch, UnitFloat

Factor = Callable[[int], float]


def constant(num_steps: int) -> Factor:
    """Return a factor of 1, always.

    Example:
        >>> [constant(4)(step) for step in range(4)]
        [1.0, 1.0, 1.0, 1.0]
    """
    return lambda step: 1.0


def step(num_steps: int, every: Stretch = 0.3, gamma: PositiveShare = 0.1) -> Factor:
    """Return gamma^k after k stretches of `every` x the budget (torch's StepLR).

    Args:
        num_steps: The budget, in updates.
        every: Length of a stretch as a share of the budget, from 1e-6 to 1.
        gamma: Factor at each, in (0, 1].

    Example:
        >>> factor = step(10, every=0.5, gamma=0.1)
        >>> [factor(made) for made in (0, 4, 5, 9)]
        [1.0, 1.0, 0.1, 0.1]
    """
    stretch = max(1, round(every * num_steps))
    return lambda step: gamma ** (step // stretch)


def cosine(num_steps: int, final: UnitFloat = 0.0) -> Factor:
    """Go from 1 down to `final` along half a cosine (Loshchilov and Hutter, SGDR, 2017, eq. 5, without restarts).

    Args:
        num_steps: The budget, in updates.
        final: Factor after the last step, in [0, 1].

    Example:
        >>> [round(cosine(100)(step), 3) for step in (0, 50, 100)]
        [1.0, 0.5, 0.0]
    """
    return lambda step: final + (1 - final) * (1 + math.cos(math.pi * min(step, num_steps) / num_steps)) / 2


def warmup_cosine(num_steps: int, warmup: Share = 0.1, final: UnitFloat = 0.0) -> Factor:
    """Warm up linearly to 1, then follow `cosine` over the rest.

    Args:
        num_steps: The budget, in updates.
        warmup: Its share of the budget, in [0, 1).
        final: Factor after the last step, in [0, 1].

    Example:
        >>> [round(warmup_cosine(100)(step), 3) for step in (0, 9, 10, 55, 100)]
        [0.1, 1.0, 1.0, 0.5, 0.0]
    """
    up = round(warmup * num_steps)
    down = cosine(max(1, num_steps - up), final)
    return lambda step: (step + 1) / up if step < up else down(step - up)


def inverse_sqrt(num_steps: int, warmup: Share = 0.1) -> Factor:
    """Warm up linearly to 1 over w steps, then sqrt(w / t) (Vaswani et al., 2017, eq. 3, scaled to a peak of 1).

    Args:
        num_steps: The budget, in updates.
        warmup: w as a share of the budget, in [0, 1); at least one step.

    Example:
        >>> [round(inverse_sqrt(100)(step), 3) for step in (0, 9, 39)]
        [0.1, 1.0, 0.5]
    """
    up = max(1, round(warmup * num_steps))
    return lambda step: min((step + 1) / up, math.sqrt(up / (step + 1)))


def one_cycle(num_steps: int, peak: InnerShare = 0.3, start: PositiveShare = 0.04, final: UnitFloat = 4e-6) -> Factor:
    """Go up from `start` to 1 and down to `final` along half cosines (Smith and Topin, 2018; torch's OneCycleLR).

    Args:
        num_steps: The budget, in updates.
        peak: Where the factor is 1, as a share of the budget, in (0, 1).
        start: Factor of the first step, in (0, 1].
        final: Factor of the last step, in [0, 1].

    Example:
        >>> [round(one_cycle(101)(step), 3) for step in (0, 30, 100)]
        [0.04, 1.0, 0.0]
    """
    top, last = peak * num_steps - 1, num_steps - 1

    def between(a: float, b: float, share: float) -> float:
        return b + (a - b) / 2 * (1 + math.cos(math.pi * share))

    def factor(step: int) -> float:
        if step <= top:
            return between(start, 1.0, step / top)
        return between(1.0, final, min(1.0, (step - top) / max(last - top, 1)))

    return factor


class Plateau:
    """1, and `gamma` times as much whenever the validation loss has not fallen for long (torch's ReduceLROnPlateau).

    Args:
        num_steps: The budget, in updates; of no account.
        gamma: Factor at each reduction, in (0, 1].
        patience: Evaluations without an improvement that are let pass.
        threshold: An improvement is a loss below (1 - threshold) x the best.

    Example:
        >>> factor = Plateau(100, gamma=0.5, patience=1)
        >>> for val_loss in (1.0, 1.0, 1.0):
        ...     factor.observe(val_loss)
        >>> factor(0)
        0.5
    """

    def __init__(
        self, num_steps: int, gamma: PositiveShare = 0.1, patience: Count = 10, threshold: Share = 1e-4
    ) -> None:
        self._gamma, self._patience, self._threshold = gamma, patience, threshold
        self._best, self._num_bad, self._factor = math.inf, 0, 1.0

    def __call__(self, step: int) -> float:
        """Return the factor, whatever the step."""
        return self._factor

    def observe(self, val_loss: float) -> None:
        """Take in the validation loss of an evaluation."""
        if val_loss < self._best * (1 - self._threshold):
            self._best, self._num_bad = val_loss, 0
        else:
            self._num_bad += 1
        if self._num_bad > self._patience:
            self._factor *= self._gamma
            self._num_bad = 0


SCHEDULES: dict[str, Callable[..., Factor]] = {
    "constant": constant,
    "step": step,
    "cosine": cosine,
    "warmup_cosine": warmup_cosine,
    "inverse_sqrt": inverse_sqrt,
    "one_cycle": one_cycle,
    "plateau": Plateau,
}
"""What `schedule` may name."""
