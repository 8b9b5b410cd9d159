"""Trials, learning rates and what tuning buys: on the DeepOBS baselines, by hand, by brute force."""

from __future__ import annotations

import itertools
import json
import lzma
import math
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from made_up import TUNING, tuned_study

from bench import tables
from bench.analysis import tuning
from bench.analysis.section import SectionAnalysis, analyses
from bench.analysis.sections import Section, sections
from bench.report import terminal
from bench.report.study import sentences
from bench.report.study import tables as study_tables
from bench.report.study.leaderboard import NOT_REPEATED, headline

# --- the DeepOBS baselines ------------------------------------------------------------------------

SHORT = {"AdamOptimizer": "adam", "GradientDescentOptimizer": "sgd", "MomentumOptimizer": "momentum"}


@cache
def deepobs_rows() -> list[dict[str, Any]]:
    """1,080 real runs: 36 learning rates at seed 42, and the chosen one at seeds 43 to 51."""
    path = Path(os.environ.get("BENCH_GOLDEN_ROOT", "")) / "deepobs_baselines_epochwise.jsonl.xz"
    if not path.is_file():
        pytest.skip("needs BENCH_GOLDEN_ROOT, the folder of the DeepOBS baselines")
    with lzma.open(path) as file:
        rows = [json.loads(line) for line in file]
    for row in rows:
        row["lr"] = float(f"{row['learning_rate']:.4g}")  # some are written with fewer digits
    return rows


def deepobs_runs(problem: str) -> pd.DataFrame:
    """As rows of `runs`, by test loss: a tuned sweep, its best rate on all ten seeds."""
    made: list[dict[str, Any]] = []
    for row in deepobs_rows():
        if row["testproblem"] != problem:
            continue
        optimizer, last = SHORT[row["optimizer"]], row["test_losses"][-1]
        chosen = {
            other["lr"]
            for other in deepobs_rows()
            if other["random_seed"] == 43 and other["testproblem"] == problem and other["optimizer"] == row["optimizer"]
        }
        stages = ["tune"] * (row["random_seed"] == 42) + ["final"] * (row["lr"] in chosen)
        made += [
            {
                "run_id": f"{optimizer}-{row['lr']}-{row['random_seed']}-{stage}", "cell_id": f"{optimizer}-{row['lr']}-{stage}",
                "environment_id": "e", "optimizer": optimizer, "implementation": "forloop", "lr": row["lr"], "stage": stage,
                "seed": row["random_seed"], "status": "diverged" if math.isnan(last) else "ok", "num_steps": row["num_epochs"],
                "trial": round(5 * math.log10(row["lr"])) + 25, "first_train_loss": row["test_losses"][0],
                "final_val_loss": last, "best_val_loss": last, "series": f"{optimizer} lr={row['lr']:g}",
            }
            for stage in stages
        ]  # fmt: skip
    frame = pd.DataFrame(made)
    return pd.concat(
        [frame, pd.DataFrame({c.name: None for c in tables.RUNS if c.name not in frame}, index=frame.index)], axis=1
    )


@pytest.mark.parametrize("problem", ["quadratic_deep", "cifar10_3c3d", "mnist_vae"])
def test_learning_rate_sensitivity_of_deepobs(problem: str) -> None:
    """The same in plain Python: losses cut off at the start, mean excess over three decades in log lr."""
    trials = deepobs_runs(problem).query("stage == 'tune'")
    table = tuning.learning_rate_sensitivity(trials)
    scores = tuning.sensitivity_score(table).set_index("optimizer")
    for name, short in SHORT.items():
        own = sorted(
            (row["lr"], row["test_losses"][0], row["test_losses"][-1])
            for row in deepobs_rows()
            if (row["testproblem"], row["optimizer"], row["random_seed"]) == (problem, name, 42)
        )
        losses = [start if math.isnan(last) else min(last, start) for _, start, last in own]
        assert table.loc[table["optimizer"] == short, "value"].tolist() == pytest.approx(losses)
        x = [math.log10(lr) for lr, _, _ in own]
        best = losses.index(min(losses))
        low, high = max(x[0], x[best] - 1.5), min(x[-1], x[best] + 1.5)
        area = 0.0  # of many thin slices
        for i in range(30_000):
            at = low + (i + 0.5) * (high - low) / 30_000
            k = next(k for k in range(len(x)) if x[k + 1] >= at)
            area += losses[k] + (losses[k + 1] - losses[k]) * (at - x[k]) / (x[k + 1] - x[k]) - min(losses)
        assert scores.loc[short, "score"] == pytest.approx(area / 30_000, rel=1e-3)
        assert scores.loc[short, "best_lr"] == pytest.approx(own[best][0])
        assert scores.loc[short, "decades"] == pytest.approx(high - low)


# optimizer: (chosen rate, runs, mean final test loss over ten seeds), from the files by a plain loop
TUNED = {
    "quadratic_deep": {"adam": (0.03981, 10, 87.1118803), "sgd": (0.01585, 10, 87.3974745), "momentum": (0.002512, 10, 87.0450410)},
    "cifar10_3c3d": {"adam": (0.0003981, 10, 0.7423060), "sgd": (0.0631, 10, 0.8572075), "momentum": (0.0003981, 10, 0.7896000)},
    "mnist_vae": {"adam": (0.0001585, 10, 27.8308255), "sgd": (0.003981, 10, 38.4560861), "momentum": (2.512e-05, 10, 52.9271190)},
}  # fmt: skip


@pytest.mark.parametrize("problem", TUNED)
def test_tuned_then_ten_seeds_of_deepobs(problem: str) -> None:
    table = tuning.tuned_table(deepobs_runs(problem).query("stage == 'final'")).set_index("optimizer")
    for optimizer, (lr, num_runs, mean) in TUNED[problem].items():
        row = table.loc[optimizer]
        assert (row["lr"], row["num_runs"]) == (lr, num_runs)
        assert row["final_val_loss"] == pytest.approx(mean, rel=1e-7)
        losses = [
            r["test_losses"][-1]
            for r in deepobs_rows()
            if r["testproblem"] == problem and SHORT[r["optimizer"]] == optimizer and r["lr"] == lr
        ]
        low, high = scipy.stats.t.interval(0.95, 9, np.mean(losses), scipy.stats.sem(losses))
        assert (row["final_val_loss_low"], row["final_val_loss_high"]) == pytest.approx((low, high))


def test_deepobs_rates_were_chosen_by_loss_where_that_is_all() -> None:
    """Without an accuracy the lowest final test loss at seed 42 chose; with one it did not always (cifar10_3c3d, sgd)."""
    for problem, alike in (("quadratic_deep", True), ("mnist_vae", True), ("cifar10_3c3d", False)):
        runs = deepobs_runs(problem)
        trials = runs[(runs["stage"] == "tune") & (runs["optimizer"] == "sgd")]
        lowest = trials.loc[trials["final_val_loss"].astype(float).idxmin(), "lr"]
        assert (lowest == TUNED[problem]["sgd"][0]) == alike


# --- learning rates by hand -----------------------------------------------------------------------


def rates(losses: dict[float, float], start: float = 2.0) -> pd.DataFrame:
    """What `learning_rate_sensitivity` gives of one optimizer."""
    return pd.DataFrame(
        {"optimizer": "sgd", "setting": "sgd", "lr": losses.keys(), "value": losses.values(), "start": start}
    )


def test_lost_runs_count_as_the_start_and_pruned_ones_not_at_all() -> None:
    runs = pd.DataFrame(
        {
            "optimizer": "sgd", "cell_id": list("aabbcc"), "lr": [0.1, 0.1, 1.0, 1.0, 10.0, 10.0], "seed": [0, 1] * 3,
            "status": ["ok", "ok", "ok", "diverged", "pruned", "pruned"], "first_train_loss": 2.0, "implementation": "forloop",
            "final_val_loss": [0.5, 0.7, 5.0, math.nan, math.nan, math.nan],
        }
    )  # fmt: skip
    table = tuning.learning_rate_sensitivity(runs)
    assert table["value"].fillna(-1).tolist() == pytest.approx([0.6, 2.0, -1])
    assert table["num_ok"].tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match="start must be the loss at initialisation"):
        tuning.learning_rate_sensitivity(runs.assign(first_train_loss=math.nan))
    assert tuning.learning_rate_sensitivity(runs, start=0.65)["value"].iloc[0] == pytest.approx((0.5 + 0.65) / 2)


def test_sensitivity_by_hand() -> None:
    """A V over two decades that rises by 1 a decade: the mean excess is 1/2."""
    row = tuning.sensitivity_score(rates({1e-3: 1.0, 1e-2: 0.0, 1e-1: 1.0}), decades=2).iloc[0]
    assert (row["best_lr"], row["best"], row["score"], row["decades"]) == pytest.approx((1e-2, 0.0, 0.5, 2.0))
    wider = tuning.sensitivity_score(rates({1e-3: 1.0, 1e-2: 0.0, 1e-1: 1.0}), decades=6).iloc[0]
    assert wider["decades"] == pytest.approx(2.0), "what was not tried is not made up"
    given_range = tuning.sensitivity_score(rates({1e-3: 1.0, 1e-2: 0.0, 1e-1: 1.0}), between=(1e-2, 1e-1)).iloc[0]
    assert (given_range["low_lr"], given_range["high_lr"], given_range["score"]) == pytest.approx((1e-2, 1e-1, 0.5))


def test_basin_by_hand() -> None:
    """log loss rises by log 100 a decade, so that a factor of 10 is half a decade to either side."""
    row = tuning.basin_width(rates({1e-3: 100.0, 1e-2: 1.0, 1e-1: 100.0}), factor=10).iloc[0]
    assert row["decades"] == pytest.approx(1.0)
    assert (row["low_lr"], row["high_lr"], row["open"]) == (pytest.approx(10**-2.5), pytest.approx(10**-1.5), "")
    edge = tuning.basin_width(rates({1e-3: 100.0, 1e-2: 1.0}), factor=10).iloc[0]
    assert (edge["decades"], edge["open"]) == (pytest.approx(0.5), "high")
    ridge = tuning.basin_width(rates({1e-3: 1.0, 1e-2: 50.0, 1e-1: 1.05}), factor=10).iloc[0]
    assert ridge["high_lr"] < 1e-2, "a basin beyond a ridge is another one"


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=8), st.floats(0.1, 10), st.floats(1.01, 5))
def test_a_basin_does_not_depend_on_units(losses: list[float], unit: float, factor: float) -> None:
    table = rates({10.0**-i: loss for i, loss in enumerate(losses)})
    one, other = (tuning.basin_width(t, factor).iloc[0] for t in (table, table.assign(value=unit * table["value"])))
    assert one["decades"] == pytest.approx(other["decades"], abs=1e-6)
    assert one["low_lr"] <= one["best_lr"] * (1 + 1e-9)
    assert one["best_lr"] <= one["high_lr"] * (1 + 1e-9)
    wider = tuning.basin_width(table, 2 * factor).iloc[0]
    assert wider["decades"] >= one["decades"] - 1e-9
    assert tuning.sensitivity_score(table)["score"].iloc[0] >= 0


# --- best of k ------------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.floats(-5, 5), st.just(math.inf)), min_size=1, max_size=7))
def test_best_of_k_is_the_mean_over_all_subsets(values: list[float]) -> None:
    table = tuning.best_of_k(values).set_index("k")
    lost = sum(math.isinf(v) for v in values)
    for k in range(1, len(values) + 1):
        lowest = sorted(min(some) for some in itertools.combinations(values, k))
        if k <= lost:
            assert math.isnan(table.loc[k, "expected"]), "all k may be lost ones"
        else:
            assert table.loc[k, "expected"] == pytest.approx(np.mean(lowest), abs=1e-9)
        for name, q in (("low", 0.025), ("high", 0.975)):
            at = lowest[max(0, math.ceil(q * len(lowest) - 1e-9) - 1)]
            assert table.loc[k, name] == pytest.approx(at)
    assert (np.diff(table["expected"].dropna()) <= 1e-9).all()


def test_best_of_k_of_many_and_of_wrong_k() -> None:
    values = np.random.default_rng(0).random(2_000)
    table = tuning.best_of_k(values, [1, 1_000, 2_000]).set_index("k")["expected"]
    assert table[1] == pytest.approx(values.mean())
    assert table[2_000] == values.min()
    with pytest.raises(ValueError, match="k must be from 1 to the 2 trials, got 3"):
        tuning.best_of_k([1.0, 2.0], [3])


def test_best_of_k_estimates_the_population_without_bias() -> None:
    """Of uniform draws the lowest of k is 1 / (k + 1) on average; the form with replacement lies above that here."""
    random = np.random.default_rng(0)
    found = [tuning.best_of_k(random.random(8), [4])["expected"].iloc[0] for _ in range(2_000)]
    assert np.mean(found) == pytest.approx(0.2, abs=4 * np.std(found) / math.sqrt(2_000))


# --- a tuned section ------------------------------------------------------------------------------


@pytest.fixture
def tuned(tmp_path: Path) -> Section:
    runs = tables.load(tuned_study(tmp_path / "s")).runs
    first, second = sections(runs)
    assert first.tuned
    assert not second.tuned
    assert (first.title, second.title) == (f"{second.title.removesuffix(', not tuned')}, tuned", second.title)
    return first


def test_selection_stands_apart_from_evaluation(tuned: Section) -> None:
    assert set(tuned.runs["stage"]) == {"final"}
    assert set(tuned.trials["stage"]) == {"tune"}
    assert set(tuned.untuned["settings"]) == {"default"}
    assert not set(tuned.runs["seed"]) & set(tuned.trials["seed"])
    assert set(tuned.runs["series"]) == {"adam", "nadam", "rmsprop", "sgd"}
    assert tuned.trials["series"].nunique() == 24


def test_a_study_without_tuning_has_its_old_title(tmp_path: Path) -> None:
    runs = tables.load(tuned_study(tmp_path / "s")).runs
    (only,) = sections(runs[runs["stage"] == "single"])
    assert only.title == "mlp on w, batch 64, 200 steps, cpu"
    assert only.trials.empty
    assert only.untuned.empty


def test_an_interrupted_sweep_shows_its_trials_and_ranks_nothing(tmp_path: Path) -> None:
    study = tables.load(tuned_study(tmp_path / "s"))
    (only,) = sections(study.runs[study.runs["stage"] == "tune"])
    assert only.tuned
    assert not only.predicted
    assert only.runs.empty
    assert len(only.trials) == 24
    assert headline(SectionAnalysis(only), None) == NOT_REPEATED
    text = terminal.summary_text([SectionAnalysis(only)])
    assert "No trial was repeated on fresh seeds yet" in text
    assert "adam 6 (1,030 steps)" in text
    assert tuning.tuning_budget(only)["num_seeds"].tolist() == [0, 0, 0, 0]
    assert tuning.defaults_against_tuned(only).empty


def test_budget_counts_what_was_given_up(tuned: Section) -> None:
    budget = tuning.tuning_budget(tuned).set_index("optimizer")
    row = budget.loc["rmsprop"]
    assert (row["num_trials"], row["num_ok"], row["num_pruned"], row["num_lost"], row["num_seeds"]) == (6, 4, 1, 1, 5)
    assert row["steps"] == 4 * 200 + 50 + 30
    assert set(budget["tuning"]) == {TUNING}
    assert not tuning.is_unequal(budget)
    fewer = Section("t", tuned.runs, False, tuned.trials.iloc[1:], tuned.untuned)
    assert tuning.is_unequal(tuning.tuning_budget(fewer))
    assert any("different numbers of trials" in sentence for sentence in sentences.budget_words(SectionAnalysis(fewer)))


def test_budget_curves_count_pruned_steps_and_rank_lost_trials_last(tuned: Section) -> None:
    curves = tuning.budget_curves(tuned.trials)
    own = curves[curves["optimizer"] == "rmsprop"]
    assert own["k"].tolist() == [1, 2, 3, 4, 5, 6]
    assert own["steps"].iloc[-1] == pytest.approx(880)
    assert own["expected"].isna().tolist() == [True, True, False, False, False, False]
    ok = tuned.trials[(tuned.trials["optimizer"] == "rmsprop") & (tuned.trials["status"] == "ok")]
    assert own["expected"].iloc[-1] == own["best_so_far"].iloc[-1] == ok["best_val_loss"].min()
    assert math.isnan(own["best_so_far"].iloc[0]), "the first was pruned"


def test_a_second_sweep_that_counts_from_0_again_is_more_trials(tuned: Section) -> None:
    more = tuned.trials.assign(cell_id=tuned.trials["cell_id"] + "x")
    both = Section("t", tuned.runs, False, pd.concat([tuned.trials, more]), tuned.untuned)
    assert tuning.tuning_budget(both)["num_trials"].tolist() == [12] * 4


def test_defaults_against_tuned_is_paired_by_seed(tuned: Section) -> None:
    table = tuning.defaults_against_tuned(tuned).set_index("optimizer")
    assert list(table.index) == list(tuning.tuned_table(tuned.runs)["optimizer"])
    best = tuned.runs[tuned.runs["optimizer"] == "sgd"].sort_values("seed")["final_val_loss"].astype(float)
    default = tuned.untuned[tuned.untuned["optimizer"] == "sgd"].sort_values("seed")["final_val_loss"].astype(float)
    test = scipy.stats.ttest_rel(np.log(best), np.log(default))
    row = table.loc["sgd"]
    assert row["p"] == pytest.approx(test.pvalue)
    assert [math.log(row["ratio_low"]), math.log(row["ratio_high"])] == pytest.approx(list(test.confidence_interval()))
    assert row["ratio"] < 1
    assert row["num_pairs"] == 5
    assert (table["p_holm"] >= table["p"]).all()


def test_a_default_that_diverges_is_counted_not_paired(tuned: Section) -> None:
    untuned = tuned.untuned.copy()
    untuned.loc[untuned["optimizer"] == "sgd", "status"] = "diverged"
    untuned.loc[(untuned["optimizer"] == "adam") & (untuned["seed"] == 1), "status"] = "diverged"
    section = Section("t", tuned.runs, False, tuned.trials, untuned)
    table = tuning.defaults_against_tuned(section).set_index("optimizer")
    assert (table.loc["sgd", "num_pairs"], table.loc["sgd", "num_default_lost"]) == (0, 5)
    assert math.isnan(table.loc["sgd", "ratio"])
    assert not table.loc["sgd", "significant"]
    assert table.loc["adam", "num_pairs"] == 4
    shown = study_tables.readable_tuned(SectionAnalysis(section)).set_index("optimizer")
    assert shown.loc["sgd", "tuned / default"] == "5 default runs did not end ok"


def test_what_a_tuned_study_says(tuned: Section) -> None:
    assert tuning.edges(tuned.runs).to_numpy().tolist() == [["sgd", "lr high"]]
    said = sentences.budget_words(SectionAnalysis(tuned))
    assert said[0] == f"Tuned by {TUNING}."
    assert any("repeated on 5 seeds that were not used to choose it" in sentence for sentence in said)
    assert any(
        "The best trial of sgd lies on the boundary of the search range (lr high)" in sentence for sentence in said
    )
    shown = study_tables.readable_tuned(SectionAnalysis(tuned))
    assert list(shown) == [
        "optimizer", "trials", "steps of trials", "best lr", "tuned val loss", "default val loss", "tuned / default",
    ]  # fmt: skip
    runs = pd.concat([tuned.runs, tuned.trials, tuned.untuned]).drop(columns="series")
    text = terminal.summary_text(analyses(runs), show_all=True)
    assert "reaches the lowest validation loss" in text
    assert text.count("cpu, tuned\n") == 1
    assert text.count("cpu, not tuned\n") == 1


def test_a_choice_among_tuned_settings_is_owned_up_to(tuned: Section) -> None:
    another = tuned.runs[tuned.runs["optimizer"] == "adam"].assign(series="adam cosine")
    twice = Section("t", pd.concat([tuned.runs, another]), False, tuned.trials, tuned.untuned)
    assert any(
        sentence.startswith("adam has 2 tuned settings here")
        for sentence in sentences.budget_words(SectionAnalysis(twice))
    )
    assert not any("tuned settings here" in sentence for sentence in sentences.budget_words(SectionAnalysis(tuned)))
