"""Statistics of step costs, time to target and memory: by hand, by simulation, by their properties."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from bench import tables
from bench.analysis import memory, step_costs, targets
from bench.plots import costs as plots_costs
from bench.plots.palette import colors
from bench.report import terminal
from bench.report.study import tables as study_tables
from bench.tables.frames import typed_frame

COLUMNS = [c.name for c in tables.STEP_COSTS]


def make_rows(
    costs: dict[tuple[str, str], float],
    spread: float = 0.02,
    seed: int = 0,
    processes: int = 5,
    builds: int = 3,
    **extra: Any,
) -> pd.DataFrame:
    """Rows of `step_costs` as a session would leave them; the first of `costs` is the baseline."""
    random = np.random.default_rng(seed)
    baseline = next(iter(costs))
    rows: list[dict[str, Any]] = []
    for process, build in itertools.product(range(processes), range(builds)):
        for (optimizer, implementation), microseconds in costs.items():
            noise = 1.0 if (optimizer, implementation) == baseline else math.exp(random.normal(0, spread))
            rows.append(
                {
                    "session_id": "s", "status": "ok", "started_at": "2026-01-01T00:00:00", "study": "s", "workload": "mlp on digits",
                    "workload_id": "w", "device": "cpu", "precision": "fp32", "num_threads": 1, "environment_id": "e", "model": "mlp",
                    "data": "digits", "optimizer": optimizer, "optimizer_options": "{}", "implementation": implementation,
                    "step_cost_id": f"{optimizer}-{implementation}", "baseline": "/".join(baseline), "process": process,
                    "build": build, "num_parameters": 1000, "step_us": microseconds * noise, "step_host_us": microseconds * noise,
                    "step_ratio": microseconds * noise / costs[baseline], "train_step_us": 300 + microseconds * noise,
                    "train_step_ratio": 1.0, "data_us": 10.0, "zero_grad_us": 5.0, "forward_us": 100.0, "backward_us": 185.0,
                    "optimizer_us": microseconds, "timer_share": 1e-4, "construct_ms": 0.1, "first_step_ms": 1.0,
                    "state_mib": 8000 / 2**20, "timing_quality": "clean", "torch_version": "2.15.0", "cpu": "CPU", "command": "c",
                    **extra,
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    missing = {name: None for name in COLUMNS if name not in frame}
    frame = pd.concat([frame, pd.DataFrame(missing, index=frame.index)], axis=1)
    return typed_frame(frame, tables.STEP_COSTS)


SGD, ADAM, FUSED = ("sgd", "forloop"), ("adam", "forloop"), ("adam", "fused")


def test_ratios_are_over_processes_with_students_t() -> None:
    rows = make_rows({SGD: 20.0, ADAM: 100.0})
    costs = step_costs.step_costs(rows).set_index("optimizer")
    adam = rows[rows["optimizer"] == "adam"]
    logs = np.log(adam["step_ratio"]).groupby(adam["process"]).mean()
    low, high = scipy.stats.t.interval(0.95, 4, logs.mean(), scipy.stats.sem(logs))
    assert costs.loc["adam", "ratio"] == pytest.approx(math.exp(logs.mean()))
    assert costs.loc["adam", ["ratio_low", "ratio_high"]].tolist() == pytest.approx([math.exp(low), math.exp(high)])
    assert costs.loc["adam", "p"] == pytest.approx(scipy.stats.ttest_1samp(logs, 0).pvalue)
    assert costs.loc["adam", "significant"]
    assert costs.loc["adam", "step_us"] == pytest.approx(adam["step_us"].median())
    assert costs.loc["sgd", "is_baseline"]
    assert not costs.loc["sgd", "significant"]
    assert (costs["num_processes"] == 5).all()
    assert (costs["num_replicates"] == 15).all()


def test_a_against_a_is_told_apart_about_as_often_as_promised() -> None:
    """200 simulated sessions of an optimizer with itself; 5 % of 200 is 10, and 17 leaves room for chance."""
    excluded = 0
    for seed in range(200):
        row = (
            step_costs.step_costs(make_rows({SGD: 20.0, ("copy", "forloop"): 20.0}, seed=seed))
            .set_index("optimizer")
            .loc["copy"]
        )
        excluded += row["ratio_low"] > 1 or row["ratio_high"] < 1
    assert 2 <= excluded <= 17


def test_contended_replicates_rank_nothing() -> None:
    rows = make_rows({SGD: 20.0, ADAM: 100.0})
    spoilt = (rows["optimizer"] == "adam") & (rows["build"] == 0)
    rows.loc[spoilt, "step_ratio"] *= 50
    rows.loc[spoilt, "timing_quality"] = "contended"
    costs = step_costs.step_costs(rows).set_index("optimizer")
    assert costs.loc["adam", "ratio"] == pytest.approx(5, rel=0.05)
    assert (costs.loc["adam", "num_replicates"], costs.loc["adam", "num_contended"]) == (10, 5)
    rows.loc[(rows["optimizer"] == "adam") & (rows["process"] == 0), "timing_quality"] = "contended"
    row = step_costs.step_costs(rows).set_index("optimizer").loc["adam"]
    assert (row["quality"], row["significant"]) == ("contended", False)
    assert math.isnan(row["p"])
    shown = study_tables.readable_step_costs(step_costs.step_costs(rows)).set_index("optimizer")
    assert "(not ranked)" in shown.loc["adam", "× sgd forloop"]
    rows["timing_quality"] = "contended"
    assert terminal.step_cost_text(rows)
    assert plots_costs.step_cost_figure(step_costs.step_costs(rows), colors(["adam", "sgd"])) is not None


def test_rule_and_implementation_come_apart() -> None:
    costs = {SGD: 20.0, ("sgd", "fused"): 10.0, ADAM: 100.0, FUSED: 30.0, ("adam", "reference"): 500.0}
    rows = make_rows(costs, spread=0.001)
    found = step_costs.rule_and_implementation(rows)
    parts = found[found["kind"] != "training"].set_index(["optimizer", "kind", "implementation"])["ratio"]
    assert parts.to_dict() == pytest.approx(
        {
            ("adam", "rule", "forloop"): 5.0,
            ("adam", "rule", "fused"): 3.0,
            ("adam", "implementation", "fused"): 10 / 3,
            ("sgd", "implementation", "fused"): 2.0,
        },
        rel=0.01,
    )
    rule, implementation = (
        study_tables.readable_parts(step_costs.rule_and_implementation(rows), k) for k in ("rule", "implementation")
    )
    assert (list(rule), list(rule["optimizer"])) == (["optimizer", "forloop", "fused"], ["adam"])
    assert (list(implementation), list(implementation["optimizer"])) == (["optimizer", "fused"], ["adam", "sgd"])
    rows.loc[rows["process"] == 0, "timing_quality"] = "contended"
    assert step_costs.rule_and_implementation(rows).empty, "four processes rank nothing"


def test_inside_training_the_ratio_is_smaller_and_comes_first() -> None:
    """Passes of 80 µs beside steps of 20 and 100: 180 to 100, where the steps alone are 5 to 1."""
    rows = make_rows({SGD: 20.0, ADAM: 100.0}, spread=0.001)
    rows["train_step_ratio"] = np.where(rows["optimizer"] == "adam", 1.8, 1.0)
    found = step_costs.rule_and_implementation(rows).set_index("kind")["ratio"]
    assert found.to_dict() == pytest.approx({"training": 1.8, "rule": 5.0}, rel=0.01)
    text = terminal.step_cost_text(rows)
    assert text.index("Training step: its time relative to one with sgd") < text.index("Update rule alone")


def test_the_smallest_difference_is_found_with_the_power_that_is_promised() -> None:
    spread, n = 0.02, 5
    smallest = np.median(
        [
            step_costs.smallest_difference(
                step_costs.step_costs(make_rows({SGD: 20.0, ADAM: 20.0}, spread, seed=seed, builds=1))
            )
            for seed in range(60)
        ]
    )
    random = np.random.default_rng(0)
    p = [scipy.stats.ttest_1samp(random.normal(math.log1p(smallest), spread, n), 0).pvalue < 0.05 for _ in range(4000)]
    assert 0.7 < np.mean(p) < 0.85
    assert math.isnan(step_costs.smallest_difference(step_costs.step_costs(make_rows({SGD: 20.0}))))


def test_what_was_skipped_is_told() -> None:
    rows = make_rows({SGD: 20.0, ADAM: 100.0})
    rows.loc[rows["optimizer"] == "adam", ["status", "reason"]] = ["skipped", "there is none"]
    assert "adam forloop: skipped, there is none." in terminal.step_cost_text(rows)
    rows["status"] = "skipped"
    assert "sgd forloop: skipped" in terminal.step_cost_text(rows)


def test_a_session_cut_short_does_not_hide_a_whole_one() -> None:
    whole, cut = (
        make_rows({SGD: 20.0, ADAM: 9.0}),
        make_rows({SGD: 30.0}, processes=2, session_id="t", started_at="2027"),
    )
    costs = step_costs.step_costs(pd.concat([whole, cut], ignore_index=True))
    assert set(step_costs.latest_session(costs)["session_id"]) == {"s"}


def test_the_newest_session_is_shown() -> None:
    old, new = make_rows({SGD: 20.0}), make_rows({SGD: 30.0}, session_id="t", started_at="2026-02-01T00:00:00")
    costs = step_costs.step_costs(pd.concat([new, old], ignore_index=True))
    assert set(step_costs.latest_session(costs)["session_id"]) == {"t"}
    assert step_costs.step_costs(old.iloc[:0]).empty


# --- time to target -------------------------------------------------------------------------------


def make_study(first_steps: dict[str, list[int | None]], contended: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs of 100 steps, evaluated every 10; each falls to 0.1 at its step, or never."""
    runs, curves = [], []
    for series, steps in first_steps.items():
        for seed, first in enumerate(steps):
            run_id = f"{series}-{seed}"
            runs.append(
                {
                    "run_id": run_id, "series": series, "seed": seed, "status": "ok", "stage": "single", "optimizer": series,
                    "final_val_loss": 1.0 if first is None else 0.1, "step_cost_id": f"{series}-forloop",
                    "timing_quality": "contended" if contended else "clean",
                }
            )  # fmt: skip
            curves += [
                {
                    "run_id": run_id, "step": step, "split": "val", "metric": "loss",
                    "value": 0.1 if first is not None and step >= first else 1.0, "train_time_s": step * 0.002,
                }
                for step in range(0, 101, 10)
            ]  # fmt: skip
    return pd.DataFrame(runs), pd.DataFrame(curves)


def test_time_to_target_is_steps_times_step_time_with_both_uncertainties() -> None:
    runs, curves = make_study({"sgd": [40, 50, 60], "adam": [10, 20, 20]})
    rows = make_rows({SGD: 100.0, ADAM: 200.0})
    times = step_costs.step_times(runs, ["sgd", "adam"], rows)
    assert times is not None
    table = targets.time_to_target(runs, curves, ["sgd", "adam"], 0.5, times).set_index("series")
    assert table["steps_to_target"].to_dict() == {"sgd": 50, "adam": 20}
    steps = np.log(np.array([10, 20, 20]) - 10 + 10 * math.log10(2))  # between an evaluation at 1 and one at 0.1
    process = rows[rows["optimizer"] == "adam"].groupby("process")["train_step_us"].apply(lambda v: np.log(v).mean())
    assert table.loc["adam", "time_to_target_s"] == pytest.approx(math.exp(steps.mean() + process.mean()) * 1e-6)
    variance = steps.var(ddof=1) / 3 + process.var(ddof=1) / 5
    width = math.log(table.loc["adam", "time_to_target_s_high"] / table.loc["adam", "time_to_target_s_low"]) / 2
    assert width >= 1.96 * math.sqrt(variance)
    assert width == pytest.approx(scipy.stats.t.ppf(0.975, 2) * math.sqrt(variance), rel=0.05)
    assert table.loc["adam", "end_to_end_s"] == pytest.approx(0.04)


def test_one_seed_has_a_time_and_no_interval_and_a_series_without_step_cost_has_none() -> None:
    runs, curves = make_study({"sgd": [40], "adam": [10], "own": [20]})
    times = step_costs.step_times(runs, ["sgd", "adam"], make_rows({SGD: 100.0, ADAM: 200.0}))
    table = targets.time_to_target(runs, curves, ["sgd", "adam", "own"], 0.5, times)
    shown = study_tables.readable_targets(table).set_index("optimizer")["steps × step time, s"]
    assert "nan" not in " ".join(shown)
    assert shown["own"] == ""


def test_runs_that_never_get_there_are_censored_not_dropped() -> None:
    runs, curves = make_study({"a": [10, None, 30], "b": [10, None, None], "c": [None] * 3})
    table = targets.time_to_target(runs, curves, ["a", "b", "c"], 0.5, None).set_index("series")
    assert table["num_reached"].to_dict() == {"a": 2, "b": 1, "c": 0}
    assert table.loc["a", "steps_to_target"] == 30
    assert table.loc[["b", "c"], "steps_to_target"].isna().all()
    assert table["time_to_target_s"].isna().all()
    shown = study_tables.readable_targets(table.reset_index())
    assert shown["steps"].tolist() == ["30", "not reached", "not reached"]


def test_no_contended_time_is_shown() -> None:
    runs, curves = make_study({"a": [10, 20, 30], "b": [10, 20, 30]}, contended=True)
    table = targets.time_to_target(runs, curves, ["a", "b"], 0.5, None)
    assert table["end_to_end_s"].isna().all()
    rows = make_rows({("a", "forloop"): 10.0, ("b", "forloop"): 20.0}, timing_quality="contended")
    assert step_costs.step_times(runs, ["a", "b"], rows) is None


def test_step_times_need_all_series_in_one_session() -> None:
    runs, _ = make_study({"sgd": [10], "adam": [10]})
    assert step_costs.step_times(runs, ["sgd", "adam"], make_rows({SGD: 20.0})) is None
    both = pd.concat([make_rows({SGD: 20.0}), make_rows({ADAM: 20.0}, session_id="t")], ignore_index=True)
    assert step_costs.step_times(runs, ["sgd", "adam"], both) is None
    assert step_costs.step_times(runs, ["sgd"], both) is not None


# --- memory ---------------------------------------------------------------------------------------


def test_memory_is_told_in_a_unit_that_can_be_read() -> None:
    row = {f"{part}_mib": 0.0 for part in memory.MEMORY_PARTS} | {
        "series": "adam", "peak_mib": 0.5, "peak_phase": "step", "optimizer_state_mib": 0.25, "step_temporaries_mib": 0.0,
        "state_bytes_per_parameter": 8.0, "rss_increase_mib": 1.0,
    }  # fmt: skip
    small = study_tables.readable_memory(pd.DataFrame([row]))
    assert small.loc[0, "peak KiB"] == "512"
    assert small.loc[0, "optimizer state"] == "256"
    large = study_tables.readable_memory(pd.DataFrame([row | {"peak_mib": 2048.0}]))
    assert large.loc[0, "peak MiB"] == "2,048"
    assert large.loc[0, "process"] == "1"
    assert "process" not in study_tables.readable_memory(pd.DataFrame([row | {"rss_increase_mib": math.nan}]))
