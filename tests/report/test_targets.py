"""Steps and time to a target, areas, groups, probabilities and power: by hand, by simulation, by their properties."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis import comparisons, goals, inference, targets
from bench.analysis import power as analysis_power
from bench.analysis.target_pairs import target_pairs, winners_disagree
from bench.base.errors import UserError

EVERY, BUDGET = 10, 100


def make_study(first: dict[str, list[float | None]], **changes: Any) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs that first reach a loss of 0.1 at these steps, or never, with an evaluation every 10 of 100 steps."""
    runs, curves = [], []
    for series, steps in first.items():
        for seed, step in enumerate(steps):
            run_id = f"{series}-{seed}"
            run = {
                "run_id": run_id, "series": series, "optimizer": series.split()[0], "seed": seed, "environment_id": "e",
                "status": "ok", "stage": "single", "num_steps": BUDGET, "num_steps_budget": BUDGET, "timing_quality": "clean",
                "launcher": "local", "final_val_loss": 1.0 if step is None else 0.1,
            }  # fmt: skip
            runs.append(run | {name: value[run_id] for name, value in changes.items() if run_id in value})
            curves += [
                {
                    "run_id": run_id, "step": at, "split": "val", "metric": "loss", "train_time_s": 0.01 * at,
                    "value": 0.1 if step is not None and at >= step else 1.0,
                }
                for at in range(0, int(runs[-1]["num_steps"]) + 1, EVERY)
            ]  # fmt: skip
    return pd.DataFrame(runs), pd.DataFrame(curves)


TIMES = pd.DataFrame({"series": ["a", "b"], "step_s": [0.004, 0.001], "log_se": [0.01, 0.01], "df": [4, 4]})


# --- steps to target ------------------------------------------------------------------------------


def test_a_run_that_never_gets_there_is_censored_where_it_ended() -> None:
    runs, curves = make_study(
        {"a": [40, None, None, None]},
        status={"a-2": "diverged", "a-3": "timeout"},
        num_steps={"a-2": 30, "a-3": 50},
    )
    table = targets.steps_to_target(runs, curves, 0.5).set_index("seed")
    assert table["reached"].tolist() == [True, False, False, False]
    assert table["steps_to_target"].fillna(-1).tolist() == [40, -1, -1, -1]
    assert table["censored_at"].fillna(-1).tolist() == [-1, 100, 100, 50], (
        "a diverged run would not have got there later"
    )
    assert table["resolution"].tolist() == [10, 10, 10, 10]
    assert table["end_to_end_s"].iloc[0] == pytest.approx(0.4)


def test_only_times_of_runs_made_alone_stand() -> None:
    runs, curves = make_study(
        {"a": [40, 40, 40]}, launcher={"a-0": "pool"}, timing_quality={"a-1": "contended"}
    )  # fmt: skip
    table = targets.steps_to_target(runs, curves, 0.5)
    assert table["steps_to_target"].tolist() == [40, 40, 40]
    assert table["end_to_end_s"].notna().tolist() == [False, False, True]


def test_runs_that_say_nothing_are_left_out() -> None:
    runs, curves = make_study({"a": [40, 40, 40]}, status={"a-0": "failed", "a-1": "interrupted"})
    assert targets.steps_to_target(runs, curves, 0.5)["seed"].tolist() == [2]


def test_more_is_better_for_accuracy() -> None:
    runs, curves = make_study({"a": [40]})
    curves = curves.assign(metric="accuracy", value=curves["step"] / 100)
    assert targets.steps_to_target(runs, curves, 0.72, metric="accuracy")["steps_to_target"].tolist() == [80]


@given(st.lists(st.one_of(st.none(), st.integers(0, 10)), min_size=1, max_size=6), st.floats(0.01, 2))
def test_steps_are_those_of_a_plain_search(steps: list[int | None], target: float) -> None:
    runs, curves = make_study({"a": [None if s is None else 10 * s for s in steps]})
    shuffled = curves.sample(frac=1, random_state=0)
    table = targets.steps_to_target(runs, shuffled, target).set_index("run_id")
    for run_id, curve in curves.groupby("run_id"):
        there = [row.step for row in curve.itertuples() if row.value <= target]
        assert (table.loc[run_id, "steps_to_target"] == min(there)) if there else not table.loc[run_id, "reached"]


def curves_of(losses: dict[str, list[list[float]]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs with these validation losses at steps 0, 25, 50, 75 and 100 of 100."""
    runs, curves = [], []
    for series, each in losses.items():
        for seed, values in enumerate(each):
            run_id = f"{series}-{seed}"
            runs.append({
                "run_id": run_id, "series": series, "optimizer": series, "seed": seed, "environment_id": "e", "status": "ok",
                "stage": "single", "num_steps": 100, "num_steps_budget": 100, "final_val_loss": values[-1],
            })  # fmt: skip
            curves += [
                {
                    "run_id": run_id,
                    "step": 25 * i,
                    "split": "val",
                    "metric": "loss",
                    "train_time_s": 0.0,
                    "value": value,
                }
                for i, value in enumerate(values)
            ]
    return pd.DataFrame(runs), pd.DataFrame(curves)


def test_a_target_that_is_given_or_a_baselines() -> None:
    runs, curves = make_study({"a": [10, 20], "b": [None, None], "c": [None, None]})
    runs["final_val_loss"] = [0.1, 0.3, 0.4, 0.6, 0.7, 0.9]
    assert goals.Goal(baseline="c").target(runs, curves, ["a", "b"]) == (0.8, "the median final one of c")
    assert goals.Goal(baseline="d").target(runs, curves, ["a", "b"]) is None
    assert goals.Goal(0.25).target(runs, curves, ["a", "b"]) == (0.25, "as given")
    with pytest.raises(UserError, match="target must be a finite number, got nan"):
        goals.Goal(math.nan).target(runs, curves, ["a", "b"])


def test_the_default_target_is_reached_by_most_runs_of_most_optimizers() -> None:
    falls = {f"o{i}": [[2.0, *(2.0 * (0.5 + 0.01 * i) ** k for k in (1, 2, 3, 4))]] * 3 for i in range(12)}
    runs, curves = curves_of(falls)
    levels = goals.default_targets(runs, curves)
    assert [level.value for level in levels] == pytest.approx([2 * 0.58**2, 2 * 0.58**3, 2 * 0.58**4])
    assert goals.Goal().target(runs, curves, list(falls)) == levels[1]
    for level in levels:
        steps = targets.steps_to_target(runs, curves, level.value).groupby("series")["steps_to_target"].max()
        share = {"half": 50, "three quarters": 75, "all": 100}[
            level.words.split(" within ")[-1].removesuffix(" of the budget")
        ]
        assert (steps <= share).sum() == 9, level.words


def test_what_has_not_learned_sets_no_target() -> None:
    runs, curves = curves_of(
        {"adam": [[2.303, 1.0, 0.5, 0.3, 0.15]] * 3, "sgd": [[2.303, 2.302, 2.302, 2.302, 2.301]] * 3}
    )
    target = goals.Goal().target(runs, curves, ["adam", "sgd"])
    assert target is not None
    assert target.value == 0.3
    assert "within three quarters of the budget" in target.words
    assert goals.Goal().target(runs[runs["series"] == "adam"], curves, ["adam"]) is None, "nothing to compare"
    flat = curves_of({"a": [[1.0] * 5] * 2, "b": [[1.0] * 5] * 2})
    assert goals.default_targets(*flat) == []
    assert goals.default_targets(runs, curves.iloc[:0]) == []


def test_one_bad_run_in_four_does_not_move_the_target() -> None:
    good, bad = [2.0, 1.0, 0.6, 0.4, 0.3], [2.0, 1.9, 1.9, 1.9, 1.9]
    runs, curves = curves_of({"a": [good] * 3 + [bad], "b": [good] * 3 + [bad]})
    assert [level.value for level in goals.default_targets(runs, curves)] == [0.6, 0.4, 0.3]


@pytest.mark.parametrize(
    ("before", "after", "target", "share"),
    [
        (1.0, 0.1, 0.5, math.log10(2)),
        (1.0, 0.25, 0.5, 0.5),
        (1.0, 0.0, 0.5, 0.5),
        (1.0, -1.0, 0.5, 0.25),
        (0.0, -2.0, -0.5, 0.25),
    ],
)
def test_the_crossing_lies_between_two_evaluations(before: float, after: float, target: float, share: float) -> None:
    runs, curves = curves_of({"a": [[3.0, before, after, after, after]]})
    curves["train_time_s"] = 0.1 * curves["step"]
    row = targets.steps_to_target(runs, curves, target).iloc[0]
    assert row["steps_to_target"] == 50
    assert row["crossed_at"] == pytest.approx(25 + 25 * share)
    assert row["crossed_s"] == pytest.approx(2.5 + 2.5 * share)
    begun = targets.steps_to_target(runs, curves, 5.0).iloc[0]
    assert (begun["crossed_at"], begun["crossed_s"]) == (0, 0)


# --- pairs ----------------------------------------------------------------------------------------


def crossed(steps: list[int]) -> np.ndarray:
    """Where curves of `make_study` are at 0.5, between an evaluation at 1 and one at 0.1."""
    return np.array(steps) - EVERY + EVERY * math.log10(2)


def test_pairs_are_a_paired_t_test_where_all_get_there() -> None:
    a, b = [20, 30, 20, 40], [60, 50, 70, 60]
    runs, curves = make_study({"b": b, "a": a})
    row = target_pairs(runs, curves, ["b", "a"], 0.5).iloc[0]
    test = scipy.stats.ttest_rel(np.log(crossed(a)), np.log(crossed(b)))
    assert (row["a"], row["b"], row["method"], row["bound"]) == ("a", "b", "t", "")
    assert row["p"] == pytest.approx(test.pvalue)
    assert [math.log(row["ratio_low"]), math.log(row["ratio_high"])] == pytest.approx(list(test.confidence_interval()))
    assert (row["adjusted_low"], row["adjusted_high"]) == pytest.approx((row["ratio_low"], row["ratio_high"])), (
        "one test"
    )
    assert (row["num_censored"], row["wins_a"], row["wins_b"]) == (0, 4, 0)
    assert math.isnan(row["time_ratio"])


def test_a_censored_run_bounds_the_ratio() -> None:
    a, b = [20, 20, 20, 40, 30], [40, None, None, 40, 60]
    runs, curves = make_study({"a": a, "b": b})
    row = target_pairs(runs, curves, ["b", "a"], 0.5).iloc[0]
    assert (row["num_pairs"], row["num_bounded"], row["num_censored"], row["num_both_censored"]) == (5, 2, 2, 0)
    assert (row["a"], row["wins_a"], row["wins_b"], row["method"], row["bound"]) == ("a", 4, 0, "t", "at most")
    most = np.log(crossed([20, 20, 20, 40, 30])) - np.log([*crossed([40]), 100, 100, *crossed([40, 60])])
    assert row["ratio"] == pytest.approx(math.exp(most.mean()))
    assert row["ratio_low"] == 0
    test = scipy.stats.ttest_1samp(most, 0, alternative="less")
    assert row["p"] == pytest.approx(2 * test.pvalue)


def test_both_censored_says_nothing() -> None:
    runs, curves = make_study({"a": [20, None, None], "b": [40, None, 40]})
    row = target_pairs(runs, curves, ["a", "b"], 0.5).iloc[0]
    assert (row["num_both_censored"], row["wins_a"], row["wins_b"], row["p"]) == (1, 1, 1, 1.0)
    assert row["bound"] == ""
    assert math.isnan(row["ratio"]), "with censored runs on both sides nothing bounds the ratio"


@given(
    st.lists(st.tuples(*[st.one_of(st.none(), st.integers(1, 10).map(lambda s: 10 * s))] * 2), min_size=2, max_size=6)
)
def test_swapping_the_sides_of_pairs_changes_nothing(steps: list[tuple[int | None, int | None]]) -> None:
    runs, curves = make_study({"a": [x for x, _ in steps], "b": [y for _, y in steps]})
    one = target_pairs(runs, curves, ["a", "b"], 0.5, TIMES).iloc[0]
    other = target_pairs(runs, curves, ["b", "a"], 0.5, TIMES).iloc[0]
    assert one["p"] == pytest.approx(other["p"])
    assert one["method"] == other["method"]
    assert sorted((one["wins_a"], one["wins_b"])) == sorted((other["wins_a"], other["wins_b"]))
    assert one["wins_a"] + one["wins_b"] + one["num_both_censored"] <= len(steps)
    if one["a"] == other["a"]:
        pd.testing.assert_series_equal(one, other, rtol=1e-9)


def test_time_ratios_carry_the_errors_of_steps_and_of_step_times() -> None:
    runs, curves = make_study({"a": [20, 30, 20], "b": [40, 50, 60]})
    row = target_pairs(runs, curves, ["a", "b"], 0.5, TIMES).iloc[0]
    logs = np.log(crossed([20, 30, 20])) - np.log(crossed([40, 50, 60]))
    assert row["time_ratio"] == pytest.approx(4 * math.exp(logs.mean()))
    variance = logs.var(ddof=1) / 3 + 2 * 0.01**2
    df = variance**2 / ((logs.var(ddof=1) / 3) ** 2 / 2 + 2 * 0.01**4 / 4)
    half = scipy.stats.t.ppf(0.975, df) * math.sqrt(variance)
    assert math.log(row["time_ratio_high"] / row["time_ratio"]) == pytest.approx(half)
    assert row["time_p"] == pytest.approx(2 * scipy.stats.t.sf((math.log(4) + logs.mean()) / math.sqrt(variance), df))


def test_winners_by_steps_and_by_time_may_disagree() -> None:
    runs, curves = make_study({"a": [20, 30, 20], "b": [40, 50, 60]})
    both = (runs, curves, ["a", "b"], 0.5, TIMES)
    found = winners_disagree(targets.time_to_target(*both), target_pairs(*both))
    assert found is not None
    assert (found.by_steps, found.by_time) == ("a", "b")
    assert found.steps_ratio < 1 < found.time_ratio
    assert found.time_ratio_low < found.time_ratio < found.time_ratio_high
    alike = TIMES.assign(step_s=0.001)
    both = (runs, curves, ["a", "b"], 0.5, alike)
    assert winners_disagree(targets.time_to_target(*both), target_pairs(*both)) is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_sign_test_is_the_binomial_one(wins: int, losses: int) -> None:
    expected = scipy.stats.binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert inference.sign_test(wins, losses) == pytest.approx(expected)


# --- groups ---------------------------------------------------------------------------------------


def test_groups_of_what_cannot_be_told_apart() -> None:
    """a differs significantly from c and d: a and b make a group, and b, c and d another."""
    pairs = pd.DataFrame(
        [(a, b, (a, b) in {("a", "c"), ("a", "d")}) for a, b in itertools.combinations("abcd", 2)],
        columns=["a", "b", "significant"],
    )
    groups = comparisons.indistinguishable_groups(pairs, list("abcd"))
    assert groups == [["a", "b"], ["b", "c", "d"]]
    assert comparisons.indistinguishable_groups(pairs.iloc[:0], ["x"]) == [["x"]]
    assert comparisons.indistinguishable_groups(pairs.iloc[:0], []) == []


@given(st.integers(1, 6), st.data())
def test_groups_are_the_maximal_cliques(n: int, data: st.DataObject) -> None:
    names = [f"s{i}" for i in range(n)]
    edges = list(itertools.combinations(names, 2))
    apart = {edge for edge in edges if data.draw(st.booleans())}
    pairs = pd.DataFrame([(a, b, (a, b) in apart) for a, b in edges], columns=["a", "b", "significant"])
    cliques = [
        set(some)
        for size in range(1, n + 1)
        for some in itertools.combinations(names, size)
        if not apart & set(itertools.combinations(some, 2))
    ]
    maximal = {frozenset(c) for c in cliques if not any(c < other for other in cliques)}
    assert {frozenset(g) for g in comparisons.indistinguishable_groups(pairs, names)} == maximal


# --- probability ----------------------------------------------------------------------------------

LOSSES = st.lists(st.one_of(st.integers(-5, 5).map(float), st.just(math.inf)), min_size=1, max_size=10)


@given(LOSSES, LOSSES)
def test_probability_better_is_symmetric_and_of_ranks_only(a: list[float], b: list[float]) -> None:
    forth, back = inference.probability_better(a, b), inference.probability_better(b, a)
    assert (forth.p, forth.low, forth.high) == pytest.approx((1 - back.p, 1 - back.high, 1 - back.low))
    assert 0 <= forth.low <= forth.p <= forth.high <= 1
    assert inference.probability_better(np.arctan(a) ** 3, np.arctan(b) ** 3) == forth
    wins = sum((x < y) + (x == y) / 2 for x in a for y in b)
    assert forth.p == pytest.approx(wins / (len(a) * len(b)))


def test_probability_better_keeps_a_width_at_its_ends() -> None:
    sure = inference.probability_better([1, 2, 3], [4, 5, 6])
    assert (sure.p, sure.high) == (1.0, 1.0)
    assert sure.low < 0.5, "three runs each do not overlap one time in ten by chance"
    assert inference.probability_better(range(10), range(10, 20)).low > 0.7
    assert all(math.isnan(x) for x in inference.probability_better([], [1.0]))
    with pytest.raises(ValueError, match="give inf for a run that has none"):
        inference.probability_better([math.nan], [1.0])


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("shift", [0.0, 1.0, 3.0])
def test_probability_better_covers(n: int, shift: float) -> None:
    """95 % intervals of 400 samples: 369 and more has a chance of 98 % where coverage is 0.95, and it is no less."""
    random = np.random.default_rng(0)
    true = scipy.stats.norm.cdf(shift / math.sqrt(2))
    samples = (inference.probability_better(random.normal(size=n), shift + random.normal(size=n)) for _ in range(400))
    assert sum(found.low <= true <= found.high for found in samples) >= 369


# --- power ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_needed_is_cohens_table(effect: float, n: int) -> None:
    """Paired t test, two-sided 5 %, power 80 %: as G*Power and statsmodels give."""
    assert analysis_power.seeds_needed(1.0, math.exp(effect)) == n
    assert analysis_power.seeds_needed(1.0, math.exp(-effect)) == n
    assert analysis_power.seeds_needed(0.02, math.exp(0.02 * effect)) == n


@given(st.floats(0.01, 1), st.floats(1.01, 4), st.sampled_from([0.5, 0.8, 0.95]))
def test_seeds_needed_reaches_its_power_and_no_sooner(log_sd: float, ratio: float, power: float) -> None:
    def power_of(n: int) -> float:
        """P(|Z + shift| > t_crit sqrt(V / df)) over V from chi-square, integrated by its quantiles."""
        shift, critical = math.log(ratio) / log_sd * math.sqrt(n), scipy.stats.t.ppf(0.975, n - 1)
        x, weight = np.polynomial.legendre.leggauss(400)
        scale = np.sqrt(scipy.stats.chi2.ppf((x + 1) / 2, n - 1) / (n - 1))
        normal = scipy.stats.norm.cdf
        return float(weight @ (normal(shift - critical * scale) + normal(-shift - critical * scale)) / 2)

    n = analysis_power.seeds_needed(log_sd, ratio, power)
    assert power_of(n) >= power - 1e-4
    assert n == 2 or power_of(n - 1) < power + 1e-4
    assert (
        analysis_power.seeds_needed(2 * log_sd, ratio, power)
        >= n
        >= analysis_power.seeds_needed(log_sd, 2 * ratio, power)
    )
    assert analysis_power.detectable_ratio(log_sd, n, power) <= ratio * (1 + 1e-9)
    assert n == 2 or analysis_power.detectable_ratio(log_sd, n - 1, power) >= ratio * (1 - 1e-9)


def test_no_number_of_seeds_shows_nothing() -> None:
    with pytest.raises(ValueError, match="ratio above 0 and not 1"):
        analysis_power.seeds_needed(0.1, 1.0)
