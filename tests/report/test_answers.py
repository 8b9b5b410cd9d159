"""The first screen: each sentence says what its table says, and no more."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import TUNING, row, side_tables, tuned_study, write

from bench import tables
from bench.analysis import tuning
from bench.analysis.goals import Target
from bench.analysis.leaderboard import leaderboard
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import Section, sections
from bench.analysis.study import StudyAnalysis
from bench.analysis.target_pairs import target_pairs
from bench.analysis.targets import time_to_target
from bench.report.study import findings
from bench.report.study.leaderboard import headline
from bench.report.study.render import write_report

TARGET = Target(0.5, "the median final one of b")


def runs_and_curves(steps: dict[str, list[float]], step_s: dict[str, float] | None = None) -> tuple[pd.DataFrame, ...]:
    """What targets and pairs are made from: steps to the target of each seed, inf: never within 100."""
    runs, points = [], []
    for name, each in steps.items():
        for seed, reached in enumerate(each):
            run = row(name, 0.1, seed, num_steps=100, num_steps_budget=100)
            runs.append({**run, "series": name})
            for step in range(0, 101, 5):
                loss = 0.4 if step >= reached else 1.0
                points.append((run["run_id"], step, step, "val", "loss", loss, 1e-3 * step))
    curves = pd.DataFrame(points, columns=[c.name for c in tables.CURVES])
    table, shown = pd.DataFrame(runs), list(steps)
    times = None
    if step_s is not None:
        times = pd.DataFrame([{"series": n, "step_s": s, "log_se": 0.01, "df": 9.0} for n, s in step_s.items()])
    targets = time_to_target(table, curves, shown, 0.5, times)
    return targets, target_pairs(table, curves, shown, 0.5, times)


def fast(steps: dict[str, list[float]], step_s: dict[str, float] | None = None) -> str:
    answer = findings.how_fast(TARGET, *runs_and_curves(steps, step_s), step_s is not None)
    assert answer is not None
    return answer.text


def test_the_winner_by_steps_with_ratio_and_interval() -> None:
    said = fast({"adam": [10, 15, 10, 10, 15], "sgd": [40, 60, 40, 40, 65]})
    assert "To a validation loss of 0.5 (the median final one of b): adam needs the fewest steps" in said
    match = re.search(
        r"significantly different from sgd \(([\d.]+) times as many, 95% interval ([\d.]+) to ([\d.]+)\)", said
    )
    assert match is not None, said
    ratio, low, high = map(float, match.groups())
    at = -5 + 5 * math.log(2) / math.log(2.5)  # between an evaluation at 1 and one at 0.4, five steps apart
    ratios = [(sgd + at) / (adam + at) for adam, sgd in ((10, 40), (15, 60), (10, 40), (10, 40), (15, 65))]
    assert ratio == pytest.approx(math.prod(ratios) ** 0.2, rel=0.01)
    assert 1 < low < ratio < high
    assert "nothing is ranked by time; end to end, these runs took: adam 0.01 s, sgd 0.04 s." in said


def test_what_cannot_be_told_apart_is_said() -> None:
    said = fast({"adam": [10, 30, 20, 15, 40], "sgd": [15, 20, 30, 20, 30]})
    assert "is not distinguishable from" in said
    assert "significantly different from" not in said


def test_steps_and_time_that_disagree_are_both_said() -> None:
    steps = {"adam": [10, 15, 10, 10, 15], "sgd": [20, 30, 20, 20, 35]}
    said = fast(steps, {"adam": 0.010, "sgd": 0.001})
    assert "steps and time disagree. adam takes fewer steps than sgd (0.457 times as many, " in said
    assert "but more time (4.57 times as much, " in said
    agreed = fast(steps, {"adam": 0.001, "sgd": 0.001})
    assert "disagree" not in agreed
    assert "adam needs the least time, significantly different from sgd" in agreed


def test_runs_that_never_got_there_are_counted_and_bound_the_ratio() -> None:
    said = fast({"adam": [10, 15, 10, 10, 15], "sgd": [40, math.inf, 40, math.inf, 65]})
    assert "Not all runs reached the target: sgd (3 of 5 seeds)." in said
    assert re.search(
        r"sgd \(at least [\d.]+ times as many, adam first in 5 of 5 seeds, 95% interval from [\d.]+ on\)", said
    ), said
    assert findings.how_fast(TARGET, *runs_and_curves({"adam": [math.inf] * 3, "sgd": [math.inf] * 3}), False) is None


def test_where_nothing_but_order_can_compare_the_seeds_won_are_said() -> None:
    said = fast({"adam": [10, math.inf, 10, 10, 15], "sgd": [math.inf] * 5})
    assert (
        "is not distinguishable from sgd (adam first in 4 of 5 seeds, and 5 seeds are too few to test by order)" in said
    )
    said = fast({"adam": [10] * 8, "sgd": [math.inf] * 8})
    assert re.search(
        r"different from sgd \(at least [\d.]+ times as many, adam first in 8 of 8 seeds, 95% interval from", said
    ), said
    assert "distinguishable" not in said


def test_where_only_one_has_a_time_to_the_target_that_is_said() -> None:
    said = fast({"adam": [10, 15, 10], "sgd": [40, math.inf, 45]}, {"adam": 0.01, "sgd": 0.001})
    assert "Nothing is ranked by time, because fewer than two optimizers reached the target on all seeds." in said
    assert "least time" not in said


def test_one_seed_says_nothing_about_speed() -> None:
    assert findings.how_fast(TARGET, *runs_and_curves({"adam": [10], "sgd": [40]}), False) is None


@given(st.lists(st.floats(1, 1e5), min_size=2, max_size=6))
def test_memory_names_the_lowest_and_every_other(peaks: list[float]) -> None:
    table = pd.DataFrame({"series": [f"o{i}" for i in range(len(peaks))], "peak_mib": peaks})
    answer = findings.memory(table, "Peak memory in tensors")
    assert answer is not None
    lowest, _, more = answer.text.partition("relative to that")
    for name, peak in zip(table["series"], peaks, strict=True):
        if peak > 1.01 * min(peaks):
            assert name in more
            assert name not in lowest
        elif max(peaks) > 1.01 * min(peaks):
            assert name in lowest


def test_memory_that_is_alike_is_no_ranking() -> None:
    table = pd.DataFrame({"series": ["a", "b"], "peak_mib": [100.0, 100.5]})
    answer = findings.memory(table, "Peak memory in tensors")
    assert answer is not None
    assert "the same for all to within 1 %, 100 MiB" in answer.text
    assert findings.memory(table.head(1), "Peak memory in tensors") is None
    assert findings.memory(table.assign(peak_mib=math.nan), "Peak memory in tensors") is None


def against(*rows: tuple[str, float, bool]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "optimizer": name, "ratio": ratio, "adjusted_low": ratio / 1.1, "adjusted_high": ratio * 1.1, "significant": apart,
                "num_default_lost": 0, "num_tuned_lost": 0,
            }
            for name, ratio, apart in rows
        ]
    )  # fmt: skip


def test_what_tuning_buys_and_whom_it_buys_nothing() -> None:
    answer = findings.what_tuning_buys(against(("adam", 0.98, False), ("sgd", 0.1, True), ("rmsprop", 1.2, True)))
    assert answer is not None
    assert (
        "Tuning brings sgd to 0.1 times the final validation loss of its default (95% interval 0.0909 to 0.11)"
        in answer.text
    )
    assert "not distinguishable for adam (0.98)" in answer.text
    assert "worse than default for rmsprop (1.2)" in answer.text
    assert "did not end ok" not in answer.text
    fewer = findings.what_tuning_buys(against(("adam", 0.5, True)).assign(num_default_lost=2))
    assert fewer is not None
    assert fewer.text.endswith("Pairs in which a run did not end ok are left out: adam.")
    assert findings.what_tuning_buys(against().reindex(columns=against(("a", 1.0, False)).columns)) is None


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tuned_study(tmp_path_factory.mktemp("answers") / "results" / "s")
    side_tables(made)
    return made


@pytest.fixture(scope="module")
def tuned(study: Path) -> Section:
    return next(part for part in sections(tables.load(study).runs) if part.tuned)


def test_trials_seeds_and_edges_are_said(tuned: Section) -> None:
    assert findings.setting(SectionAnalysis(tuned)) == "Tuned, 6 trials each; the best of each on 5 fresh seeds."
    fair = findings.how_fair(SectionAnalysis(tuned))
    assert fair is not None
    assert TUNING in fair.text
    limits = findings.limits(SectionAnalysis(tuned))
    assert limits is not None
    assert limits.warns
    assert "The best setting of sgd (lr high) lies on the boundary of the search range" in limits.text
    assert "Unequal tuning" not in limits.text


def test_unequal_budgets_are_said(tuned: Section) -> None:
    fewer = tuned.trials[~((tuned.trials["optimizer"] == "sgd") & (tuned.trials["trial"] > 2))]
    limits = findings.limits(SectionAnalysis(Section(tuned.title, tuned.runs, False, fewer, tuned.untuned)))
    assert limits is not None
    assert "Unequal tuning, numbers of trials: adam 6, nadam 6, rmsprop 6, sgd 3." in limits.text


def test_an_optimizer_of_which_no_trial_ended_ok_is_named(tuned: Section) -> None:
    lost = tuned.trials["status"].where(tuned.trials["optimizer"] != "nadam", "diverged")
    section = Section(
        tuned.title,
        tuned.runs[tuned.runs["optimizer"] != "nadam"],
        False,
        tuned.trials.assign(status=lost),
        tuned.untuned,
    )
    limits = findings.limits(SectionAnalysis(section))
    assert limits is not None
    assert "Not ranked, because no trial ended ok: nadam." in limits.text


def test_unlike_ways_of_tuning_are_said(tuned: Section) -> None:
    other = {"tuning": tuned.trials["tuning"].where(tuned.trials["optimizer"] != "sgd", "random, 6 trials")}
    final = tuned.runs["tuning"].where(tuned.runs["optimizer"] != "sgd", "random, 6 trials")
    section = Section(tuned.title, tuned.runs.assign(tuning=final), False, tuned.trials.assign(**other), tuned.untuned)
    limits = findings.limits(SectionAnalysis(section))
    assert limits is not None
    assert f"Unequal tuning: adam ({TUNING})" in limits.text
    assert "sgd (random, 6 trials)." in limits.text


def test_defaults_say_that_they_are_untuned(study: Path) -> None:
    (default,) = (part for part in sections(tables.load(study).runs) if not part.tuned)
    fair = findings.how_fair(SectionAnalysis(default))
    assert fair is not None
    assert fair.text == "Default settings, untuned; 5 seeds each. After tuning, the order may differ (sweep=tuned)."
    assert findings.limits(SectionAnalysis(default)) is None


def test_lost_runs_and_settings_tried_by_hand_are_said() -> None:
    def made(optimizer: str, lr: float, seed: int, **changes: Any) -> dict[str, Any]:
        return {"series": f"{optimizer} {lr}", "final_val_loss": 0.1, **row(optimizer, lr, seed, **changes)}

    runs = [made("adam", lr, seed) for lr in (0.1, 0.01) for seed in (0, 1)]
    runs += [made("sgd", 0.1, seed, status="diverged" if seed else "ok") for seed in (0, 1)]
    section = Section("t", pd.DataFrame(runs), False)
    limits = findings.limits(SectionAnalysis(section))
    assert limits is not None
    assert "Unequal numbers of settings tried: adam 2, sgd 1." in limits.text
    assert "have no final loss: sgd 0.1 1 of 2." in limits.text
    assert findings.setting(SectionAnalysis(section)) == "Settings given by hand, tried: adam 2, sgd 1; 2 seeds each."


def test_three_to_six_answers_each_with_its_table(study: Path, tmp_path: Path) -> None:
    write_report(StudyAnalysis(tables.load(study), study), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    short = text[text.index("**Summary**") : text.index("\n## ")]
    *told, defaults = [line for line in short.splitlines() if line.startswith("- ")]
    assert 3 <= len(told) <= 6
    assert "not tuned: " in defaults
    assert "reaches the lowest validation loss" in defaults
    for line in told:
        (anchor,) = re.findall(r"\(#([^)]+)\)", line)
        assert f'<a id="{anchor}"></a>' in text, line
    assert "\n**adam reaches the lowest validation loss" in short
    assert "| 1 | adam | best | lr=" in short
    assert "sgd, 20 MiB; relative to that: rmsprop 1.5 times" in short
    ratio = tuning.defaults_against_tuned(next(p for p in sections(tables.load(study).runs) if p.tuned))
    sgd = ratio.set_index("optimizer").loc["sgd", "ratio"]
    assert f"Tuning brings sgd to {sgd:.3g} times" in short


def test_over_several_workloads_with_the_order_when_one_is_left_out() -> None:
    times = pd.DataFrame({"x": [1.0, 2.0, 8.0], "y": [1.0, 2.0, 4.0], "z": [2.0, 1.0, 9.0]}, index=["a", "b", "c"])
    answer = findings.overall(times, "steps")
    assert answer is not None
    assert answer.text.startswith("Scores over 3 workloads, by steps to the target of each")
    # a: ratios 1 1 2, so (3 + 3 + 2) / 9; b: 2 2 1, so (2 + 2 + 3) / 9
    assert "a 0.89 (" in answer.text
    assert "b 0.78 (" in answer.text
    assert "The order is the same whichever optimizer is left out." in answer.text
    assert findings.overall(times[["x", "y"]], "steps") is None, "two workloads are no sample"


def test_of_two_optimizers_none_can_be_left_out() -> None:
    times = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, 2.5], "z": [2.0, 1.0]}, index=["a", "b"])
    answer = findings.overall(times, "steps")
    assert answer is not None
    assert answer.text.endswith(" (never within a factor of 4 of the fastest): a 0.89, b 0.72.")


def test_an_optimizer_that_was_not_run_everywhere_is_named() -> None:
    times = pd.DataFrame(
        {"x": [1.0, 2.0, math.nan], "y": [1.0, 2.0, math.nan], "z": [2.0, 9.0, 1.0]}, index=list("abc")
    )
    answer = findings.overall(times, "steps")
    assert answer is not None
    assert "Not run on some, which counts as never reaching the target: c on 2 of 3." in answer.text
    whole = findings.overall(times.fillna(math.inf), "steps")
    assert whole is not None
    assert "Not run on some" not in whole.text


def test_of_many_workloads_the_first_screen_says_settings_and_limits(tmp_path: Path) -> None:
    study = tmp_path / "results" / "s"
    for workload in ("u", "v", "w"):
        for seed in (0, 1, 2):
            write(study, "adam", 1e-2, seed, workload_id=workload)
            write(study, "sgd", 1e-3, seed, workload_id=workload)
    write(study, "sgd", 1e-3, 3, workload_id="w", status="diverged", num_steps=10)
    write_report(StudyAnalysis(tables.load(study), study), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    short = text[text.index("**Summary**") : text.index("\n## ")]
    assert short.count("Settings given by hand, 1 for each optimizer;") == 3
    assert "and have no final loss: sgd 1 of 4." in short
    assert "left out" not in short
    assert "without adam" not in text


def test_an_order_that_depends_on_who_takes_part_is_said() -> None:
    # with c, a's one bad workload is bad for all; without it, b is ahead there
    times = pd.DataFrame({"x": [1.0, 1.8, 9.0], "y": [1.0, 1.8, 9.0], "z": [20.0, 6.0, 1.0]}, index=["a", "b", "c"])
    answer = findings.overall(times, "time")
    assert answer is not None
    assert "The order depends on which optimizers take part: without c, b ranks above a" in answer.text


def test_who_ends_lowest_is_said_of_whom_it_is_true() -> None:
    def verdict(losses: dict[str, list[float]]) -> str:
        runs = [
            row(name, 0.1, seed, final_val_loss=loss, **({} if math.isfinite(loss) else {"status": "diverged"}))
            for name, each in losses.items()
            for seed, loss in enumerate(each)
        ]
        (section,) = sections(pd.DataFrame(runs).assign(hp_betas=None))
        found = SectionAnalysis(section)
        return headline(found, leaderboard(found))

    lost = math.nan
    three = {"adam": [0.5, 0.51, 0.52], "sgd": [0.2, 0.21, lost]}
    assert verdict(three).startswith(
        "adam reaches the lowest validation loss (0.51, among those whose runs all ended ok);"
    )
    assert verdict({"adam": [0.5, 0.51, lost], "sgd": [0.2, 0.21, lost]}).startswith(
        "sgd reaches the lowest validation loss (0.205, over the runs that ended ok);"
    )
    said = verdict({"adam": [0.1], "sgd": [0.2, 0.21, 0.22], "rmsprop": [0.3, 0.31, 0.32]})
    assert (
        said
        == "adam reaches the lowest validation loss (0.1); sgd and rmsprop cannot be compared with it, because fewer than two"
        " seeds are paired."
    )


def test_a_sweep_that_was_interrupted_before_its_final_runs_is_reported(tmp_path: Path) -> None:
    study = tmp_path / "results" / "s"
    for trial, lr in enumerate((0.001, 0.01)):
        write(study, "adam", lr, 0, stage="tune", trial=trial, tuning=TUNING)
    write_report(StudyAnalysis(tables.load(study), study), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    assert "No trial was repeated on fresh seeds yet" in text
    assert "Tuned, 2 trials each; not repeated yet." in text
