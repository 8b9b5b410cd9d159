"""Numbers: against SciPy, by hand, and by their properties."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench import tables
from bench.analysis import comparisons, inference, sections, tuning
from bench.analysis.leaderboard import leaderboard
from bench.analysis.section import SectionAnalysis
from bench.report import formatting
from bench.report.study.leaderboard import headline


def make_runs(*rows: dict[str, Any]) -> pd.DataFrame:
    """Rows of `runs` with everything else as in one plain study."""
    base = {
        "environment_id": "e", "study": "s", "stage": "single", "status": "ok", "workload": "mlp on digits, batch 64",
        "workload_id": "w", "budget": "20 epochs", "model": "mlp", "model_options": "{}", "data": "digits",
        "data_options": "{}", "implementation": "forloop", "settings": "default", "device": "cpu", "precision": "fp32",
        "num_threads": 1, "seed": 0, "lr": 0.001,
    }  # fmt: skip
    full = []
    for i, row in enumerate(rows):
        new = base | row
        new.setdefault("cell_id", f"{new['optimizer']}{new['lr']}{new['implementation']}{new.get('hp_momentum', '')}")
        new["run_id"] = f"r{i}"
        full.append(new)
    frame = pd.DataFrame(full)
    return pd.concat(
        [frame, pd.DataFrame({c.name: None for c in tables.RUNS if c.name not in frame}, index=frame.index)], axis=1
    )


def section(runs: pd.DataFrame) -> sections.Section:
    (only,) = sections.sections(runs)
    return only


def seeds(optimizer: str, values: list[float], **extra: Any) -> list[dict[str, Any]]:
    return [{"optimizer": optimizer, "seed": i, "final_val_loss": v, **extra} for i, v in enumerate(values)]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).filter(lambda v: np.std(v) > 1e-6))
def test_mean_interval_is_scipys(values: list[float]) -> None:
    mean, low, high = inference.mean_interval(values)
    expected = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert (mean, low, high) == pytest.approx((np.mean(values), *expected), rel=1e-9, abs=1e-9)


def test_mean_interval_of_few() -> None:
    assert inference.mean_interval([2.0])[0] == 2.0
    assert all(math.isnan(x) for x in inference.mean_interval([2.0])[1:])
    assert all(math.isnan(x) for x in inference.mean_interval([math.nan]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_properties(p: list[float]) -> None:
    adjusted = inference.holm(np.array(p))
    assert (adjusted >= np.array(p) - 1e-15).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()


def test_holm_golden() -> None:
    """By hand: sorted .005 .01 .03 .04 times 4 3 2 1, then the running maximum."""
    assert inference.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_paired_ratios_are_a_paired_t_test_of_logs() -> None:
    a, b = [0.10, 0.12, 0.11, 0.09], [0.20, 0.21, 0.26, 0.18]
    runs = section(make_runs(*seeds("adam", a), *seeds("sgd", b))).runs
    row = comparisons.paired_ratios(runs, ["sgd", "adam"]).iloc[0]
    test = scipy.stats.ttest_rel(np.log(a), np.log(b))
    low, high = test.confidence_interval(0.95)
    assert (row["a"], row["b"], row["num_pairs"]) == ("adam", "sgd", 4)
    assert row["p"] == pytest.approx(test.pvalue)
    assert [row["ratio_low"], row["ratio_high"]] == pytest.approx([math.exp(low), math.exp(high)])
    assert row["ratio"] == pytest.approx(math.exp(np.mean(np.log(np.array(a) / b))))


def test_only_seeds_that_both_finished_are_paired() -> None:
    runs = make_runs(*seeds("adam", [0.1, 0.1, 0.2]), *seeds("sgd", [0.3, 0.3, 0.3]))
    runs.loc[2, "status"] = "diverged"
    table = comparisons.paired_ratios(section(runs).runs, ["adam", "sgd"])
    assert table["num_pairs"].tolist() == [2]


def test_a_against_a_is_told_apart_in_about_5_percent() -> None:
    """500 comparisons of equals, Holm over one: at most 5 % plus chance (37 is the 97.5 % point and more)."""
    random = np.random.RandomState(0)
    found = 0
    for _ in range(500):
        a, b = np.exp(random.normal(size=(2, 5)) * 0.1)
        runs = pd.DataFrame({"series": ["x"] * 5 + ["y"] * 5, "seed": [*range(5)] * 2, "final_val_loss": [*a, *b]})
        table = comparisons.paired_ratios(runs.assign(status="ok", environment_id="e"), ["x", "y"])
        found += int(table["significant"].sum())
    assert 10 <= found <= 37


def test_swapping_the_sides_changes_nothing() -> None:
    runs = section(make_runs(*seeds("x", [1.0, 2.0, 1.5]), *seeds("y", [2.0, 2.5, 2.5]))).runs
    pd.testing.assert_frame_equal(
        comparisons.paired_ratios(runs, ["x", "y"]), comparisons.paired_ratios(runs, ["y", "x"])
    )


def test_series_are_named_by_what_tells_them_apart() -> None:
    runs = make_runs(
        *seeds("adam", [1.0], lr=0.1),
        *seeds("adam", [1.0], lr=0.01),
        *seeds("sgd", [1.0], hp_momentum=0.9),
        *seeds("rmsprop", [1.0], implementation="foreach"),
        *seeds("rmsprop", [1.0], implementation="forloop"),
        *seeds("lion", [1.0], cell_id="aaa"),
        *seeds("lion", [1.0], cell_id="bbb"),
    )
    assert list(sections.series_names(runs)) == [
        "adam lr=0.1", "adam lr=0.01", "sgd", "rmsprop foreach", "rmsprop forloop", "lion aaa", "lion bbb",
    ]  # fmt: skip


def test_summary_counts_and_orders() -> None:
    runs = make_runs(*seeds("sgd", [0.5, 0.7]), *seeds("adam", [0.1, 0.3]), *seeds("bad", [0.01, 0.02]))
    runs.loc[5, "status"] = "diverged"
    table = comparisons.summary(section(runs).runs).set_index("series")
    assert list(table.index) == ["adam", "sgd", "bad"], "a series with a diverged run does not lead"
    assert table.loc["bad", "statuses"] == "1 ok, 1 diverged"
    assert table.loc["adam", "final_val_loss"] == pytest.approx(0.2)
    assert table.loc["bad", "final_val_loss"] == pytest.approx(0.01)


def test_leaders_are_the_best_setting_of_each_optimizer() -> None:
    runs = make_runs(
        *seeds("adam", [0.2], lr=0.1), *seeds("adam", [0.1], lr=0.01), *seeds("sgd", [0.5], lr=1.0), *seeds("sgd", [0.05], lr=10.0)
    )  # fmt: skip
    runs.loc[3, "status"] = "diverged"
    assert sections.leaders(section(runs).runs) == ["adam lr=0.01", "sgd lr=1"]


def test_sections_keep_apart_what_cannot_be_compared() -> None:
    rows = seeds("adam", [0.1])
    variants = [
        {}, {"budget": "5 epochs"}, {"workload_id": "w2"}, {"device": "cuda"}, {"precision": "bf16"}, {"num_threads": 2},
        {"environment_id": "f", "cpu": "other", "torch_version": "2.11"},
    ]  # fmt: skip
    runs = make_runs(*(row | variant for variant in variants for row in rows))
    found = list(sections.sections(runs))
    assert len(found) == 7
    assert len({s.title for s in found}) == 7 - 1 + ("2.11" in found[-1].title)
    mixed = list(sections.sections(runs, mix_environments=True))
    assert len(mixed) == 6
    assert [s.mixed for s in mixed].count(True) == 1


def test_a_run_that_never_read_its_data_stands_with_its_workload() -> None:
    runs = make_runs(*seeds("adam", [0.1, 0.1]), *seeds("sgd", [0.1]))
    runs.loc[2, ["status", "workload_id"]] = ["failed", None]
    assert len(list(sections.sections(runs))) == 1


def test_sensitivity_leaves_out_rates_with_a_lost_run() -> None:
    runs = make_runs(
        *seeds("adam", [0.1, 0.2], lr=0.1), *seeds("adam", [0.3, 0.3], lr=1.0), *seeds("sgd", [0.3], lr=1.0)
    )  # fmt: skip
    runs.loc[3, "status"] = "diverged"
    table = tuning.sensitivity(runs)
    assert table["optimizer"].tolist() == ["adam", "adam"]
    assert table["value"].iloc[0] == pytest.approx(0.15)
    assert math.isnan(table["value"].iloc[1])
    assert table["num_ok"].tolist() == [2, 1]


def test_sensitivity_pools_nothing_but_seeds() -> None:
    runs = make_runs(
        *(
            row
            for momentum, base in ((0.0, 1.0), (0.9, 2.0))
            for lr in (0.1, 1.0)
            for row in seeds("sgd", [base + lr], lr=lr, hp_momentum=momentum)
        )
    )
    table = tuning.sensitivity(runs)
    assert table["setting"].unique().tolist() == ["sgd momentum=0", "sgd momentum=0.9"]
    assert table["value"].tolist() == [1.1, 2.0, 2.1, 3.0]
    assert table["num_runs"].tolist() == [1, 1, 1, 1]


def test_a_lost_run_stands_with_its_cell() -> None:
    """Killed before its optimizer was built, it does not know which implementation would have run."""
    runs = make_runs(*seeds("adam", [0.1, 0.2], lr=0.1, cell_id="a"), *seeds("adam", [0.1, 0.2], lr=0.01, cell_id="b"))
    runs.loc[3, ["status", "implementation"]] = ["failed", "default"]
    assert list(sections.series_names(runs)) == ["adam lr=0.1"] * 2 + ["adam lr=0.01"] * 2
    only = section(runs)
    assert len(sections.leaders(only.runs)) == 1
    assert comparisons.summary(only.runs)["statuses"].tolist() == ["2 ok", "1 ok, 1 failed"]


def test_bands_stop_where_the_first_seed_stops() -> None:
    curves = pd.DataFrame(
        [("r0", "a", s, float(s), 0.0) for s in (0, 10, 20)] + [("r1", "a", s, float(s + 2), 0.0) for s in (0, 10)],
        columns=["run_id", "series", "step", "value", "train_time_s"],
    )
    band = comparisons.bands(curves, "step")
    assert band["x"].tolist() == [0, 10]
    assert band["median"].tolist() == [1.0, 11.0]
    assert band["low"].tolist() == [0.0, 10.0]


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (0.12344, 0.0042, "0.1234 ± 0.0042"),
        (851.418, 0.0097, "851.42 ± 0.01"),
        (38.0, 131.0, "38 ± 131"),
        (10.0, 0.0, "10.000 ± 0.000"),
        (1234.5, math.nan, "1234"),
        (math.nan, math.nan, "—"),
    ],
)
def test_words_for_numbers(mean: float, half: float, text: str) -> None:
    assert formatting.with_interval(mean, mean - half, mean + half) == text


def said(part: sections.Section) -> str:
    found = SectionAnalysis(part)
    return headline(found, leaderboard(found))


def test_the_headline() -> None:
    one_seed = section(make_runs(*seeds("adam", [0.1]), *seeds("sgd", [0.2])))
    assert said(one_seed) == "One seed cannot rank anything: run several, for example seeds=5."
    apart = section(make_runs(*seeds("adam", [0.1, 0.101, 0.1]), *seeds("sgd", [0.2, 0.202, 0.201])))
    assert said(apart) == "adam reaches the lowest validation loss (0.1); sgd ends 2 times as high."
    together = section(make_runs(*seeds("adam", [0.1, 0.3, 0.2]), *seeds("sgd", [0.3, 0.1, 0.25])))
    assert said(together) == "adam reaches the lowest validation loss (0.2); sgd is not distinguishable from it."
    alone = section(make_runs(*seeds("adam", [0.1, 0.3])))
    assert "is the only optimizer so far" in said(alone)
    lost = make_runs(*seeds("adam", [0.1]))
    lost["status"] = "failed"
    assert "No run ended ok" in said(section(lost))
