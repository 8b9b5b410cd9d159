"""What `loss` may name beside the default of the data: losses of classes, each by the function that computes it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LossChoice:
    """A loss of classes.

    Attributes:
        name: In `loss`; part of a run's id.
        computed_by: Dotted path of a function from outputs and targets to a number.
        is_mean: Whether the loss of a batch is the mean of those of its parts.
    """

    name: str
    computed_by: str
    is_mean: bool = True


CHOSEN_LOSSES: dict[str, LossChoice] = {
    choice.name: choice
    for choice in (
        LossChoice("nll", "bench.training.losses.nll"),
        LossChoice("as_printed", "bench.claims.checks.printed.as_printed", is_mean=False),
    )
}


LOSS_NAMES = ("default", *CHOSEN_LOSSES)


def is_own(name: str) -> bool:
    """Return whether a loss is a person's own: the dotted path of a function or class.

    >>> is_own("nll"), is_own("my_file.focal")
    (False, True)
    """
    return "." in name
