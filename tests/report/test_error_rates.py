"""Comparisons where the truth is known: ties, many optimizers, lost runs, settings chosen by the runs that are compared."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from bench.analysis.bounds import Sample
from bench.analysis.comparisons import paired_ratios
from bench.analysis.goals import Goal
from bench.analysis.paired import RATIO_COLUMNS, corrected, ratio_row
from bench.analysis.target_pairs import target_pairs

NAMES = [f"o{i}" for i in range(24)]


def final(losses: dict[str, np.ndarray], status: dict[str, str] | None = None, **columns: float) -> pd.DataFrame:
    """Runs that end with these losses, a seed each."""
    return pd.DataFrame(
        [
            {
                "series": name, "seed": seed, "environment_id": "e", "status": (status or {}).get(name, "ok"), "final_val_loss": loss,
                **columns,
            }
            for name, each in losses.items()
            for seed, loss in enumerate(each)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("num_seeds", [3, 19, 20, 300])
def test_two_dozen_optimizers_a_factor_of_two_apart_are_all_told_apart(num_seeds: int) -> None:
    random = np.random.default_rng(num_seeds)
    losses = {name: 2.0**i * np.exp(0.002 * random.normal(size=num_seeds)) for i, name in enumerate(NAMES)}
    pairs = paired_ratios(final(losses), NAMES)
    assert len(pairs) == 276
    assert pairs["significant"].all()


def test_identical_optimizers_are_seldom_told_apart_by_steps_known_to_the_spacing_of_evaluations() -> None:
    """Six alike, 3 seeds, an evaluation every 10 of 200 steps: some pair in about 5 % of studies, not in a quarter."""
    random = np.random.default_rng(0)
    steps, alarms, num_studies = np.arange(0, 201, 10), 0, 50
    for _ in range(num_studies):
        runs, curves = [], []
        for name in NAMES[:6]:
            for seed in range(3):
                rate = 0.02 * math.exp(0.05 * random.normal())
                values = 0.1 + 2.2 * np.exp(-rate * steps) * np.exp(0.01 * random.normal(size=len(steps)))
                run_id = f"{name}-{seed}"
                runs.append({
                    "run_id": run_id, "series": name, "optimizer": name, "seed": seed, "environment_id": "e", "status": "ok",
                    "stage": "single", "num_steps": 200, "num_steps_budget": 200, "timing_quality": "clean", "launcher": "local",
                })  # fmt: skip
                curves.append(pd.DataFrame({
                    "run_id": run_id, "step": steps, "split": "val", "metric": "loss", "value": values, "train_time_s": 0.0,
                }))  # fmt: skip
        table, points = pd.DataFrame(runs), pd.concat(curves, ignore_index=True)
        target = Goal().target(table, points, NAMES[:6])
        assert target is not None
        alarms += int(target_pairs(table, points, NAMES[:6], target.value)["significant"].any())
    assert alarms <= 7, "more has a probability below 0.4 % at 5 %"


def test_a_rival_that_diverges_on_every_seed_is_beaten() -> None:
    random = np.random.default_rng(1)
    losses = {"good": 0.2 * np.exp(0.1 * random.normal(size=5)), "lost": np.full(5, math.nan)}
    pairs = paired_ratios(final(losses, {"lost": "diverged"}, first_train_loss=2.3), ["lost", "good"])
    (row,) = pairs.to_dict("records")
    assert (row["a"], row["b"], row["bound"], row["num_bounded"]) == ("good", "lost", "at most", 5)
    assert row["ratio"] == pytest.approx(0.2 / 2.3, rel=0.1)
    assert row["significant"]
    none = paired_ratios(final(losses, {"lost": "failed"}, first_train_loss=2.3), ["lost", "good"])
    assert none.empty, "what failed says nothing of the optimizer"


def test_a_loss_of_zero_is_below_every_other() -> None:
    random = np.random.default_rng(2)
    losses = {"zero": np.zeros(6), "more": 0.2 * np.exp(0.1 * random.normal(size=6))}
    (row,) = paired_ratios(final(losses), ["more", "zero"]).to_dict("records")
    assert (row["a"], row["bound"], row["significant"]) == ("zero", "at most", True)
    (row,) = paired_ratios(final({"zero": np.zeros(6), "none": np.zeros(6)}), ["none", "zero"]).to_dict("records")
    assert (row["ratio"], row["p"], row["significant"]) == (1.0, 1.0, False)


def test_of_negative_losses_the_order_is_compared() -> None:
    losses = {
        "low": np.array([-2.0, -1.5, -2.2, -1.9, -2.1, -1.8]),
        "high": np.array([-1.0, -0.5, -1.2, 0.3, -1.1, -0.8]),
    }
    (row,) = paired_ratios(final(losses), ["high", "low"]).to_dict("records")
    assert (row["a"], row["method"], row["significant"]) == ("low", "sign", True)
    assert math.isnan(row["ratio"])
    assert row["p"] == pytest.approx(2 / 2**6)


def test_the_best_of_nine_against_one_raises_few_false_alarms() -> None:
    """Nine settings alike and one rival, 5 seeds: the best of nine is chosen by the seeds that compare it."""
    random = np.random.default_rng(3)
    plain, counted, num_studies = 0, 0, 200
    for _ in range(num_studies):
        losses = {f"a{i}": np.exp(0.1 * random.normal(size=5)) for i in range(9)}
        best = min(losses, key=lambda name: float(losses[name].mean()))
        runs = final({best: losses[best], "b": np.exp(0.1 * random.normal(size=5))})
        plain += int(paired_ratios(runs, [best, "b"])["significant"].iloc[0])
        counted += int(paired_ratios(runs, [best, "b"], num_settings={best: 9})["significant"].iloc[0])
    assert plain > 0.07 * num_studies, "without a correction there are too many"
    assert counted <= 0.05 * num_studies


def test_an_interval_leaves_out_1_just_where_the_difference_is_significant() -> None:
    random = np.random.default_rng(4)
    samples = [Sample(d, d) for d in random.normal(random.normal(0, 0.1, (200, 1)), 0.1, (200, 8))]
    table = corrected([ratio_row(sample) for sample in samples], samples, RATIO_COLUMNS)
    outside = (table["adjusted_low"] > 1) | (table["adjusted_high"] < 1)
    assert outside.tolist() == table["significant"].tolist()
    assert 0 < outside.sum() < 200
    assert (table["adjusted_low"] <= table["ratio_low"] * (1 + 1e-12)).all(), "it is wider than that of one comparison"


@pytest.mark.parametrize("n", [3, 5, 10, 20, 300])
def test_normal_differences_without_a_difference_are_rejected_at_the_level(n: int) -> None:
    random = np.random.default_rng(n)
    rejected = sum(ratio_row(Sample(d, d))["p"] < 0.05 for d in random.normal(size=(1000, n)))
    assert 25 <= rejected <= 80
