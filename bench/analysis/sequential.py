"""Look at comparisons while seeds are added: which are decided, and which settings need more seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from bench.analysis.comparisons import paired_ratios
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import Section, is_same_for_every_seed, optimizer_of
from bench.analysis.verdict import standing

DIFFERENT, ALIKE, OPEN = "different", "alike", "open"


class Looked(NamedTuple):
    """What a look says of a comparison.

    Attributes:
        a: A series.
        b: Another.
        verdict: DIFFERENT by more than delta; ALIKE: they differ by delta at most; or OPEN.
        rivals: Whether they are settings of one optimizer: then ALIKE says that b is not better than a by more than delta.
    """

    a: str
    b: str
    verdict: str
    rivals: bool = False


def looked_at(section: Section, delta: float) -> list[Looked]:
    """Look at the comparisons of a section by final validation loss.

    Every two optimizers are compared at the best setting of each so far. They are different where the comparison is
    significant among all of these (Holm) and its interval lies beyond delta, alike where its interval lies within. p and interval
    count all looks that are planned (`num_looks` of the runs), so that to look often costs no error; see `ratio_row`. The best
    setting of an optimizer is compared with each other one tried of it: one that is not better by more than delta drops out of
    the race. Who drops out has no bearing on errors, since p counts all settings that could have been chosen.

    Args:
        section: Runs so far.
        delta: The relative difference up to which it does not matter, > 0.

    Returns:
        Comparisons for which there are at least two pairs; none where no seed changes anything.

    References:
        Birattari et al., "A racing algorithm for configuring metaheuristics" (2002), GECCO; Jennison and Turnbull, "Interim
        analyses: the repeated confidence interval approach" (1989), J. R. Stat. Soc. B 51.
    """
    if is_same_for_every_seed(section.runs):
        return []
    found, margin = SectionAnalysis(section), 1 + delta
    verdicts = {"within": ALIKE, "above": DIFFERENT, "below": DIFFERENT, "unclear": OPEN}
    looked = [
        Looked(pair.a, pair.b, verdicts[standing(*_limits(pair), 1 / margin, margin, bool(pair.significant))])
        for pair in found.pairs.itertuples()
    ]
    return [*looked, *_race(found, margin)]


def _limits(pair: Any) -> tuple[float, float]:
    """Return the interval of a ratio; (0, 0) where only the order is known, as of negative losses, and a is lower for sure."""
    only_order = math.isnan(pair.ratio_low) and bool(pair.significant)
    return (0.0, 0.0) if only_order else (float(pair.ratio_low), float(pair.ratio_high))


def _race(found: SectionAnalysis, margin: float) -> Iterator[Looked]:
    """Yield the comparisons of each leader with the other settings of its optimizer."""
    runs = found.section.runs
    optimizer = optimizer_of(runs)
    for leader in found.leaders:
        for rival in optimizer.index[(optimizer == optimizer[leader]) & (optimizer.index != leader)]:
            for pair in paired_ratios(runs, [leader, str(rival)], num_looks=found.num_looks).itertuples():
                low, high = _limits(pair)
                is_beaten = high <= margin if pair.a == leader else low >= 1 / margin
                yield Looked(leader, str(rival), ALIKE if is_beaten else OPEN, rivals=True)


def undecided(looked: Sequence[Looked]) -> set[str]:
    """Return the series that need more seeds: those of comparisons that are open."""
    return {name for one in looked if one.verdict == OPEN for name in (one.a, one.b)}
