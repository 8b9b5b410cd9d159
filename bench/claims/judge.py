"""From paired samples to verdicts: an effect, its interval, p, and one of a few words.

A comparison is of a quantity of two sides, a and b; its sample is what is known of the difference a less b. Where the
differences are known, the interval is Student's t. Where some are known by bounds only (a run that never reached the
target), each limit of the interval is taken from the bounds that are worst for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from bench.report import stats

DIRECTIONS = ("less", "more", "not_more", "not_less", "same")
"""What a claim may say of a against b: less, or more, by more than delta; not more, or not less, by more than delta;
within delta of each other."""

VERDICTS = ("supported", "refuted", "no difference", "cannot tell", "mixed", "not testable here", "not run")
"""What may become of a claim; `mixed` only where it rests on several comparisons."""

DECIDED = ("supported", "refuted", "no difference")

HOLDS = ("yes", "no", "unclear")
"""Whether what was said is so."""

RULE = (
    "A claim that rests on several comparisons is mixed if some support it and in others it does not hold. Otherwise it"
    " has the verdict of those that are decided if they are at least half of those that were run, refuted counting"
    " before no difference; else it cannot be told. A claim is a general statement: it holds only if it is supported,"
    " and does not hold if it is refuted, makes no difference or is mixed, or if at least half of its comparisons show"
    " that it does not hold there and none that it does; else that is unclear. A claim that something can be is"
    " supported, and holds, if one of its comparisons supports it, and is refuted, and does not hold, if every one that"
    " was run shows that it does not hold there; else it cannot be told."
)
"""How the verdict on a claim follows from its comparisons; `whole` and `whole_holds` carry it out."""

MIN_PAIRS_OF_BOUNDS = 5
"""Pairs below which Student's t of bounds that end at a censoring says too much; see `effect`."""

_TAIL = (1 - stats.LEVEL) / 2
"""Error of each limit of an interval."""


# --- what is known of a comparison ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Sample:
    """What is known of a quantity on both sides of a comparison, paired by seed, a less b.

    Attributes:
        low: Of each pair, the least that d_i = x_a,i - x_b,i can be (for ratios: difference of natural logarithms), shape
            (pairs,). -inf where nothing is known.
        high: The most it can be; equal to `low` where the difference is known, inf where nothing is known.
        errors: Further independent errors of the difference, which shift all pairs alike, such as of separately measured
            step times: each (standard error >= 0, degrees of freedom > 0).
        exact: Nothing is random (bytes): the differences are the truth, the interval has no width.

    Raises:
        ValueError: Bounds are missing, of unequal number or the wrong way round, an error is not one, or what is exact
            has an infinite bound or an error.
    """

    low: np.ndarray
    high: np.ndarray
    errors: Sequence[tuple[float, float]] = ()
    exact: bool = False

    def __post_init__(self) -> None:
        low, high = np.array(self.low, dtype=float), np.array(self.high, dtype=float)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        if low.ndim != 1 or low.shape != high.shape:
            raise ValueError(
                f"sample.high must have the shape of sample.low, (pairs,), got {high.shape} and {low.shape};"
                " give one of each a pair"
            )
        if not (low <= high).all():  # not so for NaN
            raise ValueError(
                f"sample.low must be at most sample.high, got {low.tolist()} and {high.tolist()}; give -inf and inf where"
                " nothing is known"
            )
        if not all(0 <= error < math.inf and 0 < df < math.inf for error, df in self.errors):
            raise ValueError(
                "sample.errors must be pairs of a standard error of at least 0 and degrees of freedom above 0, got"
                f" {list(self.errors)}; leave out what was not measured"
            )
        if self.exact and (self.errors or not np.isfinite([low, high]).all()):
            raise ValueError(
                "sample.exact must be false where an error or an infinite bound is given, got true; give differences only"
            )

    def __neg__(self) -> Sample:
        """The same of b less a."""
        return Sample(-self.high, -self.low, self.errors, self.exact)

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.low)

    @property
    def num_bounded(self) -> int:
        """Pairs whose difference is known by bounds only."""
        return int((self.low != self.high).sum())

    @property
    def method(self) -> str:
        """Where the interval comes from: `exact`, `t` (at least one limit), `sign` (order statistics), `none`."""
        if self.n < (1 if self.exact else 2):
            return "none"
        if self.exact:
            return "exact"
        num_known = int(np.isfinite(self.low).all()) + int(np.isfinite(self.high).all())
        return "t" if num_known == 2 or (num_known == 1 and self.n >= MIN_PAIRS_OF_BOUNDS) else "sign"

    @property
    def estimate(self) -> tuple[float, str]:
        """The mean difference; or, where no mean is known, a bound of it, and which."""
        if self.n == 0:
            return math.nan, ""
        low, high = (np.isfinite(bound).all() for bound in (self.low, self.high))
        if low and high:
            return (_mean(self.low) + _mean(self.high)) / 2, ""
        if low:
            return _mean(self.low), "at least"
        return (_mean(self.high), "at most") if high else (math.nan, "")

    @property
    def lower_limit(self) -> float:
        """The lower limit of the interval; -inf where there is none."""
        return min((test.lower_limit for test in self._tests()), default=-math.inf)

    def p_above(self, margin: float) -> float:
        """One-sided p of "the difference is at most the margin"."""
        return max((test.p_above(margin) for test in self._tests()), default=1.0)

    def _tests(self) -> list[_Student | _Sign]:
        """What must all be above a margin for the difference to count as above it."""
        if self.method == "none":
            return []
        by_t = self.method in ("exact", "t")
        if by_t and np.isfinite(self.low).all():
            return [_student(self.low, self.errors, self.exact)]
        tests: list[_Student | _Sign] = [_sign(self.low, self.errors)]
        if by_t:
            # the other limit is one of the mean, which a few outliers may have carried past the median
            tests.append(_student(self.high, self.errors))
        return tests


@dataclass(frozen=True, eq=False)
class Spread:
    """Two samples whose standard deviations are compared: the effect is log(sd_a / sd_b).

    The interval is that of the F distribution, for normal samples independent of each other. Pairing by seed makes
    it wider than needed; tails heavier than the normal's make it too narrow. Where one side does not vary at all, there
    is none: its spread is below what the numbers resolve.

    Attributes:
        a: One number a run, finite.
        b: The same of the other side.

    Raises:
        ValueError: A number is missing or infinite.
    """

    a: np.ndarray
    b: np.ndarray

    def __post_init__(self) -> None:
        for name in ("a", "b"):
            values = np.array(getattr(self, name), dtype=float)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or not np.isfinite(values).all():
                raise ValueError(
                    f"spread.{name} must be finite numbers, one a run, got {values.tolist()}; leave out runs that have none"
                )

    def __neg__(self) -> Spread:
        """The same of b to a."""
        return Spread(self.b, self.a)

    @property
    def n(self) -> int:
        """Runs of the side that has fewer."""
        return min(len(self.a), len(self.b))

    num_bounded = 0

    @property
    def method(self) -> str:
        """`F`, or `none` where a side does not vary."""
        varies = all(len(side) > 1 and side.min() < side.max() for side in (self.a, self.b))
        return "F" if varies else "none"

    @property
    def estimate(self) -> tuple[float, str]:
        """log(sd_a / sd_b), which is never a bound."""
        if self.method == "none":
            return math.nan, ""
        return math.log(self.a.std(ddof=1)) - math.log(self.b.std(ddof=1)), ""

    @property
    def lower_limit(self) -> float:
        """The lower limit of the interval; -inf where there is none."""
        if self.method == "none":
            return -math.inf
        return self.estimate[0] - math.log(special.fdtri(*self._df, 1 - _TAIL)) / 2

    def p_above(self, margin: float) -> float:
        """One-sided p of "the difference is at most the margin"."""
        if self.method == "none":
            return 1.0
        return float(special.fdtrc(*self._df, math.exp(min(700.0, 2 * (self.estimate[0] - margin)))))

    @property
    def _df(self) -> tuple[int, int]:
        return len(self.a) - 1, len(self.b) - 1


@dataclass(frozen=True)
class _Student:
    """A mean with its standard error and degrees of freedom; without an error, the truth."""

    mean: float
    error: float
    df: float

    @property
    def lower_limit(self) -> float:
        return self.mean - stats.half_width(self.df) * self.error if self.error > 0 else self.mean

    def p_above(self, margin: float) -> float:
        if self.error == 0:
            return float(self.mean <= margin)
        return float(special.stdtr(self.df, (margin - self.mean) / self.error))


@dataclass(frozen=True, eq=False)
class _Sign:
    """Numbers in ascending order, and the error that they share: limits of their median, whatever the distribution.

    The k-th smallest of n lies above the median with probability P(B < k), B binomial(n, 1/2). A shared error takes
    half of the level (Bonferroni), as nothing is known of how it adds to order statistics.
    """

    values: np.ndarray
    error: float
    df: float

    @property
    def lower_limit(self) -> float:
        tail = _TAIL / self._num_parts
        k = int((self._tails < tail).sum())
        shift = float(special.stdtrit(self.df, 1 - tail)) * self.error if self.error > 0 else 0.0
        return float(self.values[k - 1]) - shift if k else -math.inf

    def p_above(self, margin: float) -> float:
        if self.error > 0:
            apart = special.stdtr(self.df, (margin - self.values) / self.error)
        else:
            apart = (self.values <= margin).astype(float)
        return min(1.0, self._num_parts * float(np.maximum(self._tails, apart).min()))

    @property
    def _num_parts(self) -> int:
        return 2 if self.error > 0 else 1

    @property
    def _tails(self) -> np.ndarray:
        n = len(self.values)
        return np.asarray(special.bdtr(np.arange(n), n, 0.5))


def _student(values: np.ndarray, errors: Sequence[tuple[float, float]], exact: bool = False) -> _Student:
    fixed = exact or values.min() == values.max()
    error = 0.0 if fixed else float(values.std(ddof=1)) / math.sqrt(len(values))
    return _Student(_mean(values), *_sum_of_errors([(error, len(values) - 1), *errors]))


def _mean(values: np.ndarray) -> float:
    """Of equal numbers that number: rounding must not carry it past a margin."""
    return float(values[0] if values.min() == values.max() else values.mean())


def _sign(values: np.ndarray, errors: Sequence[tuple[float, float]]) -> _Sign:
    return _Sign(np.sort(values), *_sum_of_errors(errors))


def _sum_of_errors(errors: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Standard error and degrees of freedom of a sum of independent parts (Welch and Satterthwaite)."""
    parts = [(error, df) for error, df in errors if error > 0]
    total = math.hypot(*(error for error, _ in parts))
    return total, 1 / sum((error / total) ** 4 / df for error, df in parts) if parts else 1.0


# --- effects --------------------------------------------------------------------------------------


class Effect(NamedTuple):
    """A difference, a less b, in the units of its sample.

    Attributes:
        estimate: The mean difference; NaN where no finite one is known.
        low: Lower limit of the 95 % interval, -inf where there is none.
        high: Upper limit, inf where there is none.
        n: Pairs.
        num_bounded: Of these, how many are known by bounds only.
        method: `t` (Student's, for at least one limit), `sign` (order statistics, for the median), `exact`, `F` or
            `none`.
        bound: `at least` or `at most` where the estimate is a bound, else empty.
    """

    estimate: float
    low: float
    high: float
    n: int
    num_bounded: int
    method: str
    bound: str


def effect(sample: Sample | Spread) -> Effect:
    """The effect that a sample shows, and its 95 % interval.

    Each limit stands by itself. The lower one is Student's t limit of the pairs' lower bounds where all are finite, as
    no difference is less than its bound; further errors are added after Welch and Satterthwaite. Else it is the order
    statistic of the lower bounds that bounds the median from below, -inf with fewer than six pairs (a shared error
    needs seven); it is then kept from passing the t interval of the upper bounds, if these are finite. The upper limit
    likewise. Numbers that do not vary count as deterministic: no width.

    An outlier that is known by a bound only widens a t interval less than its true value would, so that a limit can move
    inwards with it; and bounds that end at a censoring are skewed. Of normal differences censored anywhere, a limit
    lies beyond the mean at most 2.6 % of the time with ten pairs, 3.9 % with five, 12 % with three (where all are
    known, 2.5 %): so with infinite bounds on one side t needs five pairs.

    Returns:
        Where all bounds are finite, the estimate is the mean of their middles; where only the lower or only the upper
        ones are, it is their mean, a bound. With fewer than two pairs of what is random, there is no interval.
    """
    estimate, bound = sample.estimate
    return Effect(
        estimate, sample.lower_limit, -(-sample).lower_limit, sample.n, sample.num_bounded, sample.method, bound
    )


def p_above(sample: Sample | Spread, margin: float) -> float:
    """One-sided p of "the difference is at most the margin": below .025 just where the interval lies above it."""
    return sample.p_above(margin)


def p_below(sample: Sample | Spread, margin: float) -> float:
    """One-sided p of "the difference is at least the margin": below .025 just where the interval lies below it."""
    return (-sample).p_above(-margin)


def detectable(sample: Sample | Spread, delta: float, level: float = 1 - stats.LEVEL, power: float = 0.8) -> float:
    """The smallest true difference that would be shown to be beyond delta, given so many pairs that vary so much.

    Args:
        sample: What was seen.
        delta: Differences up to this do not matter, in the units of the sample, >= 0.
        level: Two-sided error rate of the comparison, in (0, 1): for one of m in a ledger, level / m stands Holm's.
        power: Probability of showing it, in (0, 1).

    Returns:
        In the units of the sample, delta included; infinite where it is beyond what can be computed. NaN where there is
        no interval, or an infinite bound says nothing of how the pairs vary.
    """
    if sample.method == "none":
        return math.nan
    if isinstance(sample, Spread):
        a, b = len(sample.a) - 1, len(sample.b) - 1
        return delta + math.log(special.fdtri(a, b, 1 - level / 2) / special.fdtri(a, b, 1 - power)) / 2
    if not np.isfinite([sample.low, sample.high]).all():
        return math.nan
    unknown = float((sample.high - sample.low).mean())
    found = [_student(bound, sample.errors, sample.exact) for bound in (sample.low, sample.high)]
    return delta + unknown + max(_detectable_mean(test, level, power) for test in found)


def _detectable_mean(test: _Student, level: float, power: float) -> float:
    if test.error == 0:
        return 0.0
    n = math.floor(test.df) + 1  # as many pairs have these degrees of freedom
    return test.error * math.sqrt(n) * math.log(stats.detectable_ratio(1.0, n, power, 1 - level))


# --- verdicts on one comparison -------------------------------------------------------------------


def orient(direction: str) -> int:
    """1 where more is what a claim of this direction says of a, -1 where less is: the advantage is that times a less b.

    Args:
        direction: One of DIRECTIONS. For `same` it makes no difference, and is 1.

    Raises:
        ValueError: There is no such direction.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction}; choose one of them")
    return -1 if direction in ("less", "not_more") else 1


def p_decided(advantage: Sample | Spread, direction: str, delta: float) -> float:
    """Two-sided p of what the direction can be decided by, before Holm: below .05 just where the interval decides it.

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
    """The verdict on one comparison.

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
    """
    if direction in ("not_more", "not_less"):
        found = "supported" if low >= -delta else "refuted" if high < -delta else "cannot tell"
    elif -delta <= low and high <= delta:
        return "supported" if direction == "same" else "no difference"
    elif low > delta:
        found = "refuted" if direction == "same" else "supported"
    else:
        found = "refuted" if high < -delta else "cannot tell"
    return found if p_holm < 1 - stats.LEVEL else "cannot tell"


def holds(direction: str, verdict: str, alone: str, high: float, delta: float) -> str:
    """Whether what was said is so: `yes`, `no` or `unclear`.

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
    """Holm's adjustment of p over the ledger; of what is not random, p itself."""
    p = table["p"].to_numpy(float)
    random = np.isfinite(p) & (table["method"] != "exact").to_numpy(bool)
    rounded = [f"{value:.9g}" for value in p]  # mirrored, it may differ in its last digit
    keys = pd.MultiIndex.from_arrays([table["test"] if "test" in table else np.arange(len(table)), rounded])
    places, _ = pd.factorize(keys[random])
    adjusted = p.copy()
    if len(places):
        once = p[random][np.unique(places, return_index=True)[1]]
        adjusted[random] = stats.holm(once)[places]
    return np.asarray(adjusted)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


# --- verdicts on a claim --------------------------------------------------------------------------

_NOT_RUN = ("not run", "not testable here")


RULES = ("everywhere", "somewhere")
"""What a claim says of its comparisons: that all of them show it, or that some can."""


def whole(verdicts: Sequence[str], rule: str = "everywhere", holds: Sequence[str] = ()) -> str:
    """The verdict on a claim from those on its comparisons, by RULE.

    Args:
        verdicts: Of VERDICTS but `mixed`, one a comparison.
        rule: Of RULES.
        holds: Whether it holds in each of them, of HOLDS; none given: as the verdicts say.

    Returns:
        One of VERDICTS; where nothing was run, `not testable here` if that is why, else `not run`.

    Raises:
        ValueError: A verdict is not one of a comparison.
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
    """Whether a claim holds as a general statement, by RULE.

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
    mostly_no = "yes" not in run and "no" in run and 2 * run.count("no") >= len(run)
    return "no" if found in ("refuted", "no difference", "mixed") or mostly_no else "unclear"
