"""Decide what a comparison says about a claim, and what all of them say together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from bench.analysis.bounds import TAIL, Effect, Sample, Spread, effect, p_above, p_below
from bench.analysis.inference import holm_factors
from bench.analysis.verdict import CANNOT_TELL, NO_DIFFERENCE, standing

DIRECTIONS = ("less", "more", "not_more", "not_less", "same")
"""What a claim may say of a against b: less, or more, by more than delta; not more, or not less, by more than delta;
within delta of each other."""


RULED_OUT = "ruled out"


DECIDED = ("supported", "refuted", NO_DIFFERENCE, RULED_OUT)
"""Verdicts that say whether a claim holds: it does where it is supported, and does not in the others."""


VERDICTS = (*DECIDED, CANNOT_TELL, "mixed", "not testable here", "not run")
"""What may become of a claim; `mixed` only where it rests on several comparisons."""


SOMETIMES = "in some cases"


HOLDS = ("yes", "no", SOMETIMES, "unclear")
"""Whether what was said is so; in some cases only where it rests on several comparisons, of which some show it, some not."""


def orient(direction: str) -> int:
    """Return 1 where more is what a claim of this direction says of a, else -1: the advantage is that times a less b.

    Args:
        direction: One of DIRECTIONS. For `same` it makes no difference, and is 1.

    Raises:
        ValueError: There is no such direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction}; choose one of them")
    return -1 if direction in ("less", "not_more") else 1


def p_decided(advantage: Sample | Spread, direction: str, delta: float) -> float:
    """Return the two-sided p, before any correction, that is below .05 just where the 95 % interval says whether a claim holds.

    Of `less` and `more` the interval then lies on one side of delta; of `not_more` and `not_less`, on one side of -delta; of
    `same`, within +-delta or beyond.

    Args:
        advantage: The sample, negated where `orient` says so.
        direction: One of DIRECTIONS.
        delta: In the units of the sample, >= 0.
    """
    if direction == "same":
        within = max(
            p_above(advantage, math.nextafter(-delta, -math.inf)), p_below(advantage, math.nextafter(delta, math.inf))
        )
        return min(1.0, 2 * min(within, p_above(advantage, delta), p_below(advantage, -delta)))
    if direction in ("less", "more"):  # a is not less by more than delta where it is less by exactly delta
        above, below = delta, math.nextafter(delta, math.inf)
    else:
        above, below = math.nextafter(-delta, -math.inf), -delta
    return min(1.0, 2 * min(p_above(advantage, above), p_below(advantage, below)))


def verdict(direction: str, low: float, high: float, delta: float) -> str:
    """Return the verdict on one comparison: where the interval of the advantage lies.

    Of `less` and `more`: supported if it lies above delta. What was said is not so if it lies below delta: no difference if it
    lies within +-delta, refuted if it lies below -delta, ruled out if it reaches from below -delta to within. Of `same`:
    supported if it lies within +-delta, refuted if it lies beyond. Of `not_more` and `not_less`, which say that the advantage
    is at least -delta: supported if it lies there, refuted if it lies below. Else it is cannot tell.

    Args:
        direction: One of DIRECTIONS.
        low: Lower limit of the interval.
        high: Upper limit.
        delta: In the same units, >= 0.

    >>> [verdict("less", low, high, delta=0.1) for low, high in [(0.2, 0.5), (-0.05, 0.05), (-0.5, 0.05), (0.05, 0.5)]]
    ['supported', 'no difference', 'ruled out', 'cannot tell']
    """
    if direction in ("not_more", "not_less"):
        return "supported" if low >= -delta else "refuted" if high < -delta else CANNOT_TELL
    place = standing(low, high, -delta, delta, significant=True)
    if direction == "same":
        return {"within": "supported", "unclear": CANNOT_TELL}.get(place, "refuted")
    if place == "unclear" and high <= delta:
        return RULED_OUT
    return {"within": NO_DIFFERENCE, "above": "supported", "below": "refuted", "unclear": CANNOT_TELL}[place]


def holds(verdict: str) -> str:
    """Return whether what was said is so: `yes`, `no` or `unclear`, by the verdict on one comparison."""
    return "yes" if verdict == "supported" else "no" if verdict in DECIDED else "unclear"


def judge(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Judge all comparisons of a ledger; those of a family share Holm's correction.

    A family is what a reader takes for one answer: a claim, as given or tuned. So the verdict on a claim does not hang on which
    other claims stand beside it; how it fares where the whole ledger is one family is `p_ledger`. Each interval is at
    the level of the correction, for yes and no alike: 1 - .05 / k, where Holm multiplies p by k.

    Args:
        comparisons: One row a comparison, with columns claim, sample (a Sample, a Spread, or None: not run), direction
            (one of DIRECTIONS), delta (in the units of the sample, >= 0) and problem (text: why nothing may be decided,
            such as contended times; else missing or empty). Beside these it may have family (else the claim); num_looks: at how
            many numbers of seeds it was to be looked at, which p and interval count by the union bound (else 1); test: rows of
            the same one are the same comparison, told by several claims, and count once in the ledger.

    Returns:
        The same rows with estimate, low, high, n, num_bounded, method, bound (see `Effect`; a less b, whatever the
        direction), p (`p_decided`, times num_looks), p_holm (adjusted over the family, of rows that have a sample, in which
        something is random, and no problem), factor (by which both multiply p together; the level of the interval is 1 - .05 /
        factor), p_ledger (p adjusted over the ledger), verdict, holds, and alone: the verdict of
        the interval without correction. A row with a problem shows its effect, if it has one, but has no p: cannot tell,
        unclear; one without a sample and a problem is not run, unclear.

    Raises:
        ValueError: A direction is unknown, or a delta is not a finite number of at least 0.
    """
    columns = [comparisons[name] for name in ("claim", "sample", "direction", "delta", "problem")]
    looks = comparisons["num_looks"].to_numpy(float) if "num_looks" in comparisons else np.ones(len(comparisons))
    p = np.array([_p(*row) for row in zip(*columns, strict=True)], dtype=float)
    table = comparisons.assign(p=np.minimum(1.0, p * looks))
    is_random = np.array(
        [getattr(sample, "method", "none") not in ("exact", "none") for sample in table["sample"]], bool
    )
    tested = np.isfinite(table["p"].to_numpy(float)) & is_random
    factor = np.ones(len(table))
    for places in _families(table, tested):
        factor[places] = holm_factors(table["p"].to_numpy(float)[places])
    table["p_holm"] = np.minimum(1.0, table["p"] * factor)
    table["factor"] = factor * looks
    table["p_ledger"] = _over_ledger(table, tested)
    shown, words = [], []
    columns = [table[name] for name in ("sample", "direction", "delta", "problem")]
    for sample, direction, delta, problem, count, num_looks in zip(*columns, factor * looks, looks, strict=True):
        found, alone = (_effect(sample, TAIL / number) for number in (count, num_looks))
        shown.append(found)
        words.append(_words(sample, problem, direction, delta, found, alone))
    table = table.assign(**{name: [getattr(each, name) for each in shown] for name in Effect._fields})
    return table.assign(**{name: [row[i] for row in words] for i, name in enumerate(("verdict", "holds", "alone"))})


def _p(claim: object, sample: object, direction: str, delta: float, problem: object) -> float:
    """Return the p of a comparison before corrections, NaN where nothing may be decided."""
    try:
        sign = orient(direction)
    except ValueError as error:
        raise ValueError(f"claims.{claim}.{error}") from None
    if not 0 <= delta < math.inf:
        raise ValueError(
            f"claims.{claim}.delta must be a finite number of at least 0, got {delta}; give 0 if any difference matters"
        )
    if not isinstance(sample, Sample | Spread) or _is_text(problem):
        return math.nan
    return p_decided(sample if sign > 0 else -sample, direction, delta)


def _effect(sample: object, tail: float) -> Effect:
    if isinstance(sample, Sample | Spread):
        return effect(sample, tail)
    return Effect(math.nan, math.nan, math.nan, 0, 0, "none", "")


def _words(
    sample: object, problem: object, direction: str, delta: float, found: Effect, alone: Effect
) -> tuple[str, str, str]:
    """Return the verdict, whether it holds, and the verdict of the interval without correction."""
    if _is_text(problem):
        return CANNOT_TELL, "unclear", CANNOT_TELL
    if not isinstance(sample, Sample | Spread):
        return "not run", "unclear", "not run"
    sign = orient(direction)
    said = [
        verdict(direction, *((each.low, each.high) if sign > 0 else (-each.high, -each.low)), delta)
        for each in (found, alone)
    ]
    return said[0], holds(said[0]), said[1]


def _families(table: pd.DataFrame, tested: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the places of the comparisons of each family."""
    families = table["family" if "family" in table else "claim"].to_numpy()
    for name in pd.unique(families[tested]):
        yield np.flatnonzero(tested & (families == name))


def _over_ledger(table: pd.DataFrame, tested: np.ndarray) -> np.ndarray:
    """Return p times Holm's factor over the ledger, where comparisons of one test count once; of what is not random, p itself.

    Rows of one test ask several things of one interval, which are right together: the smallest p stands for them.
    """
    adjusted: np.ndarray = table["p"].to_numpy(float, copy=True)
    p = adjusted[tested]
    places, _ = pd.factorize((table["test"] if "test" in table else pd.Series(range(len(table)))).to_numpy()[tested])
    once = pd.Series(p).groupby(places).min().to_numpy(float)
    adjusted[tested] = np.minimum(1.0, p * holm_factors(once)[places])
    return adjusted


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


_NOT_RUN = ("not run", "not testable here")


RULES = ("everywhere", "somewhere")
"""What a claim says of its comparisons: that all of them show it, or that some can."""


ENOUGH = 0.75
"""Share of the comparisons of a claim that must support it, where none shows that it does not hold."""


def whole(verdicts: Sequence[str], rule: str = "everywhere") -> str:
    """Return the verdict on a claim from those on its comparisons, by `rule` in `locale/en.yaml`.

    Args:
        verdicts: Of VERDICTS but `mixed`, one a comparison.
        rule: Of RULES.

    Returns:
        One of VERDICTS; where nothing was run, `not testable here` if that is why, else `not run`.

    Raises:
        ValueError: A verdict is not one of a comparison.

    >>> whole(["supported", "supported", "supported", "cannot tell"])
    'supported'
    >>> whole(["supported", "refuted"])
    'mixed'
    """
    possible = [word for word in VERDICTS if word != "mixed"]
    for word in verdicts:
        if word not in possible:
            raise ValueError(f"verdict must be one of {', '.join(possible)}, got {word}; give those of comparisons")
    run = [word for word in verdicts if word not in _NOT_RUN]
    if not run:
        return "not testable here" if "not testable here" in verdicts else "not run"
    decided = [word for word in run if word in DECIDED]
    if rule == "somewhere":
        return "supported" if "supported" in run else "refuted" if len(decided) == len(run) else CANNOT_TELL
    if "supported" in decided and set(decided) != {"supported"}:
        return "mixed"
    if not decided or len(decided) < (ENOUGH if "supported" in decided else 0.5) * len(run):
        return CANNOT_TELL
    return next(word for word in DECIDED if word in decided)


def whole_holds(verdict: str) -> str:
    """Return whether a claim holds as a general statement, one of HOLDS, by the verdict that `whole` gave."""
    return SOMETIMES if verdict == "mixed" else holds(verdict)
