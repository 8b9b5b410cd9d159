"""Variants of a verdict: what half a run would have said is what half a run says; targets move as stated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench import compare
from bench.claims.effects.evidence import DEFAULT, STEPS_TO_TARGET, TUNED, TUNED_FOR, Evidence
from bench.claims.evaluate import comparisons
from bench.claims.ledger import Ledger, load
from bench.claims.variants import halved, variants, with_targets

STEPS = np.arange(0, 101, 10)
NO_FACTS = pd.DataFrame()


def ledger_of(folder: Path, *measures: dict[str, Any], tuned: bool = False) -> Ledger:
    claim = {
        "id": "1", "source": "s", "claim": "a before b", "reading": "r", "measures": list(measures), "a": "adam",
        "against": ["sgd"], "workloads": ["w"], "tuned": tuned or "not asked",
    }  # fmt: skip
    workload = {"w": {"budget": "quick", "words": "made up", "run": ["model=mlp"], "target": 0.5}}
    (folder / "1.yaml").write_text(yaml.safe_dump(claim))
    (folder / "workloads.yaml").write_text(yaml.safe_dump(workload))
    return load(str(folder))


def evidence_of(curves: dict[tuple[str, str], Any], seeds: int = 12) -> Evidence:
    """Tables in which the validation loss of each side, by (side, at), is a function of the steps, apart from noise."""
    rng = np.random.default_rng(0)
    runs, points, claimed = [], [], []
    for (side, at), of in curves.items():
        for seed in range(seeds):
            name = f"{side}-{at}-{seed}"
            losses = of(STEPS) * np.exp(rng.normal(0, 0.01))
            claimed.append({"workload": "w", "side": side, "at": at, "run_id": name})
            runs.append(
                {
                    "run_id": name, "seed": seed, "status": "ok", "optimizer": side, "environment_id": "e", "launcher": "local",
                    "timing_quality": "clean", "num_steps": 100, "num_steps_budget": 100, "num_evaluations": 100, "train_s": 1.0,
                    "first_train_loss": 2.3, "final_val_loss": losses[-1], "best_val_loss": losses.min(), "step_cost_id": side,
                }
            )  # fmt: skip
            points += [
                {"run_id": name, "step": int(step), "split": "val", "metric": "loss", "value": loss, "train_time_s": step / 100}
                for step, loss in zip(STEPS, losses, strict=True)
            ]  # fmt: skip
    return Evidence(pd.DataFrame(runs), pd.DataFrame(points), pd.DataFrame(), pd.DataFrame(claimed))


FEWER = {"quantity": "steps_to_target", "says": "less", "delta": 0.05}
LOWER = {"quantity": "val_loss", "says": "less", "delta": 0.05}


CROSSING = {
    ("adam", DEFAULT): lambda x: 0.45 + 1.85 * np.exp(-x / 12),
    ("sgd", DEFAULT): lambda x: 2.3 * np.exp(-x / 55),
}
"""Adam is at .5 after 43 steps and never below .45; SGD is at .5 after 84, at .4 after 96 and ends at .37."""


def judged_again(ledger: Ledger, evidence: Evidence) -> dict[str, tuple[str, bool]]:
    found = variants(ledger, evidence, comparisons(ledger, evidence), NO_FACTS)
    return {row.variant: (row.holds, row.same) for row in found.itertuples()}


def test_who_is_ahead_early_and_behind_late_is_not_ahead_at_a_tighter_target(tmp_path: Path) -> None:
    found = judged_again(ledger_of(tmp_path, FEWER), evidence_of(CROSSING))
    assert found == {"looser": ("yes", True), "tighter": ("no", False), "half": ("yes", True)}


def test_half_the_budget_turns_a_final_loss_that_crossed_late(tmp_path: Path) -> None:
    assert judged_again(ledger_of(tmp_path, LOWER), evidence_of(CROSSING)) == {"half": ("yes", False)}


def test_rates_chosen_by_loss_are_a_variant_of_tuned_sides_alone(tmp_path: Path) -> None:
    by_steps = TUNED_FOR[STEPS_TO_TARGET]

    def speed(rate: float) -> Any:
        return lambda x: 2.3 * np.exp(-x / rate)

    curves = {
        ("adam", by_steps): speed(20), ("sgd", by_steps): speed(30),
        ("adam", TUNED): speed(40), ("sgd", TUNED): speed(30),
        ("adam", DEFAULT): speed(20), ("sgd", DEFAULT): speed(30),
    }  # fmt: skip
    ledger, evidence = ledger_of(tmp_path, FEWER, tuned=True), evidence_of(curves)
    found = variants(ledger, evidence, comparisons(ledger, evidence), NO_FACTS)
    own = found[found["variant"] == "by loss"]
    assert own["at"].tolist() == [TUNED]
    assert own["holds"].tolist() == ["no"]
    assert own["same"].tolist() == [False]
    without = evidence_of({key: curve for key, curve in curves.items() if key[1] != TUNED})
    again = variants(ledger, without, comparisons(ledger, without), NO_FACTS)
    assert "by loss" not in set(again["variant"]), "nothing was chosen so"


def test_a_target_moves_by_the_factor_that_is_stated(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, FEWER)
    moved, _ = with_targets(1.25, ledger, evidence_of({}))
    assert moved.workloads["w"].target == pytest.approx(0.625)
    assert ledger.workloads["w"].target == 0.5


def test_half_a_run_is_what_a_run_of_half_the_steps_is(tmp_path: Path) -> None:
    common: dict[str, Any] = {"seeds": [0, 1], "settings": {"train.eval_every": 10, "memory": False}}
    whole = compare("mlp", "digits", ["adam", "sgd"], steps=40, **common)
    short = compare("mlp", "digits", ["adam", "sgd"], steps=20, **common)
    runs, curves = halved(whole.runs, whole.curves)
    keys, columns = (
        ["optimizer", "seed"],
        ["final_val_loss", "final_test_loss", "best_val_loss", "test_loss_at_best_val"],
    )
    ours, theirs = (table.set_index(keys).sort_index() for table in (runs, short.runs))
    for column in [*columns, "test_accuracy_at_best_val", "num_steps", "num_steps_budget"]:
        assert ours[column].tolist() == pytest.approx(theirs[column].tolist()), column
    assert curves["step"].max() == 20


def test_a_run_that_is_lost_in_its_second_half_has_a_whole_first_one() -> None:
    runs = pd.DataFrame(
        {
            "run_id": ["a", "b"], "status": "diverged", "reason": "loss", "num_steps": [80, 30], "num_steps_budget": 100,
            "final_val_loss": np.nan,
        }
    )  # fmt: skip
    curves = pd.DataFrame(
        [
            (run, step, "val", "loss", 1.0 - step / 200, 0.0)
            for run, last in (("a", 80), ("b", 30))
            for step in range(0, last, 10)
        ],
        columns=["run_id", "step", "split", "metric", "value", "train_time_s"],
    )
    found, _ = halved(runs, curves)
    assert found["status"].tolist() == ["ok", "diverged"]
    assert found["final_val_loss"].iloc[0] == pytest.approx(0.75)
    assert np.isnan(found["final_val_loss"].iloc[1])
    assert found["num_steps"].tolist() == [50, 30]
