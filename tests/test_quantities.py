"""Quantities: from tables to paired samples, with numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.analysis.bounds import Spread
from bench.claims.effects import evidence as effects_evidence
from bench.claims.effects.evidence import DEFAULT, MIXED, RATES, TUNED, Evidence, NotMeasured, Pair
from bench.claims.effects.registry import QUANTITIES

SEEDS = (1, 2, 3, 4, 5, 6)
STEPS = np.arange(0, 101, 10)


def evidence(**sides: Sequence[Mapping[str, Any]]) -> Evidence:
    """Tables of runs by side; a run is the columns that matter, `curves` by (split, metric), and `at`."""
    runs, curves, claimed = [], [], []
    for side, made in sides.items():
        for number, given in enumerate(made):
            run = dict(given)
            points, at = run.pop("curves", {}), run.pop("at", DEFAULT)
            name = f"{side}-{at}-{number}"
            claimed.append({"workload": "w", "side": side, "at": at, "run_id": name})
            runs.append(
                {
                    "run_id": name, "seed": SEEDS[number % len(SEEDS)], "status": "ok", "optimizer": side, "environment_id": "e",
                    "launcher": "local", "timing_quality": "clean", "num_steps": 100, "num_steps_budget": 100,
                    "num_evaluations": 100, "train_s": 1.0, "first_train_loss": 2.0, "step_cost_id": f"cost-{side}", **run,
                }
            )  # fmt: skip
            for (split, metric), values in points.items():
                for step, value in zip(STEPS, values, strict=False):
                    point = {"split": split, "metric": metric, "value": value, "train_time_s": 0.01 * step}
                    curves.append({"run_id": name, "step": int(step), **point})
    columns = ["run_id", "step", "split", "metric", "value", "train_time_s"]
    frame = pd.DataFrame(curves, columns=columns)
    return Evidence(pd.DataFrame(runs), frame, pd.DataFrame(), pd.DataFrame(claimed))


def pair(tables: Evidence, b: str | None = "b", at: str = DEFAULT, target: float | None = 1.0, a: str = "a") -> Pair:
    return Pair(tables, "w", a, b, at, target)


def runs(values: Sequence[float], column: str = "final_val_loss", **more: Any) -> list[dict[str, Any]]:
    return [{column: value, **more} for value in values]


def falling(rate: float) -> np.ndarray:
    """Validation loss 4 e^(-rate step): at 1 after log(4) / rate steps."""
    return 4 * np.exp(-rate * STEPS)


def trained(rates: Sequence[float], **more: Any) -> list[dict[str, Any]]:
    return [{"curves": {("val", "loss"): falling(rate)}, "final_val_loss": falling(rate)[-1], **more} for rate in rates]


def costs(medians: Mapping[str, Sequence[float]], session: str = "s", quality: str = "clean") -> pd.DataFrame:
    rows = [
        {
            "session_id": session, "status": "ok", "timing_quality": quality, "step_cost_id": f"cost-{side}", "process": process,
            "train_step_us": us, "step_us": us / 10, "started_at": session,
        }
        for side, times in medians.items()
        for process, us in enumerate(times)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def with_costs(tables: Evidence, step_costs: pd.DataFrame) -> Evidence:
    return Evidence(tables.runs, tables.curves, step_costs, tables.claim_runs)


# --- columns of runs ----------------------------------------------------------------------------------


def test_a_ratio_is_the_difference_of_logs_by_seed() -> None:
    sample = QUANTITIES["val_loss"].sample(pair(evidence(a=runs([0.1, 0.4, 0.2]), b=runs([0.2, 0.2, 0.2]))))
    assert sample.low == pytest.approx(np.log([0.5, 2, 1])) and (sample.low == sample.high).all()


def test_accuracies_are_compared_in_points() -> None:
    a, b = (runs(values, "test_accuracy_at_best_val") for values in ([0.91, 0.95], [0.90, 0.97]))
    assert QUANTITIES["test_accuracy"].sample(pair(evidence(a=a, b=b))).low == pytest.approx([1.0, -2.0])


def test_seeds_are_paired_whatever_their_order() -> None:
    a, b = runs([1.0, 2.0, 3.0]), runs([1.0, 2.0, 3.0])
    mixed = [{**b[i], "seed": SEEDS[i]} for i in (2, 0, 1)]
    assert QUANTITIES["val_loss"].sample(pair(evidence(a=a, b=mixed))).low == pytest.approx([0, 0, 0])


def test_a_run_that_diverged_is_no_better_than_it_began() -> None:
    a = [*runs([0.5, 0.5]), {"status": "diverged", "final_val_loss": math.nan}]
    sample = QUANTITIES["val_loss"].sample(pair(evidence(a=a, b=runs([1.0, 1.0, 1.0]))))
    assert sample.low == pytest.approx(np.log([0.5, 0.5, 2.0])) and sample.high[2] == math.inf


def test_runs_that_failed_say_nothing() -> None:
    a = [*runs([0.5, 0.5]), {"status": "failed", "reason": "no", "final_val_loss": math.nan}]
    assert QUANTITIES["val_loss"].sample(pair(evidence(a=a, b=runs([1.0] * 3)))).n == 2
    with pytest.raises(NotMeasured, match="no run of a ended: no") as caught:
        QUANTITIES["val_loss"].sample(pair(evidence(a=a[2:], b=runs([1.0] * 3))))
    assert caught.value.there


@pytest.mark.parametrize("name", [name for name, quantity in QUANTITIES.items() if not quantity.one_sided])
def test_what_was_not_run_is_not_measured(name: str) -> None:
    at = QUANTITIES[name].over
    made = [{"at": DEFAULT if at == MIXED else at, "lr": lr, "best_val_loss": 1.0, "seed": 1} for lr in RATES_TRIED]
    with pytest.raises(NotMeasured) as caught:
        QUANTITIES[name].sample(pair(evidence(a=[run | {"final_val_loss": 1.0} for run in made]), at=at))
    assert not caught.value.there


def test_one_seed_is_none() -> None:
    with pytest.raises(NotMeasured, match="fewer than two seeds"):
        QUANTITIES["val_loss"].sample(pair(evidence(a=runs([1.0]), b=runs([1.0, 1.0]))))


def test_memory_is_exact() -> None:
    sides = {name: runs([mib, mib], "peak_tensors_mib") for name, mib in (("a", 3.0), ("b", 2.0))}
    sample = QUANTITIES["peak_memory"].sample(pair(evidence(**sides)))
    assert sample.exact and sample.low == pytest.approx([math.log(1.5)])


# --- speed --------------------------------------------------------------------------------------------


def test_steps_are_counted_to_where_the_curve_crosses() -> None:
    tables = evidence(a=trained([0.05, 0.04]), b=trained([0.025, 0.04]))
    sample = QUANTITIES["steps_to_target"].sample(pair(tables))
    assert sample.low == pytest.approx(np.log([0.5, 1.0])) and (sample.low == sample.high).all()


def test_gradients_of_a_step_that_evaluates_often_are_counted() -> None:
    counted = {("val", "loss"): falling(0.04), ("train", "gradients"): np.array([0, 7, 30, *range(50, 210, 20)])}
    never = {("val", "loss"): falling(0.001), ("train", "gradients"): 20 * np.arange(11)}
    a = [{"curves": curves, "num_evaluations": 200} for curves in (counted, never)]
    sample = QUANTITIES["steps_to_target"].sample(pair(evidence(a=a, b=trained([0.04, 0.04]))))
    steps = math.log(4) / 0.04
    assert 30 < steps < 40, "so it is reached between the gradients computed at the evaluations of steps 30 and 40"
    assert np.exp(sample.low) == pytest.approx(np.array([50 + 1, 200]) / steps), "never by interpolation"
    assert np.exp(sample.high) == pytest.approx([70 / steps, math.inf])
    uncounted = evidence(a=trained([0.04, 0.04], num_evaluations=700), b=trained([0.04, 0.04]))
    with pytest.raises(NotMeasured, match="were not counted"):
        QUANTITIES["steps_to_target"].sample(pair(uncounted))


def test_what_never_gets_there_is_only_known_to_take_longer() -> None:
    tables = evidence(a=trained([0.04, 0.001, 0.001]), b=trained([0.001, 0.04, 0.001]))
    sample = QUANTITIES["steps_to_target"].sample(pair(tables))
    needed = math.log(4) / 0.04
    assert sample.low == pytest.approx([-math.inf, math.log(100 / needed), -math.inf])
    assert sample.high == pytest.approx([math.log(needed / 100), math.inf, math.inf])


def test_a_target_that_is_no_target_is_refused() -> None:
    with pytest.raises(NotMeasured, match="reached before training"):
        QUANTITIES["steps_to_target"].sample(pair(evidence(a=trained([0.04] * 2), b=trained([0.04] * 2)), target=5.0))


def test_without_a_target_it_is_what_the_worse_side_ends_at() -> None:
    tables = evidence(a=trained([0.04, 0.04]), b=trained([0.02, 0.02]))
    sample = QUANTITIES["steps_to_target"].sample(pair(tables, target=None))
    assert sample.low == pytest.approx(np.log([0.5, 0.5]))


def test_time_is_steps_times_step_time_with_its_error() -> None:
    tables = evidence(a=trained([0.04] * 3), b=trained([0.04] * 3))
    times = costs({"a": [200, 210, 190, 205, 195], "b": [100] * 5})
    sample = QUANTITIES["time_to_target"].sample(pair(with_costs(tables, times)))
    logs = np.log([2.0, 2.1, 1.9, 2.05, 1.95])
    assert sample.low == pytest.approx([logs.mean()] * 3)
    ((error, df),) = sample.errors
    assert error == pytest.approx(logs.std(ddof=1) / math.sqrt(5)) and df == 4


def test_step_times_of_a_busy_machine_decide_nothing() -> None:
    tables = evidence(a=trained([0.04] * 3, launcher="pool"), b=trained([0.04] * 3, launcher="pool"))
    times = costs({"a": [200.0] * 5, "b": [100.0] * 5}, quality="contended")
    for name in ("time_to_target", "step_time", "loss_at_equal_time"):
        with pytest.raises(NotMeasured, match="busy") as caught:
            QUANTITIES[name].sample(pair(with_costs(tables, times)))
        assert caught.value.there


def test_the_newest_quiet_session_counts() -> None:
    tables = evidence(a=trained([0.04] * 3), b=trained([0.04] * 3))
    sessions = [
        costs({"a": [400.0] * 5, "b": [100.0] * 5}, "2026-01-01"),
        costs({"a": [300.0] * 5, "b": [100.0] * 5}, "2026-01-02"),
        costs({"a": [200.0] * 5, "b": [100.0] * 5}, "2026-01-03", "contended"),
        costs({"a": [900.0] * 5}, "2026-01-04"),
        costs({"a": [800.0] * 4, "b": [100.0] * 4}, "2026-01-05"),
    ]
    sample = QUANTITIES["step_time"].sample(pair(with_costs(tables, pd.concat(sessions))))
    assert sample.low == pytest.approx([math.log(3.0)] * 5)


def test_without_step_times_the_clock_of_lone_runs_counts() -> None:
    alone = evidence(a=trained([0.08] * 2), b=trained([0.04] * 2))
    assert QUANTITIES["time_to_target"].sample(pair(alone)).low == pytest.approx(np.log([0.5, 0.5]), abs=1e-9)
    for changes in ({"launcher": "pool"}, {"timing_quality": "contended"}):
        tables = evidence(a=trained([0.08] * 2, **changes), b=trained([0.04] * 2))
        with pytest.raises(NotMeasured):
            QUANTITIES["time_to_target"].sample(pair(tables))


def test_after_equal_time_the_slower_has_made_fewer_steps() -> None:
    tables = evidence(a=trained([0.04] * 3), b=trained([0.04] * 3))
    times = costs({"a": [200.0] * 5, "b": [100.0] * 5})
    sample = QUANTITIES["loss_at_equal_time"].sample(pair(with_costs(tables, times)))
    # b makes all its 100 steps, a 50 of them: e^(-0.04 50) against e^(-0.04 100)
    assert sample.low == pytest.approx([2.0] * 3)


@pytest.mark.parametrize("changes", [{"launcher": "pool"}, {"timing_quality": "contended"}])
@pytest.mark.parametrize("name", ["latency", "epoch_time"])
def test_times_of_disturbed_runs_decide_nothing(name: str, changes: Mapping[str, str]) -> None:
    made = trained([0.04] * 3, latency_ms=1.0, **changes)
    quantity = QUANTITIES[name]
    with pytest.raises(NotMeasured, match="busy"):
        quantity.sample(pair(evidence(a=made, b=made), b=None if quantity.one_sided else "b"))


def test_a_few_disturbed_runs_are_left_out_of_times() -> None:
    def made(ms: float, disturbed: Sequence[int]) -> list[dict[str, Any]]:
        return [
            {"latency_ms": 9.0 if i in disturbed else ms, "timing_quality": "contended" if i in disturbed else "clean"}
            for i in range(6)
        ]

    sample = QUANTITIES["latency"].sample(pair(evidence(a=made(2.0, [1]), b=made(1.0, []))))
    assert sample.low == pytest.approx([math.log(2)] * 5)
    with pytest.raises(NotMeasured, match="busy"):
        QUANTITIES["latency"].sample(pair(evidence(a=made(2.0, [1, 2]), b=made(1.0, []))))


def test_after_equal_time_a_run_that_diverged_is_no_better_than_it_began() -> None:
    a = [*trained([0.04] * 3), {"status": "diverged", "final_val_loss": math.nan, "first_train_loss": 4.0}]
    tables = with_costs(evidence(a=a, b=trained([0.04] * 4)), costs({"a": [100.0] * 5, "b": [100.0] * 5}))
    sample = QUANTITIES["loss_at_equal_time"].sample(pair(tables))
    assert sample.low == pytest.approx([0, 0, 0, 4.0]) and sample.high[3] == math.inf


# --- training -----------------------------------------------------------------------------------------


def noisy(scale: float, seed: int, times: float = 1.0) -> dict[str, Any]:
    steps = np.arange(60)
    noise = np.random.default_rng(seed).normal(0, scale, len(steps))
    points = [(int(i), float(times * 3 * math.exp(-0.03 * i + noise[i]))) for i in steps]
    return {"points": points}


def rough(a: Callable[[int], dict[str, Any]], b: Callable[[int], dict[str, Any]]) -> Evidence:
    tables = evidence(a=[{} for _ in SEEDS], b=[{} for _ in SEEDS])
    rows = [
        {"run_id": f"{side}-default-{i}", "step": step, "split": "train", "metric": "loss", "value": value, "train_time_s": 0.0}
        for side, make in (("a", a), ("b", b))
        for i in range(len(SEEDS))
        for step, value in make(i)["points"]
    ]  # fmt: skip
    return Evidence(tables.runs, pd.DataFrame(rows), pd.DataFrame(), tables.claim_runs)


def test_noise_makes_a_curve_rougher_and_scale_does_not() -> None:
    def sample(noise_a: float, times: float = 1.0) -> Any:
        made = rough(lambda i: noisy(noise_a, i, times), lambda i: noisy(0.05, 100 + i, times))
        return QUANTITIES["roughness"].sample(pair(made))

    assert sample(0.10).low.mean() == pytest.approx(math.log(2), abs=0.25)
    assert abs(sample(0.05).low.mean()) < 0.25
    assert sample(0.10, times=7.0).low == pytest.approx(sample(0.10).low)


def test_speed_alone_is_no_roughness() -> None:
    """Equal noise on curves of which one falls three times as fast, through the same losses; both have the same roughness."""

    def curve(rate: float, seed: int, num: int) -> dict[str, Any]:
        noise = np.random.default_rng(seed).normal(0, 0.05, num)
        return {"points": [(i, float(3 * math.exp(-rate * i + noise[i]))) for i in range(num)]}

    made = rough(lambda i: curve(0.06, i, 80), lambda i: curve(0.02, 100 + i, 240))
    sample = QUANTITIES["roughness"].sample(pair(made))
    assert abs(sample.low.mean()) < 0.15
    assert QUANTITIES["roughness"].sample(pair(made, a="b", b="a")).low == pytest.approx(-sample.low)


def test_curves_with_no_loss_in_common_cannot_be_compared_for_roughness() -> None:
    made = rough(lambda i: noisy(0.05, i), lambda i: noisy(0.05, i, times=1e3))
    with pytest.raises(NotMeasured, match="same range of losses"):
        QUANTITIES["roughness"].sample(pair(made))


def test_the_spread_over_seeds_is_of_logs_and_needs_training() -> None:
    tables = evidence(a=runs([0.1, 0.2, 0.4]), b=runs([0.1, 0.1, 0.2]))
    assert isinstance(spread := QUANTITIES["seed_spread"].sample(pair(tables)), Spread)
    assert spread.a == pytest.approx(np.log([0.1, 0.2, 0.4]))
    with pytest.raises(NotMeasured, match="hardly trained"):
        QUANTITIES["seed_spread"].sample(pair(evidence(a=runs([0.1, 0.2, 0.4]), b=runs([1.9, 1.95, 1.99]))))


def test_how_far_gradients_reach() -> None:
    def side(first: float) -> list[dict[str, Any]]:
        norms = {("train", "grad_norm_first"): [first] * 5, ("train", "grad_norm_last"): [2.0] * 5}
        return [{"curves": norms}] * 3

    sample = QUANTITIES["gradient_reach"].sample(pair(evidence(a=side(6.0), b=side(2.0))))
    assert sample.low == pytest.approx([math.log(3)] * 3)


def test_generalization_gap() -> None:
    a = runs([0.5, 0.6], "final_test_loss", final_train_loss=0.1)
    b = runs([0.9, 0.6], "final_test_loss", final_train_loss=0.2)
    assert QUANTITIES["generalization_gap"].sample(pair(evidence(a=a, b=b))).low == pytest.approx([-0.3, 0.1])


def test_how_far_the_loss_falls() -> None:
    tables = evidence(a=runs([0.25, 0.5], "final_train_loss"))
    assert QUANTITIES["loss_fall"].sample(pair(tables, b=None)).low == pytest.approx(np.log([8, 4]))


def test_late_steps_against_early_ones() -> None:
    seconds = np.interp(STEPS, [0, 50, 100], [0, 1.0, 1.5])  # the second half goes twice as fast
    tables = evidence(a=trained([0.04] * 2))
    curves = tables.curves.assign(train_time_s=np.tile(seconds, 2))
    made = Evidence(tables.runs, curves, pd.DataFrame(), tables.claim_runs)
    assert QUANTITIES["epoch_time"].sample(pair(made, b=None)).low == pytest.approx([math.log(0.5)] * 2)


# --- learning rates -----------------------------------------------------------------------------------

RATES_TRIED = 10.0 ** np.arange(-4, 0.1, 0.5)


def at_rates(loss: Callable[[float], float], seeds: Sequence[int] = (1, 2, 3)) -> list[dict[str, Any]]:
    made = []
    for seed in seeds:
        for lr in RATES_TRIED:
            value = loss(math.log10(lr))
            ended = {"status": "ok", "final_val_loss": value} if math.isfinite(value) else {"status": "diverged"}
            made.append({"lr": lr, "seed": seed, "at": RATES, **ended})
    return made


def valley(steepness: float, center: float = -2.0) -> Callable[[float], float]:
    """Log loss rises by so much a decade on either side of the best rate."""
    return lambda x: math.exp(steepness * abs(x - center))


def test_the_basin_of_a_valley_has_its_closed_form() -> None:
    tables = evidence(a=at_rates(valley(0.5)), b=at_rates(valley(1.0)))
    sample = QUANTITIES["basin"].sample(pair(tables, at=RATES))
    # within a factor of 1.1: log(1.1) / steepness to either side
    assert sample.low == pytest.approx([2 * math.log(1.1) * (1 / 0.5 - 1)] * 3)
    assert (sample.low == sample.high).all()


def test_a_basin_that_goes_on_beyond_the_rates_is_a_bound() -> None:
    tables = evidence(a=at_rates(lambda x: 1.0), b=at_rates(valley(1.0)))
    sample = QUANTITIES["basin"].sample(pair(tables, at=RATES))
    assert sample.low == pytest.approx([4 - 2 * math.log(1.1)] * 3) and np.isinf(sample.high).all()


def test_the_best_rate_lies_between_those_tried() -> None:
    tables = evidence(a=at_rates(lambda x: math.exp((x + 1.8) ** 2)), b=at_rates(lambda x: math.exp((x + 2.1) ** 2)))
    assert QUANTITIES["best_rate"].sample(pair(tables, at=RATES)).low == pytest.approx([0.3] * 3)


def test_a_rate_ten_times_off_matters() -> None:
    tables = evidence(a=at_rates(lambda x: math.exp((1 if x < -2 else 3) * abs(x + 2))))
    sample = QUANTITIES["rate_matters"].sample(pair(tables, b=None, at=RATES))
    assert sample.low == pytest.approx([1.0] * 3)
    broken = evidence(a=at_rates(lambda x: 1.0 if x == -2 else math.inf))
    sample = QUANTITIES["rate_matters"].sample(pair(broken, b=None, at=RATES))
    assert sample.low == pytest.approx([math.log(100)] * 3) and np.isinf(sample.high).all()


def test_three_trials_give_on_average_the_lowest_of_three() -> None:
    losses = {float(lr): float(i + 1) for i, lr in enumerate(RATES_TRIED)}
    tables = evidence(a=at_rates(lambda x: losses[float(10.0**x)]), b=at_rates(lambda x: 1.0))
    sample = QUANTITIES["best_of_three"].sample(pair(tables, at=RATES))
    assert sample.low == pytest.approx([math.log((9 + 1) / 4)] * 3)  # lowest of 3 of 1..9: (n + 1) / (k + 1)


def test_the_untuned_choice_is_made_on_validation_and_judged_on_test() -> None:
    def made(val: Sequence[float], test: Sequence[float], at: str = DEFAULT) -> list[dict[str, Any]]:
        return [{"best_val_loss": v, "test_loss_at_best_val": t, "at": at} for v, t in zip(val, test, strict=True)]

    tables = evidence(
        a=made([0.1, 0.3], [0.2, 0.9]), c=made([0.2, 0.1], [0.1, 0.4]), b=made([0.1, 0.1], [0.1, 0.1], TUNED)
    )
    sample = QUANTITIES["untuned_choice"].sample(pair(tables, a="a|c", at=MIXED))
    assert sample.low == pytest.approx(np.log([2.0, 4.0]))


# --- all of them --------------------------------------------------------------------------------------


def test_swapping_the_sides_swaps_every_sample() -> None:
    rng = np.random.default_rng(0)

    def side(at: str) -> list[dict[str, Any]]:
        made = []
        for number in range(len(SEEDS)):
            rate = 0.03 * math.exp(rng.normal(0, 0.3))
            curves = {
                ("val", "loss"): falling(rate),
                ("train", "loss"): falling(0.02) * np.exp(rng.normal(0, 0.02, len(STEPS))),
                ("train", "grad_norm_first"): rng.uniform(1, 2, len(STEPS)),
                ("train", "grad_norm_last"): rng.uniform(1, 2, len(STEPS)),
            }
            numbers = {name: rng.uniform(0.1, 0.5) for name in effects_evidence.COLUMNS if name.endswith("_loss")}
            numbers |= {
                "first_train_loss": 4.0,
                "test_loss_at_best_val": rng.uniform(0.1, 0.5),
                "latency_ms": rng.uniform(1, 2),
            }
            numbers |= {name: rng.uniform(0.8, 1) for name in ("test_accuracy_at_best_val", "moved_test_accuracy")}
            made.append({**numbers, "peak_tensors_mib": 7.0, "at": at, "seed": SEEDS[number], "curves": curves})
        return made

    def all_of(center: float, steepness: float) -> list[dict[str, Any]]:
        return [*side(DEFAULT), *at_rates(valley(steepness, center))]

    tables = evidence(a=all_of(-2, 0.9), b=all_of(-1.5, 1.1))
    tables = with_costs(tables, costs({"a": [110, 120, 130, 120, 115], "b": [100, 99, 98, 97, 101]}))
    compared = [name for name, quantity in QUANTITIES.items() if not quantity.one_sided and quantity.over != MIXED]
    compared.remove("roughness")  # needs longer curves than these: see above
    assert len(compared) > 12
    for name in compared:
        at = RATES if QUANTITIES[name].over == RATES else DEFAULT
        there = QUANTITIES[name].sample(pair(tables, at=at, a="a", b="b"))
        back = QUANTITIES[name].sample(pair(tables, at=at, a="b", b="a"))
        if isinstance(there, Spread):
            assert (there.a == back.b).all() and (there.b == back.a).all()
        else:
            assert there.low == pytest.approx(-back.high), name
            assert there.high == pytest.approx(-back.low), name
