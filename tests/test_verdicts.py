"""From a ledger and its tables to verdicts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.claims.effects.evidence import DEFAULT, MIXED, RATES, TUNED, Evidence
from bench.claims.evaluate import comparisons, made_for, numbers_of, verdicts
from bench.claims.ledger import Claim, Head, Ledger, Workload

WORKLOAD = {"budget": "quick", "words": "w", "run": ["model=mlp"]}
CLAIM = {
    "id": "c", "source": "s", "claim": "A is lower than B.", "reading": "Final validation loss.",
    "measures": [{"quantity": "val_loss", "says": "less", "delta": 0.1}], "a": "adam", "against": ["sgd"], "workloads": ["w"],
}  # fmt: skip
NO_FACTS = pd.DataFrame(columns=["fact", "holds", "numbers"])


def ledger(*claims: Mapping[str, Any], workloads: Sequence[str] = ("w",)) -> Ledger:
    made = [Claim.model_validate({**CLAIM, **claim}) for claim in claims]
    return Ledger(
        "l",
        Head(title="L"),
        {claim.id: claim for claim in made},
        {w: Workload.model_validate(WORKLOAD) for w in workloads},
    )


def evidence(losses: Mapping[tuple[str, str, str], Sequence[float]]) -> Evidence:
    """Runs with these final losses, by workload, side and `at`; a third number each is a learning rate."""
    runs, claimed = [], []
    for (workload, side, at), values in losses.items():
        for seed, loss in enumerate(values, 1):
            name = f"{workload}-{side}-{at}-{seed}"
            claimed.append({"workload": workload, "side": side, "at": at, "run_id": name})
            runs.append({"run_id": name, "seed": seed, "status": "ok", "final_val_loss": loss, "first_train_loss": 9.0})
    claim_runs = pd.DataFrame(claimed, columns=["workload", "side", "at", "run_id"])
    runs_table = pd.DataFrame(runs, columns=["run_id", "seed", "status", "final_val_loss", "first_train_loss"])
    return Evidence(runs_table, pd.DataFrame({"run_id": []}), pd.DataFrame(), claim_runs)


def near(value: float, num: int = 12, seed: int = 0) -> np.ndarray:
    return value * np.exp(np.random.default_rng(seed).normal(0, 0.02, num))


def both(a: float, b: float, at: str = DEFAULT) -> dict[tuple[str, str, str], np.ndarray]:
    return {("w", "adam", at): near(a, seed=1), ("w", "sgd", at): near(b, seed=2)}


def test_a_comparison_is_told_in_its_own_unit() -> None:
    (row,) = comparisons(ledger({"tuned": "no"}), evidence(both(0.5, 1.0))).to_dict("records")
    assert row["estimate"] == pytest.approx(0.5, rel=0.03) and row["low"] < row["estimate"] < row["high"]
    assert row["delta"] == pytest.approx(0.1) and row["unit"] == "ratio"
    assert (row["a"], row["b"], row["at"], row["n"]) == ("adam", "sgd", DEFAULT, 12)
    assert (row["verdict"], row["holds"]) == ("supported", "yes")


@pytest.mark.parametrize(
    ("a", "says", "verdict"),
    [
        (0.5, "less", "supported"), (0.5, "more", "refuted"), (1.0, "less", "no difference"), (1.0, "same", "supported"),
        (0.5, "same", "refuted"), (0.5, "not_more", "supported"), (1.0, "not_more", "supported"), (2.0, "not_more", "refuted"),
    ],
)  # fmt: skip
def test_the_direction_is_that_of_the_claim(a: float, says: str, verdict: str) -> None:
    claim = {"tuned": "no", "measures": [{"quantity": "val_loss", "says": says, "delta": 0.1}]}
    assert comparisons(ledger(claim), evidence(both(a, 1.0)))["verdict"].tolist() == [verdict]


def test_settings_of_the_source_count_as_given_and_not_once_tuned() -> None:
    claim = {"settings": {"adam": ["optimizer.lr=0.01"]}}
    tables = {
        ("w", "adam optimizer.lr=0.01", DEFAULT): near(2.0),
        ("w", "sgd", DEFAULT): near(1.0),
        **both(0.5, 1.0, TUNED),
    }
    judged = comparisons(ledger(claim), evidence(tables)).set_index("at")
    assert judged["a"].to_dict() == {DEFAULT: "adam optimizer.lr=0.01", TUNED: "adam"}
    assert judged["verdict"].to_dict() == {DEFAULT: "refuted", TUNED: "supported"}
    found = verdicts(ledger(claim), judged.reset_index(), NO_FACTS).set_index("at")
    assert found["verdict"].to_dict() == {DEFAULT: "refuted", TUNED: "supported"}


def test_what_is_held_against_a_number_is_a_ratio_to_it() -> None:
    claim = {
        "a": "adam", "against": [], "reference": 8.0, "tuned": "no",
        "measures": [{"quantity": "loss_fall", "says": "same", "delta": 0.25}],
    }  # fmt: skip
    tables = evidence({("w", "adam", DEFAULT): near(1.0)})
    tables = Evidence(
        tables.runs.assign(final_train_loss=9.0 / near(8.0)), tables.curves, tables.step_costs, tables.claim_runs
    )
    (row,) = comparisons(ledger(claim), tables).to_dict("records")
    assert row["estimate"] == pytest.approx(1.0, rel=0.02) and row["verdict"] == "supported" and row["b"] is None


def test_what_was_not_run_says_so_and_decides_nothing() -> None:
    tables = evidence({("w", "adam", DEFAULT): near(0.5)})
    judged = comparisons(ledger({}), tables)
    assert set(judged["verdict"]) == {"not run"} and judged["problem"].isna().all()
    assert "sgd was not run" in judged["reason"].iloc[0]
    found = verdicts(ledger({}), judged, NO_FACTS)
    assert set(found["verdict"]) == {"not run"} and found["holds"].isna().all()


def test_a_claim_whose_workloads_cost_more_than_the_budget_is_not_run() -> None:
    shown = ledger({"workloads": ["w", "large"]}, workloads=())
    judged = comparisons(shown, evidence({}))
    assert judged.empty
    assert verdicts(shown, judged, NO_FACTS)[["at", "verdict"]].to_numpy().tolist() == [[DEFAULT, "not run"]]


def test_several_workloads_make_one_verdict() -> None:
    claim = {"workloads": ["w", "v"], "tuned": "no"}
    tables = both(0.5, 1.0) | {("v", "adam", DEFAULT): near(2.0), ("v", "sgd", DEFAULT): near(1.0, seed=5)}
    shown = ledger(claim, workloads=("w", "v"))
    (row,) = verdicts(shown, comparisons(shown, evidence(tables)), NO_FACTS).to_dict("records")
    assert (row["verdict"], row["holds"], row["num_supported"], row["num_refuted"]) == ("mixed", "in some cases", 1, 1)
    somewhere = ledger(claim | {"rule": "somewhere"}, workloads=("w", "v"))
    (row,) = verdicts(somewhere, comparisons(somewhere, evidence(tables)), NO_FACTS).to_dict("records")
    assert (row["verdict"], row["holds"]) == ("supported", "yes")


def test_a_measure_may_be_of_some_workloads_only() -> None:
    measures = [{"quantity": "val_loss", "says": "less", "delta": 0.1, "workloads": ["v"]}]
    judged = comparisons(ledger({"workloads": ["w", "v"], "measures": measures}, workloads=("w", "v")), evidence({}))
    assert set(judged["workload"]) == {"v"}


def test_facts() -> None:
    base = {"measures": [], "a": None, "against": [], "workloads": [], "found": "{n}"}
    shown = ledger(
        *({**base, "id": name, "fact": name} for name in ("true", "false", "unknown")),
        {"id": "far", "measures": [], "a": None, "against": [], "workloads": [], "untestable": "no TPU", "would_take": "one"},
    )  # fmt: skip
    facts = pd.DataFrame(
        [
            {"fact": "true", "holds": True, "numbers": json.dumps({"n": 2})},
            {"fact": "false", "holds": False, "numbers": "{}"},
        ]
    )
    found = verdicts(shown, comparisons(shown, evidence({})), facts).set_index("claim")
    assert found["verdict"].to_dict() == {
        "true": "supported", "false": "refuted", "unknown": "not run", "far": "not testable here",
    }  # fmt: skip
    assert found["holds"].fillna("").to_dict() == {"true": "yes", "false": "no", "unknown": "", "far": ""}
    assert numbers_of(facts, "true") == {"n": 2} and numbers_of(facts, "unknown") == {}


def test_one_claim_told_twice_is_corrected_for_once() -> None:
    opposite = {"id": "d", "a": "sgd", "against": ["adam"], "tuned": "no"}
    alone = comparisons(ledger({"tuned": "no"}), evidence(both(0.9, 1.0)))
    mirrored = comparisons(ledger({"tuned": "no"}, opposite), evidence(both(0.9, 1.0)))
    assert mirrored["p_ledger"].iloc[0] == pytest.approx(alone["p_ledger"].iloc[0]), "once"
    assert mirrored["p_ledger"].to_numpy() == pytest.approx(mirrored["p"].to_numpy())


def test_what_a_comparison_needs() -> None:
    assert list(made_for(DEFAULT, "adam", "sgd")) == [("adam", DEFAULT), ("sgd", DEFAULT)]
    steps = [("adam", "tuned-steps_to_target"), ("sgd", "tuned-steps_to_target")]
    assert list(made_for(TUNED, "adam", "sgd", "steps_to_target")) == steps
    assert list(made_for(TUNED, "adam", "sgd")) == [("adam", TUNED), ("sgd", TUNED)]
    assert list(made_for(RATES, "adam", None)) == [("adam", RATES)]
    assert list(made_for(MIXED, "adam|sgd", "momentum")) == [("adam", DEFAULT), ("sgd", DEFAULT), ("momentum", TUNED)]


def test_limits_without_end_stay_without_end() -> None:
    tables = evidence(both(0.5, 1.0))
    runs = tables.runs.copy()
    runs.loc[runs["run_id"].str.contains("sgd"), ["status", "final_val_loss"]] = ["diverged", math.nan]
    (row,) = comparisons(
        ledger({"tuned": "no"}), Evidence(runs, tables.curves, tables.step_costs, tables.claim_runs)
    ).to_dict("records")
    assert row["bound"] == "at most" and row["low"] == 0 and row["verdict"] == "supported"
