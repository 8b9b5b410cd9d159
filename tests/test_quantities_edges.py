"""Quantities and verdicts: what diverged, is missing or was disturbed, and what is judged over learning rates."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
import test_quantities as q
import test_verdicts as v

from bench.analysis.bounds import Spread
from bench.claims.effects.evidence import DEFAULT, MIXED, RATES, TUNED, Evidence, NotMeasured
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import comparisons, verdicts

LOST = {"status": "diverged"}
ACCURACY = "test_accuracy_at_best_val"
OVER_RATES = [name for name, quantity in QUANTITIES.items() if quantity.over == RATES]


def sample(name: str, tables: Evidence, at: str = DEFAULT, **more: Any) -> Any:
    return QUANTITIES[name].sample(q.pair(tables, None if QUANTITIES[name].one_sided else "b", at, **more))


# --- runs that diverged -------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["a", "b", "both"])
def test_a_bound_lies_on_the_side_that_diverged(lost: str) -> None:
    sides = {s: q.runs([0.5, 0.5]) + ([LOST] if lost in (s, "both") else q.runs([0.5])) for s in "ab"}
    found = sample("val_loss", q.evidence(**sides))
    assert found.low[2] == (pytest.approx(math.log(4)) if lost == "a" else -math.inf)
    assert found.high[2] == (pytest.approx(-math.log(4)) if lost == "b" else math.inf)


def test_a_run_that_diverged_is_not_known_to_be_more_accurate() -> None:
    a = [*q.runs([0.9, 0.9], ACCURACY), LOST | {ACCURACY: 0.9}]
    assert sample("test_accuracy", q.evidence(a=a, b=q.runs([0.8] * 3, ACCURACY))).high[2] < math.inf


@pytest.mark.parametrize("name", ["moved_accuracy", "test_loss", "loss_at_equal_time"])
def test_runs_that_diverged_are_not_left_out(name: str) -> None:
    ok = {
        "moved_test_accuracy": 0.8, "test_loss_at_best_val": 0.5, "final_test_loss": 0.5, "final_train_loss": 0.4,
        "curves": {("val", "loss"): q.falling(0.04)},
    }  # fmt: skip
    tables = q.with_costs(q.evidence(a=[ok, ok, LOST], b=[ok] * 3), q.costs({"a": [1.0] * 5, "b": [1.0] * 5}))
    assert sample(name, tables).n == 3


@pytest.mark.parametrize("name", ["generalization_gap", "loss_fall"])
def test_what_a_run_that_diverged_has_not_is_not_taken_from_the_others(name: str) -> None:
    ok = {"final_test_loss": 0.5, "final_train_loss": 0.4}
    with pytest.raises(NotMeasured, match="some run diverged"):
        sample(name, q.evidence(a=[ok, ok, LOST], b=[ok] * 3))


@pytest.mark.parametrize(
    "name",
    [
        "basin",
        "best_rate",
        "rate_matters",
        "best_of_three",
    ],
)
@pytest.mark.parametrize("seeds_lost", [1, 3])
def test_a_seed_that_diverged_at_every_rate_is_never_a_number(name: str, seeds_lost: int) -> None:
    made = [
        *q.at_rates(q.valley(1.0), (1, 2, 3)[: 3 - seeds_lost]),
        *q.at_rates(lambda x: math.inf, (1, 2, 3)[3 - seeds_lost :]),
    ]
    try:
        found = sample(name, q.evidence(a=made, b=q.at_rates(q.valley(1.0))), RATES)
    except NotMeasured:
        return
    assert found.n == 3 - seeds_lost or not np.isfinite([found.low[-1], found.high[-1]]).all()
    assert found.low[-1] <= 0  # nothing is known in favour of it


# --- what is missing ----------------------------------------------------------------------------------

CRASHES = ("seed_spread",)


@pytest.mark.parametrize(
    "name",
    [n for n, quantity in QUANTITIES.items() if quantity.over == DEFAULT and "target" not in n],
)
def test_what_was_not_recorded_is_not_measured(name: str) -> None:
    with pytest.raises(NotMeasured):
        sample(name, q.evidence(a=[{}] * 3, b=[{}] * 3))


@pytest.mark.parametrize("name", ["val_loss", "test_loss", "test_accuracy", "moved_accuracy", "latency"])
def test_a_column_that_was_not_recorded_is_not_there(name: str) -> None:
    with pytest.raises(NotMeasured) as caught:
        sample(name, q.evidence(a=[{}] * 3, b=[{}] * 3))
    assert not caught.value.there


def one_seed() -> Evidence:
    made = q.trained(
        [0.04] * 3, latency_ms=1.0, final_test_loss=0.1, final_train_loss=0.1, test_loss_at_best_val=0.1,
        **{ACCURACY: 0.9, "moved_test_accuracy": 0.9},
    )  # fmt: skip
    tables = q.evidence(a=[made[0], *q.at_rates(q.valley(1.0), (1,))], b=[*made, *q.at_rates(q.valley(1.0))])
    return q.with_costs(tables, q.costs({"a": [2.0] * 5, "b": [1.0] * 5}))


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, quantity in QUANTITIES.items()
        if quantity.over != MIXED and n not in ("peak_memory", "step_time")  # of cells and of processes
    ],
)
def test_one_seed_in_common_is_not_measured(name: str) -> None:
    with pytest.raises(NotMeasured):
        sample(name, one_seed(), RATES if name in OVER_RATES else DEFAULT)


def test_one_seed_with_a_number_is_not_measured() -> None:
    made = q.runs([0.9], "moved_test_accuracy")
    nothing = q.runs([math.nan], "moved_test_accuracy")
    with pytest.raises(NotMeasured):
        sample("moved_accuracy", q.evidence(a=[*made, *nothing * 2], b=made * 3))


# --- numbers ------------------------------------------------------------------------------------------


def test_roughness_is_the_distance_from_a_local_line() -> None:
    def curve(side: int, i: int) -> dict[str, Any]:
        return q.noisy(0.05 * (1 + side), 10 * i + side)

    def logs(side: int, i: int) -> tuple[list[float], list[float]]:
        values = [math.log(value) for _, value in curve(side, i)["points"]]
        whole = range(4, len(values) - 4)
        lines = [np.polyfit(np.arange(-4, 5), values[j - 4 : j + 5], 1) for j in whole]
        return [values[j] for j in whole], [float(line[1]) for line in lines]

    expected = []
    for i in range(len(q.SEEDS)):
        both = [logs(side, i) for side in (0, 1)]
        low, high = max(min(trend) for _, trend in both), min(max(trend) for _, trend in both)
        kept = [[abs(x - t) for x, t in zip(*each, strict=True) if low <= t <= high] for each in both]
        expected.append(math.log(statistics.mean(kept[0]) / statistics.mean(kept[1])))
    found = sample("roughness", q.rough(lambda i: curve(0, i), lambda i: curve(1, i)))
    assert found.low == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_swapping_the_sides_negates_bounds_too(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def side() -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for rate in rng.uniform(0.001, 0.06, len(q.SEEDS)):
            curve = q.falling(rate)
            lost = rng.random() < 0.3
            made.append(
                {"curves": {("val", "loss"): curve[:4] if lost else curve}, "num_steps": (num := 30 if lost else 100)}
                | {"num_evaluations": num}
                | ({**LOST, "train_s": 0.3} if lost else {"final_val_loss": curve[-1]})
            )
        made += q.at_rates(lambda x: math.exp(abs(x + rng.uniform(1, 4))) if x < -0.7 else math.inf)
        return made

    tables = q.evidence(a=side(), b=side())
    tables = q.with_costs(tables, q.costs({"a": rng.uniform(1, 2, 5), "b": rng.uniform(1, 2, 5)}))
    for name in (
        "steps_to_target",
        "time_to_target",
        "val_loss",
        "loss_at_equal_time",
        "basin",
        "best_rate",
        "best_of_three",
    ):
        at = RATES if name in OVER_RATES else DEFAULT
        there, back = (QUANTITIES[name].sample(q.pair(tables, b, at, a=a)) for a, b in (("a", "b"), ("b", "a")))
        assert there.low == pytest.approx(-back.high), name
        assert there.high == pytest.approx(-back.low), name
        assert np.ravel(there.errors) == pytest.approx(np.ravel(back.errors), rel=0.05, abs=1e-9)


def test_other_runs_in_the_tables_change_nothing() -> None:
    made = {side: q.trained([rate] * 3, peak_tensors_mib=rate) for side, rate in (("a", 0.04), ("b", 0.02))}
    alone, among = q.evidence(**made), q.evidence(**made, c=q.trained([0.06] * 3, peak_tensors_mib=1.0))
    for name in ("steps_to_target", "time_to_target", "val_loss", "peak_memory"):
        assert sample(name, alone).low == pytest.approx(sample(name, among).low)


def test_time_counts_a_step_once_whatever_it_evaluates() -> None:
    made = {"a": q.trained([0.04] * 3, num_evaluations=2000), "b": q.trained([0.04] * 3)}
    tables = q.with_costs(q.evidence(**made), q.costs({"a": [20.0] * 5, "b": [1.0] * 5}))
    assert sample("time_to_target", tables).low == pytest.approx([math.log(20)] * 3)


# --- verdicts -----------------------------------------------------------------------------------------


def with_rates(best: dict[str, float]) -> Evidence:
    """Runs of each side at every rate, whose loss is lowest at 10^best."""
    made = {side: q.at_rates(q.valley(1.0, center), range(1, 7)) for side, center in best.items()}
    return q.evidence(**made)


def test_what_is_judged_over_rates_counts_as_tuned() -> None:
    claim = {"measures": [{"quantity": "best_rate", "says": "more", "delta": 0.25}]}
    shown = v.ledger(claim)
    judged = comparisons(shown, with_rates({"adam": -1.0, "sgd": -2.0}))
    (row,) = judged.to_dict("records")
    assert (row["at"], row["unit"], row["delta"]) == (RATES, "decades", 0.25)
    assert row["estimate"] == pytest.approx(1.0)
    (whole,) = verdicts(shown, judged, v.NO_FACTS).to_dict("records")
    assert (whole["at"], whole["verdict"], whole["num"], whole["num_supported"]) == (TUNED, "supported", 1, 1)


def test_what_is_judged_against_a_tuned_side_counts_as_tuned() -> None:
    claim = {
        "a": "adam|nadam",
        "against": ["sgd"],
        "measures": [{"quantity": "untuned_choice", "says": "more", "delta": 0.1}],
    }
    made = {
        side: [{"best_val_loss": x, "test_loss_at_best_val": x, "at": at} for x in v.near(loss, 6, seed)]
        for seed, (side, loss, at) in enumerate((("adam", 2.0, DEFAULT), ("nadam", 4.0, DEFAULT), ("sgd", 1.0, TUNED)))
    }
    shown = v.ledger(claim)
    judged = comparisons(shown, q.evidence(**made))
    (row,) = judged.to_dict("records")
    assert (row["at"], row["a"], row["b"]) == (MIXED, "adam|nadam", "sgd")
    assert row["estimate"] == pytest.approx(2.0, rel=0.05)
    assert verdicts(shown, judged, v.NO_FACTS)[["at", "verdict"]].to_numpy().tolist() == [[TUNED, "supported"]]


def test_a_measure_that_tuning_cannot_change_is_judged_once() -> None:
    claim = {"measures": [{"quantity": "peak_memory", "says": "less", "delta": 0.1}]}
    tables = q.evidence(adam=q.runs([3.0] * 2, "peak_tensors_mib"), sgd=q.runs([2.0] * 2, "peak_tensors_mib"))
    shown = v.ledger(claim)
    (row,) = comparisons(shown, tables).to_dict("records")
    assert (row["at"], row["method"], row["verdict"], row["holds"]) == (DEFAULT, "exact", "refuted", "no")
    assert (row["estimate"], row["low"], row["high"]) == pytest.approx((1.5, 1.5, 1.5))


def test_points_stay_points() -> None:
    claim = {"tuned": "no", "measures": [{"quantity": "test_accuracy", "says": "more", "delta": 1.0}]}
    accuracy = {
        side: q.runs(v.near(mean, 6, seed) / 10, ACCURACY)
        for seed, (side, mean) in enumerate((("adam", 9.0), ("sgd", 5.0)))
    }
    (row,) = comparisons(v.ledger(claim), q.evidence(**accuracy)).to_dict("records")
    assert (row["unit"], row["delta"], row["verdict"]) == ("points", 1.0, "supported")
    assert row["estimate"] == pytest.approx(40, abs=2)


def test_disturbed_times_are_a_problem_and_decide_nothing() -> None:
    claim = {"tuned": "no", "measures": [{"quantity": "step_time", "says": "less", "delta": 0.1}]}
    tables = q.evidence(adam=q.trained([0.04] * 3), sgd=q.trained([0.04] * 3))
    tables = q.with_costs(tables, q.costs({"adam": [1.0] * 5, "sgd": [2.0] * 5}, quality="contended"))
    shown = v.ledger(claim)
    judged = comparisons(shown, tables)
    (row,) = judged.to_dict("records")
    assert "busy" in row["problem"]
    assert (row["verdict"], row["holds"], row["n"]) == ("cannot tell", "unclear", 0)
    (whole,) = verdicts(shown, judged, v.NO_FACTS).to_dict("records")
    assert (whole["verdict"], whole["holds"], whole["num_cannot_tell"]) == ("cannot tell", "unclear", 1)


@pytest.mark.parametrize(("reference", "verdict"), [(8.0, "no difference"), (4.0, "supported"), (16.0, "refuted")])
def test_the_reference_is_what_is_less_or_more(reference: float, verdict: str) -> None:
    claim = {
        "against": [], "reference": reference, "tuned": "no",
        "measures": [{"quantity": "loss_fall", "says": "more", "delta": 0.25}],
    }  # fmt: skip
    tables = q.evidence(adam=q.runs(2.0 / v.near(8.0, 6), "final_train_loss"))
    (row,) = comparisons(v.ledger(claim), tables).to_dict("records")
    assert row["verdict"] == verdict
    assert row["estimate"] == pytest.approx(8 / reference, rel=0.05)


def test_counts_add_up_and_possible_means_somewhere() -> None:
    sides = {("w", 0.5), ("v", 1.0), ("u", 2.0)}
    tables = {
        (w, side, DEFAULT): v.near(loss if side == "adam" else 1.0, seed=len(side))
        for w, loss in sides
        for side in ("adam", "sgd")
    }
    names = ("w", "v", "u", "x")  # x: not run
    for rule, verdict, holds in (("everywhere", "mixed", "in some cases"), ("somewhere", "supported", "yes")):
        shown = v.ledger({"workloads": list(names), "tuned": "no", "rule": rule}, workloads=names)
        (row,) = verdicts(shown, comparisons(shown, v.evidence(tables)), v.NO_FACTS).to_dict("records")
        assert (row["verdict"], row["holds"], row["num"]) == (verdict, holds, 4)
        counts = {
            name: row[f"num_{name}"] for name in ("supported", "refuted", "no_difference", "cannot_tell", "not_run")
        }
        assert counts == {"supported": 1, "refuted": 1, "no_difference": 1, "cannot_tell": 0, "not_run": 1}
    nowhere = {key: value for key, value in tables.items() if key[0] != "w"}
    shown = v.ledger({"workloads": list(names), "tuned": "no", "rule": "somewhere"}, workloads=names)
    (row,) = verdicts(shown, comparisons(shown, v.evidence(nowhere)), v.NO_FACTS).to_dict("records")
    assert (row["verdict"], row["holds"]) == ("refuted", "no")


def test_facts_are_the_last_that_were_found() -> None:
    claim = {"measures": [], "a": None, "against": [], "workloads": [], "fact": "f", "found": "x"}
    facts = pd.DataFrame([{"fact": "f", "holds": holds, "numbers": "{}"} for holds in (False, True)])
    shown = v.ledger(claim)
    assert verdicts(shown, comparisons(shown, v.evidence({})), facts)["verdict"].tolist() == ["supported"]


def test_spread_is_judged_as_a_ratio() -> None:
    claim = {"tuned": "no", "measures": [{"quantity": "seed_spread", "says": "less", "delta": 0.5}]}
    rng = np.random.default_rng(0)
    z = rng.normal(0, 0.1, 15)
    tables = q.evidence(
        **{
            side: [{"final_val_loss": 0.2 * math.exp(k * x), "seed": i} for i, x in enumerate(z)]
            for side, k in (("adam", 1), ("sgd", 8))
        }
    )
    assert isinstance(QUANTITIES["seed_spread"].sample(q.pair(tables, "sgd", a="adam")), Spread)
    (row,) = comparisons(v.ledger(claim), tables).to_dict("records")
    assert row["estimate"] == pytest.approx(1 / 8)
    assert (row["method"], row["verdict"]) == ("F", "supported")
