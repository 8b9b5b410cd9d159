"""Decide what a comparison says about a claim, and what all of them say together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.analysis.bounds import Effect, Sample, Spread, effect, p_above, p_below
from bench.analysis.inference import holm
from bench.analysis.verdict import CANNOT_TELL, NO_DIFFERENCE, is_significant, standing

DIRECTIONS = ("less", "more", "not_more", "not_less", "same")
"""What a claim may say of a against b: less, or more, by more than delta; not more, or not less, by more than delta;
within delta of each other."""


VERDICTS = ("supported", "refuted", NO_DIFFERENCE, CANNOT_TELL, "mixed", "not testable here", "not run")
"""What may become of a claim; `mixed` only where it rests on several comparisons."""


DECIDED = ("supported", "refuted", NO_DIFFERENCE)


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
    """Return the two-sided p, before Holm, that is below .05 just where the interval decides the direction.

    Twice the smaller of the p of the side that supports and the p of the side that refutes, at most 1. `less`, `more`
    and `same` are decided by what lies beyond delta on either side; `not_more` and `not_less` by what lies on either
    side of -delta.

    Args:
        advantage: The sample, negated where `orient` says so.
        direction: One of DIRECTIONS.
        delta: In the units of the sample, >= 0.
    """
    # a is not more than b by more than delta where it is more by exactly delta
    above = math.nextafter(-delta, -math.inf) if direction in ("not_more", "not_less") else delta
    return min(1.0, 2 * min(p_above(advantage, above), p_below(advantage, -delta)))


def verdict(direction: str, low: float, high: float, delta: float, p_holm: float) -> str:
    """Return the verdict on one comparison.

    Of `less` and `more`: supported if the interval of the advantage lies above delta, refuted if it lies below -delta,
    no difference if it lies within +-delta, else cannot tell. Of `same`: supported if it lies within, refuted if it lies
    beyond. Of `not_more` and `not_less`, which say that the advantage is at least -delta: supported if the interval lies
    there, refuted if it lies below.

    What lies on one side of a margin counts only if the p adjusted over the ledger is below .05, else it is cannot tell.
    To lie within +-delta is an equivalence by the comparison's own 95 % interval (two one-sided tests at 2.5 %), not
    adjusted.

    Args:
        direction: One of DIRECTIONS.
        low: Lower limit of the interval of the advantage.
        high: Upper limit.
        delta: In the same units, >= 0.
        p_holm: Holm's p of `p_decided`.

    Returns:
        supported, refuted, no difference or cannot tell.

    >>> verdict("less", low=0.2, high=0.5, delta=0.1, p_holm=0.01)
    'supported'
    >>> verdict("less", low=0.2, high=0.5, delta=0.1, p_holm=0.06)
    'cannot tell'
    >>> verdict("less", low=-0.05, high=0.05, delta=0.1, p_holm=1.0)
    'no difference'
    """
    significant = is_significant(p_holm)
    if direction in ("not_more", "not_less"):
        found = "supported" if low >= -delta else "refuted" if high < -delta else CANNOT_TELL
        return found if significant else CANNOT_TELL
    words = {"within": NO_DIFFERENCE, "above": "supported", "below": "refuted", "unclear": CANNOT_TELL}
    if direction == "same":
        words |= {"within": "supported", "above": "refuted"}
    return words[standing(low, high, -delta, delta, significant)]


def holds(direction: str, verdict: str, alone: str, high: float, delta: float) -> str:
    """Return whether what was said is so: `yes`, `no` or `unclear`.

    Of `less` and `more`, `no` is that the comparison's own interval, unadjusted, holds no advantage above delta. That is
    so where it is refuted or makes no difference, and also where the interval reaches from below -delta to within it. Of
    the other directions, `no` is that its own interval refutes it.

    Args:
        direction: One of DIRECTIONS.
        verdict: That on the comparison.
        alone: That of its own interval, unadjusted.
        high: Upper limit of the interval of the advantage.
        delta: In the same units, >= 0.
    """
    if verdict == "supported":
        return "yes"
    if direction in ("less", "more"):
        return "no" if high <= delta else "unclear"
    return "no" if alone == "refuted" else "unclear"


def judge(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Judge all comparisons of a ledger, which share Holm's correction.

    Args:
        comparisons: One row a comparison, with columns claim, sample (a Sample, a Spread, or None: not run), direction
            (one of DIRECTIONS), delta (in the units of the sample, >= 0) and problem (text: why nothing may be decided,
            such as contended times; else missing or empty). With a column test, rows of the same one are the same
            comparison, told by several claims, and count once.

    Returns:
        The same rows with estimate, low, high, n, num_bounded, method, bound (see `Effect`; a less b, whatever the
        direction), p (`p_decided`), p_holm (adjusted over all rows that have a sample, in which something is random, and no problem), verdict, holds,
        and alone: the verdict of the comparison's own interval, unadjusted. A row with a problem shows its effect, if it
        has one, but has no p: cannot tell, unclear; one without a sample and a problem is not run, unclear.

    Raises:
        ValueError: A direction is unknown, or a delta is not a finite number of at least 0.
    """
    effects, advantages, found_p = [], [], []
    rows = zip(*(comparisons[name] for name in ("claim", "sample", "direction", "delta", "problem")), strict=True)
    for claim, sample, direction, delta, problem in rows:
        try:
            sign = orient(direction)
        except ValueError as error:
            raise ValueError(f"claims.{claim}.{error}") from None
        if not 0 <= delta < math.inf:
            raise ValueError(
                f"claims.{claim}.delta must be a finite number of at least 0, got {delta}; give 0 if any difference matters"
            )
        was_run = isinstance(sample, Sample | Spread)
        effects.append(effect(sample) if was_run else Effect(math.nan, math.nan, math.nan, 0, 0, "none", ""))
        low, high = effects[-1].low, effects[-1].high
        advantages.append((low, high) if sign > 0 else (-high, -low))
        decidable = was_run and not _is_text(problem)
        found_p.append(p_decided(sample if sign > 0 else -sample, direction, delta) if decidable else math.nan)
    table = comparisons.assign(
        **{name: [getattr(each, name) for each in effects] for name in Effect._fields}, p=np.array(found_p, dtype=float)
    )
    table["p_holm"] = _holm(table)
    columns = (table[name] for name in ("sample", "direction", "delta", "problem", "p_holm"))
    words = []
    for (low, high), sample, direction, delta, problem, p_holm in zip(advantages, *columns, strict=True):
        if _is_text(problem):
            words.append(("cannot tell", "unclear", "cannot tell"))
        elif not isinstance(sample, Sample | Spread):
            words.append(("not run", "unclear", "not run"))
        else:
            found, alone = (verdict(direction, low, high, delta, p) for p in (p_holm, 0.0))
            words.append((found, holds(direction, found, alone, high, delta), alone))
    return table.assign(**{name: [row[i] for row in words] for i, name in enumerate(("verdict", "holds", "alone"))})


def _holm(table: pd.DataFrame) -> np.ndarray:
    """Return Holm's adjustment of p over the ledger; of what is not random, p itself."""
    p = table["p"].to_numpy(float)
    random = np.isfinite(p) & (table["method"] != "exact").to_numpy(bool)
    rounded = [f"{value:.9g}" for value in p]  # mirrored, it may differ in its last digit
    keys = pd.MultiIndex.from_arrays([table["test"] if "test" in table else np.arange(len(table)), rounded])
    places, _ = pd.factorize(keys[random])
    adjusted = p.copy()
    if len(places):
        once = p[random][np.unique(places, return_index=True)[1]]
        adjusted[random] = holm(once)[places]
    return np.asarray(adjusted)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


_NOT_RUN = ("not run", "not testable here")


RULES = ("everywhere", "somewhere")
"""What a claim says of its comparisons: that all of them show it, or that some can."""


def whole(verdicts: Sequence[str], rule: str = "everywhere", holds: Sequence[str] = ()) -> str:
    """Return the verdict on a claim from those on its comparisons, by `rule` in `locale/en.yaml`.

    Args:
        verdicts: Of VERDICTS but `mixed`, one a comparison.
        rule: Of RULES.
        holds: Whether it holds in each of them, of HOLDS; none given: as the verdicts say.

    Returns:
        One of VERDICTS; where nothing was run, `not testable here` if that is why, else `not run`.

    Raises:
        ValueError: A verdict is not one of a comparison.

    >>> whole(["supported", "supported", "cannot tell"])
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
    own = ["yes" if word == "supported" else "no" if word in DECIDED else "unclear" for word in verdicts]
    answers = [held for word, held in zip(verdicts, holds or own, strict=True) if word not in _NOT_RUN]
    if rule == "somewhere":
        return "supported" if "supported" in run else "refuted" if set(answers) == {"no"} else "cannot tell"
    decided = [word for word in run if word in DECIDED]
    if "supported" in decided and "no" in answers:
        return "mixed"
    if not decided or 2 * len(decided) < len(run):
        return "cannot tell"
    return next(word for word in DECIDED if word in decided)


def whole_holds(verdicts: Sequence[str], holds: Sequence[str], rule: str = "everywhere") -> str:
    """Return whether a claim holds as a general statement, by `rule` in `locale/en.yaml`.

    Args:
        verdicts: Those on its comparisons.
        holds: Whether it holds in each of them, of HOLDS.
        rule: Of RULES.

    Returns:
        One of HOLDS.
    """
    found = whole(verdicts, rule, holds)
    if found == "supported":
        return "yes"
    if rule == "somewhere":
        return "no" if found == "refuted" else "unclear"
    run = [held for word, held in zip(verdicts, holds, strict=True) if word not in _NOT_RUN]
    if found == "mixed":
        return SOMETIMES
    mostly_no = "yes" not in run and "no" in run and 2 * run.count("no") >= len(run)
    return "no" if found in ("refuted", "no difference") or mostly_no else "unclear"
