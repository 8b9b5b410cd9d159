"""Verdicts: against SciPy, by hand, by their properties, and by how often they are wrong on made-up data."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis import bounds as analysis_bounds
from bench.analysis import inference
from bench.analysis.bounds import Sample, Spread, effect, p_above, p_below, p_two_sided
from bench.claims import outlook, verdict

INF = math.inf
numbers = st.floats(-10, 10).map(lambda x: round(x, 3))


def known(values: Sequence[float] | np.ndarray) -> Sample:
    return Sample(np.asarray(values), np.asarray(values))


@st.composite
def samples(draw: st.DrawFn, infinite: bool = True, errors: bool = True) -> Sample:
    """Known and bounded pairs in any mixture, with and without further errors."""
    n = draw(st.integers(2, 14))
    values = np.array(draw(st.lists(numbers, min_size=n, max_size=n)))
    widths = st.sampled_from([0.0, 0.0, 0.5, INF] if infinite else [0.0, 0.0, 0.5, 3.0])
    below, above = (np.array(draw(st.lists(widths, min_size=n, max_size=n))) for _ in range(2))
    further = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 2.0]), st.sampled_from([1.0, 4.0, 30.0])), max_size=2)
    return Sample(values - below, values + above, draw(further) if errors else ())


@st.composite
def spreads(draw: st.DrawFn) -> Spread:
    a, b = (draw(st.lists(numbers, max_size=9)) for _ in range(2))
    return Spread(np.array(a), np.array(b))


def ledger(*rows: dict[str, object]) -> pd.DataFrame:
    base = {"claim": "c", "sample": None, "direction": "less", "delta": 0.0, "problem": None}
    return pd.DataFrame([base | row for row in rows], columns=list(base | (rows[0] if rows else {})))


def alone(sample: Sample | Spread, direction: str, delta: float = 0.0) -> tuple[str, str]:
    """Verdict, and whether it holds, of a ledger of one comparison."""
    (row,) = verdict.judge(ledger({"sample": sample, "direction": direction, "delta": delta})).itertuples()
    return row.verdict, row.holds


# --- effects --------------------------------------------------------------------------------------


def test_known_differences_have_scipys_interval_and_p() -> None:
    values = np.array([0.3, -0.1, 0.7, 0.25, 0.4])
    test = scipy.stats.ttest_1samp(values, 0.1, alternative="greater")
    interval = scipy.stats.ttest_1samp(values, 0.0).confidence_interval()
    found = effect(known(values))
    assert found[:3] == pytest.approx((values.mean(), interval.low, interval.high), rel=1e-12)
    assert found[3:] == (5, 0, "t", "")
    assert p_above(known(values), 0.1) == pytest.approx(test.pvalue, rel=1e-12)
    assert p_below(known(values), 0.1) == pytest.approx(1 - test.pvalue, rel=1e-12)


def test_a_further_error_is_added_as_by_welch() -> None:
    x, y = np.array([1.0, 1.4, 0.7, 1.9]), np.array([0.2, 0.9, 0.1, 0.3, 0.35, 0.6])
    sample = known(x - y.mean())
    sample = Sample(sample.low, sample.high, errors=((scipy.stats.sem(y), len(y) - 1),))
    welch = scipy.stats.ttest_ind(x, y, equal_var=False)
    interval = welch.confidence_interval()
    assert effect(sample)[1:3] == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert 2 * p_above(sample, 0.0) == pytest.approx(welch.pvalue, rel=1e-12)


def test_an_error_alone_keeps_the_interval_open() -> None:
    sample = Sample(np.zeros(3), np.zeros(3), errors=((0.1, 4),))
    half = scipy.stats.t.ppf(0.975, 4) * 0.1
    assert effect(sample)[:3] == pytest.approx((0, -half, half), rel=1e-12)


@pytest.mark.parametrize("n", [9, 12, 20, 40])
def test_order_statistics_are_scipys(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    low, high = (
        np.where(values == values[end], far, values) for end, far in ((values.argmin(), -INF), (values.argmax(), INF))
    )
    sample = Sample(low, high)
    interval = scipy.stats.quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    found = effect(sample)
    assert (found.low, found.high) == (interval.low, interval.high)
    assert (found.method, found.num_bounded) == ("sign", 2)
    assert math.isnan(found.estimate)


def test_six_pairs_bound_a_median_and_five_do_not() -> None:
    lost = Sample([1.0] * 4 + [-INF] * 2, [INF] * 6)
    assert effect(lost).low == -INF  # the lowest of six
    for n, low in ((5, -INF), (6, 1.0)):
        won = Sample([1.0] * n, [INF] * n)
        assert effect(-won).high == -low, "bounds that do not vary show nothing of how the differences do"
        varying = Sample(np.linspace(1.0, 1.1, n), [INF] * n)
        assert -1.05 < effect(-varying).high < -0.9, "all upper bounds of b less a are finite: Student's t"
        both = Sample([1.0] * n, [INF] * n, errors=((0.0, 1.0),))
        assert effect(both).low == 1.0, "with an error of zero they count as known"
        infinite = Sample([INF] + [1.0] * (n - 1), [INF] * n)  # one is infinitely more
        assert effect(infinite).low == low
        assert p_above(infinite, 0.5) == pytest.approx(0.5**n)


def test_a_shared_error_halves_the_level_of_order_statistics() -> None:
    bounds = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, INF], [INF] * 7
    assert effect(Sample(*bounds)).low == 0.0
    shift = scipy.stats.t.ppf(1 - 0.0125, 4) * 0.1
    assert effect(Sample(*bounds, errors=((0.1, 4),))).low == pytest.approx(-shift)
    assert effect(Sample(bounds[0][1:], bounds[1][1:], errors=((0.1, 4),))).low == -INF  # six: 1/64 is above 1.25 %


@pytest.mark.parametrize(
    ("low", "high", "estimate", "bound", "method"),
    [
        ([1, 2, 3, 4, 5], [1, INF, INF, 4, 5], 3.0, "at least", "t"),
        ([1, 2, 3, 4], [1, INF, INF, 4], 2.5, "at least", "sign"),  # too few for t of bounds
        ([-INF, -INF, 3, 4, 5], [1, 2, 3, 4, 5], 3.0, "at most", "t"),
        ([1, 2, 3], [1, 3, 6], (2 + 10 / 3) / 2, "", "t"),
        ([-INF, 2, 3], [1, 2, INF], math.nan, "", "sign"),
    ],
)
def test_the_estimate_is_a_bound_where_no_mean_is_known(
    low: list[float], high: list[float], estimate: float, bound: str, method: str
) -> None:
    found = effect(Sample(low, high))
    assert found.estimate == pytest.approx(estimate, nan_ok=True)
    assert (found.bound, found.method, found.num_bounded) == (bound, method, 2)


def test_without_two_pairs_nothing_is_known_but_the_number() -> None:
    assert effect(known([0.3])) == (0.3, -INF, INF, 1, 0, "none", "")
    nothing = effect(known([]))
    assert math.isnan(nothing.estimate)
    assert nothing[1:] == (-INF, INF, 0, 0, "none", "")
    assert p_above(known([5.0]), 0.0) == p_below(known([5.0]), 0.0) == 1.0
    assert effect(Sample([], [], exact=True)).method == "none"


def test_what_does_not_vary_is_no_proof_of_a_difference() -> None:
    """Equal steps, known to the spacing of evaluations, have no interval of no width; order statistics bound the median."""
    for n in (2, 3, 5):
        found = effect(known([0.1] * n))
        assert (found.estimate, found.low, found.high, found.method) == (0.1, -INF, INF, "sign")
        assert p_two_sided(known([0.1] * n)) == pytest.approx(2 * 0.5**n)
    assert effect(known([0.1] * 6))[:3] == (0.1, 0.1, 0.1)
    assert p_two_sided(known([0.0] * 10)) == 1.0


def test_what_is_exact_has_no_width() -> None:
    tenth = 0.1  # of which three are more than three times as much, in floating point
    for sample in (Sample([tenth], [tenth], exact=True), Sample([tenth] * 3, [tenth] * 3, exact=True)):
        found = effect(sample)
        assert found.estimate == found.low == found.high == tenth
        assert (p_above(sample, 0.05), p_below(sample, 0.05)) == (0.0, 1.0)
        assert (p_above(sample, tenth), p_below(sample, tenth)) == (1.0, 1.0)
    assert effect(Sample([1.0, 2.0], [1.0, 2.0], exact=True))[:3] == (1.5, 1.5, 1.5)


def test_spread_has_the_interval_of_f() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(scale=3, size=8), random.normal(size=11)
    ratio = a.var(ddof=1) / b.var(ddof=1)
    f = scipy.stats.f(7, 10)
    found = effect(Spread(a, b))
    expected = [0.5 * math.log(x) for x in (ratio, ratio / f.ppf(0.975), ratio / f.ppf(0.025))]
    assert found[:3] == pytest.approx(expected, rel=1e-12)
    assert found[3:] == (8, 0, "F", "")
    assert p_above(Spread(a, b), 0.2) == pytest.approx(f.sf(ratio / math.exp(0.4)), rel=1e-9)
    assert p_above(Spread(a, b), -400.0) == 0.0  # far beyond what exp holds


@pytest.mark.parametrize("side", [[], [1.0], [2.0, 2.0, 2.0]])
def test_a_side_that_does_not_vary_has_no_spread_to_compare(side: list[float]) -> None:
    for spread in (Spread(np.array(side), np.array([1.0, 2.0, 3.0])), Spread(np.array([1.0, 2.0]), np.array(side))):
        assert effect(spread)[1:3] == (-INF, INF)
        assert effect(spread).method == "none"
        assert alone(spread, "less") == ("cannot tell", "unclear")


@given(samples() | spreads(), numbers)
def test_p_is_below_half_the_level_just_where_the_interval_lies_beyond(sample: Sample | Spread, margin: float) -> None:
    found = effect(sample)
    for p, beyond, limit in (
        (p_above(sample, margin), found.low > margin, found.low),
        (p_below(sample, margin), found.high < margin, found.high),
    ):
        assert 0 <= p <= 1
        if not math.isclose(limit, margin, rel_tol=1e-6, abs_tol=1e-6) or limit == margin:
            assert (p < 0.025) == beyond


@given(samples() | spreads())
def test_limits_do_not_cross(sample: Sample | Spread) -> None:
    found = effect(sample)
    assert found.low <= found.high
    if found.bound != "at most" and not math.isnan(found.estimate):
        assert found.low <= found.estimate + 1e-9
    if found.bound != "at least" and not math.isnan(found.estimate):
        assert found.high >= found.estimate - 1e-9


def test_a_mean_above_what_most_pairs_show_does_not_cross_their_median() -> None:
    never = np.array([0.0] * 28 + [math.log(10)] * 12)  # in 12 of 40 pairs b never got there, else they are equal
    found = effect(Sample(never, np.where(never > 0, INF, 0.0)))
    assert 0 < found.low < never.mean() < found.high < INF


@given(samples() | spreads())
def test_swapping_the_sides_mirrors_the_effect(sample: Sample | Spread) -> None:
    one, other = effect(sample), effect(-sample)
    assert (other.low, other.high) == (-one.high, -one.low)
    assert other.estimate == -one.estimate or math.isnan(one.estimate)
    assert other[3:6] == one[3:6]
    assert other.bound == {"": "", "at least": "at most", "at most": "at least"}[one.bound]


@given(samples(), st.sampled_from([0.25, 1.0, 8.0]), st.integers(-3, 3), st.integers(-9, 9))
def test_units_do_not_matter(sample: Sample, scale: float, shift: int, margin: int) -> None:
    moved = Sample(
        scale * sample.low + shift, scale * sample.high + shift, [(scale * e, df) for e, df in sample.errors]
    )
    one, other = effect(sample), effect(moved)
    expected = [scale * x + shift for x in one[:3]]
    assert other[:3] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)
    # off the bounds, where rounding would decide
    at = margin + 0.00017
    assert p_above(moved, scale * at + shift) == pytest.approx(p_above(sample, at), rel=1e-6, abs=1e-9)


@given(samples(), numbers, st.floats(0, 5))
def test_p_falls_with_a_lower_margin(sample: Sample, margin: float, less: float) -> None:
    assert p_above(sample, margin - less) <= p_above(sample, margin) + 1e-12


# --- censoring ------------------------------------------------------------------------------------


@given(samples(infinite=False), st.data())
def test_wider_bounds_never_move_an_order_statistic_inwards(sample: Sample, data: st.DataObject) -> None:
    first = Sample(np.r_[sample.low, -INF, 0.0], np.r_[sample.high, 0.0, INF], sample.errors)
    index = data.draw(st.integers(0, sample.n - 1))
    low, high = first.low.copy(), first.high.copy()
    low[index] -= data.draw(st.sampled_from([0.0, 1.0, INF]))
    high[index] += data.draw(st.sampled_from([0.0, 1.0, INF]))
    one, other = effect(first), effect(Sample(low, high, sample.errors))
    assert other.low <= one.low
    assert other.high >= one.high


@given(samples(infinite=False), st.data())
def test_wider_bounds_move_the_limits_of_t_outwards_but_for_outliers(sample: Sample, data: st.DataObject) -> None:
    apart = data.draw(st.floats(0, 3))
    one, other = effect(sample), effect(Sample(sample.low - apart, sample.high + apart, sample.errors))
    assert (other.low, other.high) == pytest.approx((one.low - apart, one.high + apart))
    index = data.draw(st.integers(0, sample.n - 1))
    low = sample.low.copy()
    # Limits of bounds that do not vary are order statistics, wider than those of t; beside an error of few degrees of
    # freedom, more spread raises those of the sum and narrows it.
    if low[index] <= low.mean() and low.min() < low.max() and not sample.errors:
        low[index] -= apart
        assert effect(Sample(low, sample.high, sample.errors)).low <= one.low + 1e-9


@given(samples(infinite=False, errors=False))
def test_an_unknown_pair_never_decides_what_was_not(sample: Sample) -> None:
    nothing = Sample(np.r_[sample.low, -INF], np.r_[sample.high, INF])
    smaller = Sample(np.r_[sample.low, sample.low.min()], np.r_[sample.high, sample.high.max()])
    assert effect(nothing).low <= np.sort(smaller.low)[-1]
    if nothing.n < 6:
        assert effect(nothing)[1:3] == (-INF, INF)


def test_five_seeds_decide_where_one_side_never_got_there() -> None:
    steps = np.log([100.0, 120.0, 90.0, 110.0, 105.0])
    lost = Sample([-INF] * 5, steps - math.log(1000))
    found = effect(lost)
    assert (found.bound, found.low) == ("at most", -INF)
    assert found.high == pytest.approx(effect(known(steps)).high - math.log(1000))
    assert alone(lost, "less", math.log(1.1)) == ("supported", "yes")
    assert alone(lost, "more", math.log(1.1)) == ("refuted", "no")
    assert alone(lost, "less", math.log(20)) == ("cannot tell", "unclear")  # more steps might have shown a factor of 20
    four = Sample(lost.low[1:], lost.high[1:])
    both = Sample([-INF] * 5, [INF] * 5)
    assert alone(four, "less") == alone(both, "less") == ("cannot tell", "unclear")


@pytest.mark.parametrize(("n", "at_most"), [(5, 0.04), (10, 0.026), (15, 0.025)])
@pytest.mark.parametrize("cap", [0.25, 0.5, 1.0])
def test_limits_from_bounds_seldom_lie_beyond_the_mean(n: int, at_most: float, cap: float) -> None:
    random = np.random.default_rng(n)
    beyond = {"low": 0, "high": 0}
    for values in random.normal(size=(1000, n)):
        found = effect(Sample(np.minimum(values, cap), np.where(values > cap, INF, values)))
        beyond["low"] += found.low > 0
        beyond["high"] += found.high < 0
    assert beyond["low"] <= 1000 * at_most + 2.5 * math.sqrt(1000 * at_most)
    assert beyond["high"] <= 1000 * 0.025 + 2.5 * math.sqrt(1000 * 0.025)


# --- how often an interval is right ---------------------------------------------------------------


def coverage(made: list[Sample] | list[Spread], truth: float) -> float:
    found = [effect(sample) for sample in made]
    return float(np.mean([one.low <= truth <= one.high for one in found]))


@pytest.mark.parametrize("n", [3, 5, 10, 20])
def test_intervals_of_known_differences_cover_the_mean(n: int) -> None:
    random = np.random.default_rng(n)
    assert coverage([known(d) for d in random.normal(0.3, 2.0, size=(2000, n))], 0.3) == pytest.approx(0.95, abs=0.015)


def test_intervals_with_a_further_error_cover_the_mean() -> None:
    random = np.random.default_rng(1)
    made = []
    for _ in range(2000):
        times = random.normal(0.0, 0.5, size=5)  # a step time's log, in five processes
        d = random.normal(0.3, 0.4, size=8) + times.mean()
        made.append(Sample(d, d, errors=((float(scipy.stats.sem(times)), 4),)))
    assert coverage(made, 0.3) == pytest.approx(0.95, abs=0.015)


def test_order_statistics_cover_the_median_of_any_distribution() -> None:
    random = np.random.default_rng(2)
    made, with_error = [], []
    for d in random.standard_cauchy(size=(2000, 12)):
        low, high = np.where(d < -3, -INF, d), np.where(d > 3, INF, d)
        made.append(Sample(np.r_[low, -INF], np.r_[high, INF]))
        times = random.normal(size=5)
        shifted = Sample(low + times.mean(), high + times.mean(), errors=((float(scipy.stats.sem(times)), 4),))
        with_error.append(shifted)
    assert coverage(made, 0.0) >= 0.95
    assert coverage(with_error, 0.0) >= 0.95


def test_intervals_of_spread_cover_the_ratio() -> None:
    random = np.random.default_rng(3)
    made = [Spread(random.normal(0, 2.0, size=8), random.normal(5, 1.0, size=12)) for _ in range(2000)]
    assert coverage(made, math.log(2)) == pytest.approx(0.95, abs=0.015)


# --- verdicts on one comparison -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "less_or_more", "held", "not_", "same"),
    [  # of the advantage, delta = 1
        (1.1, 3.0, "supported", "yes", "supported", "refuted"),
        (0.5, 3.0, "cannot tell", "unclear", "supported", "cannot tell"),
        (-0.9, 0.9, "no difference", "no", "supported", "supported"),
        (-1.0, 1.0, "no difference", "no", "supported", "supported"),
        (-3.0, 3.0, "cannot tell", "unclear", "cannot tell", "cannot tell"),
        (-3.0, 0.5, "ruled out", "no", "cannot tell", "cannot tell"),
        (-3.0, -1.1, "refuted", "no", "refuted", "refuted"),
        (-INF, INF, "cannot tell", "unclear", "cannot tell", "cannot tell"),
        (1.5, INF, "supported", "yes", "supported", "refuted"),
    ],
)
def test_verdicts_by_hand(low: float, high: float, less_or_more: str, held: str, not_: str, same: str) -> None:
    for direction, word in zip(verdict.DIRECTIONS, (less_or_more, less_or_more, not_, not_, same), strict=True):
        found = verdict.verdict(direction, low, high, 1.0)
        assert found == word, direction
        expected = {"supported": "yes", "refuted": "no"}.get(word, "unclear")
        assert verdict.holds(found) == (held if direction in ("less", "more") else expected)


def test_directions_are_about_a() -> None:
    lower = known(np.array([-1.0, -1.2, -0.9, -1.1, -1.05]))
    assert [alone(lower, d, 0.1)[0] for d in verdict.DIRECTIONS] == [
        "supported", "refuted", "supported", "refuted", "refuted",
    ]  # fmt: skip
    assert [verdict.orient(d) for d in verdict.DIRECTIONS] == [-1, 1, -1, 1, 1]


def test_equal_memory_is_no_less_and_not_more() -> None:
    equal = Sample([0.0], [0.0], exact=True)
    assert alone(equal, "less") == alone(equal, "more") == ("no difference", "no")
    assert alone(equal, "not_more") == alone(equal, "not_less") == alone(equal, "same") == ("supported", "yes")
    byte_more = Sample([1e-9], [1e-9], exact=True)
    assert alone(byte_more, "not_more") == ("refuted", "no")
    assert alone(byte_more, "not_more", 1e-9) == ("supported", "yes")
    assert alone(byte_more, "more") == ("supported", "yes")


@settings(max_examples=40)
@given(samples() | spreads(), st.sampled_from(["less", "more"]), st.sampled_from([0.0, 0.1, 1.0, 5.0]))
def test_swapping_the_sides_swaps_supported_and_refuted(sample: Sample | Spread, direction: str, delta: float) -> None:
    swapped = {
        "supported": {"refuted"},
        "refuted": {"supported"},
        "no difference": {"no difference"},
        "ruled out": {"cannot tell"},
        "cannot tell": {"cannot tell", "ruled out"},
    }
    one, other = alone(sample, direction, delta)[0], alone(-sample, direction, delta)[0]
    assert other in swapped[one]
    opposite = "more" if direction == "less" else "less"
    assert alone(-sample, opposite, delta) == alone(sample, direction, delta)
    assert alone(-sample, "same", delta) == alone(sample, "same", delta)


@settings(max_examples=40)
@given(samples() | spreads(), st.sampled_from([0.0, 0.1, 1.0, 5.0]))
def test_verdicts_agree_with_each_other(sample: Sample | Spread, delta: float) -> None:
    found = {direction: alone(sample, direction, delta) for direction in verdict.DIRECTIONS}
    assert {word for word, _ in found.values()} <= {*verdict.DECIDED, "cannot tell"}
    assert {held for _, held in found.values()} <= set(verdict.HOLDS)
    for a, not_a in (("less", "not_less"), ("more", "not_more")):
        assert not (found[a][1] == found[not_a][1] == "yes")
    if found["less"][0] == "supported":
        assert found["not_more"][0] == "supported"
        assert found["same"][0] == "refuted"
    assert (found["less"][0] == "no difference") == (found["same"][0] == "supported")
    if found["less"][0] == "ruled out":
        assert found["more"][0] == "cannot tell"


# --- ledgers --------------------------------------------------------------------------------------


def test_a_claim_is_a_family_of_holms_and_the_ledger_stands_beside() -> None:
    random = np.random.default_rng(0)
    rows = [{"sample": known(random.normal(shift, 1, size=8)), "claim": str(shift < 0)} for shift in (-2, -1, 0, 0, 3)]
    found = verdict.judge(ledger(*rows))
    for _, family in found.groupby("claim"):
        assert family["p_holm"].to_numpy() == pytest.approx(inference.holm(family["p"].to_numpy()), rel=1e-12)
    assert found["p_ledger"].tolist() == inference.holm(found["p"].to_numpy()).tolist()
    for row in found.itertuples():
        test = scipy.stats.ttest_1samp(row.sample.low, 0)
        assert row.p == pytest.approx(test.pvalue)
        assert (row.low, row.high) == pytest.approx(test.confidence_interval(1 - 0.05 / row.factor), rel=1e-6)
        assert row.estimate == effect(row.sample).estimate  # a less b, whatever the direction
    assert list(found["alone"])[:2] == ["supported", "supported"]
    faint = known(np.array([-0.1, -0.9, -0.4, -1.3, 0.2, -0.7, -0.6, -0.2]))
    assert alone(faint, "less")[0] == "supported"
    crowd = verdict.judge(ledger({"sample": faint}, *[{"sample": known(random.normal(size=8))} for _ in range(60)]))
    assert (crowd["alone"][0], crowd["verdict"][0], crowd["holds"][0]) == ("supported", "cannot tell", "unclear")
    assert crowd["p_holm"][0] > 0.05 > crowd["p"][0]


def test_what_may_not_be_decided_is_not() -> None:
    clear = known(np.array([-1.0, -1.1, -0.9, -1.0]))
    rows = (
        {"sample": clear},
        {"sample": clear, "problem": "the processor was contended"},
        {"sample": None, "problem": "the processor was contended"},
        {"sample": None},
        {"sample": math.nan, "problem": math.nan},
        {"sample": clear, "problem": ""},
    )
    found = verdict.judge(ledger(*rows))
    words = ["supported", "cannot tell", "cannot tell", "not run", "not run", "supported"]
    assert found["verdict"].tolist() == found["alone"].tolist() == words
    assert found["holds"].tolist() == ["yes", *["unclear"] * 4, "yes"]
    assert found["p"].isna().tolist() == [False, True, True, True, True, False]
    assert found["p_holm"][0] == 2 * found["p"][0]  # adjusted for the two that were tested
    assert found["estimate"][1] == found["estimate"][0]
    assert found["low"][2:5].isna().all()


@given(st.lists(samples() | spreads(), min_size=1, max_size=6), st.sampled_from(verdict.DIRECTIONS), st.integers(1, 6))
def test_yes_and_no_are_at_one_level_and_agree_with_the_interval(
    made: list[Sample | Spread], direction: str, num_looks: int
) -> None:
    rows = [{"sample": sample, "direction": direction, "delta": 0.1, "num_looks": num_looks} for sample in made]
    for row in verdict.judge(ledger(*rows)).itertuples():
        sign = verdict.orient(direction)
        low, high = (row.low, row.high) if sign > 0 else (-row.high, -row.low)
        if not math.isnan(low):
            assert row.verdict == verdict.verdict(direction, low, high, 0.1)
        if row.method not in ("exact", "none") and abs(row.p_holm - 0.05) > 1e-6:
            assert (row.p_holm < 0.05) == (row.holds != "unclear"), "p decides just where the interval does"


def test_looking_often_is_counted_in_p_and_interval() -> None:
    d = known(np.random.default_rng(1).normal(-0.5, 0.4, size=10))
    once, often = (verdict.judge(ledger({"sample": d, "num_looks": looks})).iloc[0] for looks in (1, 5))
    assert often["p"] == 5 * once["p"]
    expected = scipy.stats.ttest_1samp(d.low, 0).confidence_interval(1 - 0.05 / 5)
    assert (often["low"], often["high"]) == pytest.approx(expected)


def test_looking_five_times_decides_few_true_nulls() -> None:
    random = np.random.default_rng(9)
    wrong = 0
    for _ in range(400):
        d = random.normal(0.0, 0.3, size=80)
        looks = [verdict.judge(ledger({"sample": known(d[:n]), "num_looks": 5})).iloc[0] for n in (5, 10, 20, 40, 80)]
        wrong += any(row["verdict"] in ("supported", "refuted") for row in looks)
    assert wrong <= 31  # 20 expected at most, at 5 %


@given(st.lists(st.tuples(samples() | spreads(), st.sampled_from(verdict.DIRECTIONS)), max_size=4))
def test_contended_rows_never_decide(rows: list[tuple[Sample | Spread, str]]) -> None:
    made = [{"sample": sample, "direction": direction, "problem": "contended"} for sample, direction in rows]
    found = verdict.judge(ledger(*made))
    assert set(found["verdict"]) <= {"cannot tell"}
    assert set(found["holds"]) <= {"unclear"}


def test_rows_keep_their_order_index_and_columns() -> None:
    table = ledger({"sample": known([1.0, 2.0])}, {}).set_index(pd.Index([7, 3])).assign(workload=["w", "v"])
    found = verdict.judge(table)
    assert found.index.tolist() == [7, 3]
    assert found["workload"].tolist() == ["w", "v"]
    assert list(table) == [*ledger(), "workload"]  # what was given is as it was
    empty = verdict.judge(ledger())
    assert len(empty) == 0
    assert {*analysis_bounds.Effect._fields, "p", "p_holm", "verdict", "holds", "alone"} <= set(empty)


# --- how often a verdict is wrong -----------------------------------------------------------------

NUM_LEDGERS, NUM_COMPARISONS = 200, 60


@pytest.mark.parametrize(("n", "delta"), list(itertools.product([10, 15], [0.0, 0.1])))
def test_an_optimizer_against_itself_decides_in_few_ledgers(n: int, delta: float) -> None:
    random = np.random.default_rng([n, round(10 * delta)])
    decided = 0
    for _ in range(NUM_LEDGERS):
        scales = random.choice([0.03, 0.3, 1.0], size=(NUM_COMPARISONS, 1))
        d = scales * (random.normal(size=(2, NUM_COMPARISONS, n)) * [[[1]], [[-1]]]).sum(axis=0)  # one run less another
        low, high = d.copy(), d.copy()
        high[::4][d[::4] > 0.8] = INF  # runs of b that never got there
        low[::4] = np.minimum(low[::4], 0.8)
        low[1::8][d[1::8] < -0.8] = -INF  # of both sides
        high[1::8][d[1::8] > 0.8] = INF
        low[1::8] = np.minimum(low[1::8], 0.8)
        high[1::8] = np.where(d[1::8] < -0.8, -0.8, high[1::8])
        rows = [
            {"sample": Sample(*pair), "delta": delta, "direction": "less" if i % 2 else "more"}
            for i, pair in enumerate(zip(low, high, strict=True))
        ]
        found = verdict.judge(ledger(*rows))
        decided += bool(found["verdict"].isin(["supported", "refuted"]).any())
    assert decided <= 18  # 10 expected of 200 at 5 %


def test_true_nulls_among_true_effects_are_decided_in_few_ledgers() -> None:
    random = np.random.default_rng(5)
    wrong, found_true = 0, []
    truth = np.repeat([0.0, -0.8], NUM_COMPARISONS // 2)
    for _ in range(NUM_LEDGERS):
        d = random.normal(truth[:, None], 0.3, size=(NUM_COMPARISONS, 10))
        found = verdict.judge(ledger(*[{"sample": known(x)} for x in d]))
        wrong += bool(found["verdict"][truth == 0].isin(["supported", "refuted"]).any())
        found_true.append((found["verdict"][truth < 0] == "supported").mean())
    assert wrong <= 18
    assert np.mean(found_true) > 0.9


def test_a_true_effect_is_seldom_refuted_and_the_more_seldom_the_more_seeds() -> None:
    random = np.random.default_rng(6)
    refuted, supported = [], []
    for n in (5, 10, 20, 40):
        d = random.normal(-0.15, 1.0, size=(2000, n))
        found = verdict.judge(ledger(*[{"sample": known(x)} for x in d]))["alone"]
        refuted.append((found == "refuted").mean())
        supported.append((found == "supported").mean())
    assert max(refuted) <= 0.025
    assert refuted == sorted(refuted, reverse=True)
    assert refuted[0] > 2 * refuted[-1]
    assert supported == sorted(supported)


@pytest.mark.parametrize(("direction", "truth"), [("less", 0.3), ("more", -0.3), ("not_more", 0.3), ("not_less", -0.3)])
def test_at_its_margin_a_claim_is_wrongly_decided_one_time_in_forty(direction: str, truth: float) -> None:
    """Just not refuted (`less`: b less by delta; `not_more`: a more by delta): each side is a test at 2.5 %."""
    random = np.random.default_rng(7)
    d = random.normal(truth, 1.0, size=(3000, 10))
    found = verdict.judge(ledger(*[{"sample": known(x), "direction": direction, "delta": 0.3} for x in d]))["alone"]
    assert (found == "refuted").mean() == pytest.approx(0.025, abs=3 * math.sqrt(0.025 / 3000))


def test_a_difference_is_called_none_one_time_in_forty_at_its_margin() -> None:
    d = np.random.default_rng(8).normal(0.3, 0.2, size=(3000, 15))
    found = verdict.judge(ledger(*[{"sample": known(x), "delta": 0.3, "direction": "same"} for x in d]))["alone"]
    assert (found == "supported").mean() == pytest.approx(0.025, abs=3 * math.sqrt(0.025 / 3000))


# --- claims ---------------------------------------------------------------------------------------

S, R, N, L, C, X, T = (
    "supported", "refuted", "no difference", "ruled out", "cannot tell", "not run", "not testable here",
)  # fmt: skip


@pytest.mark.parametrize(
    ("verdicts", "word", "general"),
    [
        ([S], S, "yes"),
        ([S, S, S, C], S, "yes"),
        ([S, S, C], C, "unclear"),
        ([S, S, S, C, X, X, X], S, "yes"),
        ([R, R, C], R, "no"),
        ([N, N], N, "no"),
        ([L, C], L, "no"),
        ([N, R, N], R, "no"),
        ([L, N, N], N, "no"),
        ([N, R, C, C, C], C, "unclear"),
        ([S, R, C, C, C], "mixed", "in some cases"),
        ([S, N], "mixed", "in some cases"),
        ([S, L, C, C, C], "mixed", "in some cases"),
        ([C, C], C, "unclear"),
        ([X, X], X, "unclear"),
        ([X, T], T, "unclear"),
        ([], X, "unclear"),
    ],
)
def test_a_claim_from_its_comparisons(verdicts: list[str], word: str, general: str) -> None:
    for said in (verdicts, verdicts[::-1], [*verdicts, X]):
        assert verdict.whole(said) == word
    assert verdict.whole_holds(word) == general
    assert word in verdict.VERDICTS
    assert general in verdict.HOLDS


@pytest.mark.parametrize(
    ("verdicts", "word", "general"),
    [([S, R], S, "yes"), ([C, S, C, C], S, "yes"), ([R, N, L], R, "no"), ([R, C], C, "unclear"), ([X], X, "unclear")],
)
def test_a_claim_that_something_can_be(verdicts: list[str], word: str, general: str) -> None:
    for said in (verdicts, [*verdicts, X]):
        assert verdict.whole(said, "somewhere") == word
    assert verdict.whole_holds(word) == general


def test_a_comparison_that_several_claims_tell_counts_once() -> None:
    d = np.random.default_rng(4).normal(0.3, 0.25, size=(6, 12))
    rows = [{"sample": known(x), "test": str(i)} for i, x in enumerate(d)]
    once = verdict.judge(ledger(*rows))
    mirrored = [row | {"sample": -row["sample"], "direction": "more"} for row in rows]
    twice = verdict.judge(ledger(*rows, *mirrored))
    assert twice["p_ledger"][:6].to_numpy() == pytest.approx(once["p_ledger"].to_numpy(), rel=1e-9)
    apart = verdict.judge(ledger(*rows, *[row | {"test": f"other {row['test']}"} for row in mirrored]))
    assert (apart["p_ledger"][:6] >= once["p_ledger"]).all() and (apart["p_ledger"][:6] > once["p_ledger"]).any()


def test_what_is_not_random_costs_the_others_nothing() -> None:
    d = known(np.random.default_rng(4).normal(0.3, 0.2, size=12))
    exact = Sample(np.zeros(1), np.zeros(1), exact=True)
    found = verdict.judge(ledger({"sample": d}, *[{"sample": exact}] * 5))
    assert found["p_holm"].iloc[0] == found["p"].iloc[0]
    assert set(found["verdict"][1:]) == {"no difference"}


# --- seeds that decide ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "spread", "direction"),
    [
        (-0.5, 0.3, "less"),
        (-0.2, 0.15, "less"),
        (-0.15, 0.1, "less"),
        (0.4, 1.0, "less"),
        (0.2, 0.15, "same"),
        (0.05, 0.1, "same"),
    ],
)
@pytest.mark.parametrize("num_looks", [1, 5])
def test_so_many_pairs_decide_four_times_of_five(truth: float, spread: float, direction: str, num_looks: int) -> None:
    random = np.random.default_rng(2)
    many = random.normal(size=400)
    pilot = truth + spread * (many - many.mean()) / many.std(ddof=1)
    common = {"delta": 0.1, "num_looks": num_looks, "direction": direction}
    row = next(verdict.judge(ledger({"sample": known(pilot), **common})).itertuples())
    n = math.ceil(outlook.pairs_to_decide(row))
    rows = [{"sample": known(d), **common, "claim": i} for i, d in
            enumerate(random.normal(truth, spread, size=(600, n)))]  # fmt: skip
    shown = verdict.judge(ledger(*rows))["holds"] != "unclear"
    assert 0.74 <= shown.mean() <= (0.95 if n > 4 else 1.0)


def test_what_no_number_of_pairs_decides_is_told() -> None:
    def needed(sample: Sample | Spread, **more: object) -> float:
        (row,) = verdict.judge(ledger({"sample": sample, "delta": 0.1} | more)).itertuples()
        return outlook.pairs_to_decide(row)

    d = np.random.default_rng(0).normal(-0.15, 0.1, size=10)
    assert needed(known(d)) < needed(Sample(d, d, errors=((0.005, 4.0),))) < INF
    assert needed(Sample(d, d, errors=((0.05, 4.0),))) == INF, "the clock's floor"
    assert needed(Sample(d - 0.2, d + 0.2)) == INF, "bounds wider than the distance"
    assert needed(Sample(np.full(10, -INF), np.full(10, INF))) == INF, "neither side gets there"
    assert needed(Sample(np.r_[-0.2, d], np.r_[INF, d])) == 44.0, "a bound on the wrong side: the next two looks"
    assert needed(known(np.array([0.0, -0.2, -0.1, -0.1, -0.1]))) == INF, "at the limit itself"
    same = needed(known(np.array([0.01, -0.01, 0.02, -0.02, 0.0])), direction="same")
    assert same < 10


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0, math.nan], [1.0, 2.0]), r"sample\.low must be at most sample\.high, got \[1.0, nan\]"),
        (([2.0], [1.0]), r"sample\.low must be at most sample\.high, got \[2.0\] and \[1.0\]; give -inf"),
        (([1.0, 2.0], [3.0]), r"sample\.high must have the shape of sample\.low, \(pairs,\), got \(1,\) and \(2,\)"),
        (([1.0], [1.0], ((-1.0, 3.0),)), r"sample\.errors must be pairs .* got \[\(-1.0, 3.0\)\]; leave out"),
        (([1.0], [1.0], ((1.0, 0.0),)), r"sample\.errors must be pairs"),
        (([1.0], [1.0], ((math.nan, 2.0),)), r"sample\.errors must be pairs"),
        (([1.0], [INF], (), True), r"sample\.exact must be false where"),
        (([1.0], [1.0], ((1.0, 4.0),), True), r"sample\.exact must be false where"),
    ],
)
def test_a_sample_that_is_none_is_refused(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sample(*arguments)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match=r"spread\.b must be finite numbers, one a run, got \[inf\]; leave out"):
        Spread(np.ones(3), np.array([INF]))
    with pytest.raises(ValueError, match=r"claims\.1\.1\.direction must be one of less, more, .*, got lower; choose"):
        verdict.judge(ledger({"claim": "1.1", "direction": "lower"}))
    for delta in (-0.1, INF, math.nan):
        with pytest.raises(ValueError, match=rf"claims\.c\.delta must be a finite number of at least 0, got {delta}; "):
            verdict.judge(ledger({"delta": delta}))
    with pytest.raises(ValueError, match="verdict must be one of supported, .*, got mixed; give those of comparisons"):
        verdict.whole(["mixed"])


def test_judging_imports_no_torch() -> None:
    code = "import sys, bench.claims.verdict; print([m for m in ('torch', 'hydra', 'omegaconf') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
