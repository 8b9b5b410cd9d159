"""The leaderboard: ranks, badges, what to doubt and what to type next, each by rule."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import row, side_tables, tuned_study

from bench import tables
from bench.analysis.leaderboard import Leaderboard, Relative, leaderboard
from bench.analysis.overall import comparable, overall_leaderboard
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import sections
from bench.analysis.study import StudyAnalysis
from bench.report import terminal
from bench.report.study.board_view import Axis, board_view
from bench.report.study.leaderboard import headline, readable_leaderboard
from bench.report.study.next_command import doubts, next_command

LOST = math.nan


def found(losses: dict[str, list[float]], **changes: Any) -> SectionAnalysis:
    """Return a section of runs with these final losses, by "optimizer" or "optimizer rate", a seed each."""
    runs = []
    for name, each in losses.items():
        optimizer, _, rate = name.partition(" ")
        for seed, loss in enumerate(each):
            lost = {} if math.isfinite(loss) else {"status": "diverged", "reason": "train loss nan at step 3"}
            command = f"python -m bench optimizer={optimizer} 'seeds=[{seed}]' train.epochs=3 force=true"
            runs.append(row(optimizer, float(rate or 0.1), seed, final_val_loss=loss, total_s=1.0, command=command, **lost, **changes))  # fmt: skip
    (section,) = sections(pd.DataFrame(runs).assign(hp_betas=None))
    return SectionAnalysis(section)


def badges(board: Leaderboard) -> dict[str, str]:
    return dict(zip(board.rows["name"], board.rows["badge"], strict=True))


def around(center: float, spread: float = 0.01, num: int = 5, seed: int = 0) -> list[float]:
    return list(center * np.exp(spread * np.random.default_rng([seed, round(1e4 * center)]).standard_normal(num)))


def test_ranks_are_shared_by_groups_and_badges_name_what_happened() -> None:
    analysis = found(
        {
            "adam": around(0.2), "nadam": around(0.2005), "rmsprop": around(0.3), "adamax": around(0.301),
            "sgd": around(2.29), "adadelta": [LOST] * 5,
        }
    )  # fmt: skip
    board = leaderboard(analysis)
    assert badges(board) == {
        "adam": "best", "nadam": "tied", "rmsprop": "worse", "adamax": "worse", "sgd": "did not learn", "adadelta": "diverged",
    }  # fmt: skip
    ranks = dict(zip(board.rows["name"], board.rows["rank"], strict=True))
    assert [ranks[name] for name in ("adam", "nadam", "rmsprop", "adamax")] == [1, 1, 3, 3]
    assert pd.isna(ranks["sgd"])
    said = headline(analysis, board)
    assert said.startswith("adam reaches the lowest validation loss (0.199); nadam is not distinguishable from it; ")
    assert "rmsprop ends" in said
    assert "sgd did not learn" in said
    assert said.endswith("adadelta diverged.")


def test_verdict_and_interval_never_contradict_each_other() -> None:
    for seed in range(20):
        losses = {name: around(0.2 * (1 + 0.02 * i), 0.05, 4, seed) for i, name in enumerate("abcdef")}
        board = leaderboard(found(losses))
        for _, line in board.rows.iterrows():
            if line["badge"] in ("tied", "worse"):
                comparison = line["comparison"]
                assert (comparison.low > 1 or comparison.high < 1) == (line["badge"] == "worse")


def test_of_equal_optimizers_hardly_ever_one_is_called_worse() -> None:
    rng, wrong, num = np.random.default_rng(1), 0, 60
    for _ in range(num):
        losses = {name: list(0.3 * np.exp(0.1 * rng.standard_normal(5))) for name in "abcdef"}
        wrong += "worse" in set(badges(leaderboard(found(losses))).values())
    assert wrong <= 8, "more has a probability below 0.3 % at 5 %"


def test_an_optimizer_that_learned_as_far_as_the_noise_lets_anyone_did_learn() -> None:
    board = leaderboard(found({"a": around(2.1, 0.001), "b": around(2.15, 0.001), "c": around(2.295, 0.001)}))
    assert badges(board)["b"] != "did not learn"
    assert badges(board)["c"] == "did not learn"


def test_settings_are_counted_and_the_ends_of_the_range_are_marked() -> None:
    analysis = found(
        {"adam 0.01": around(0.3), "adam 0.1": around(0.2), "adam 1": around(0.4), "sgd 0.1": around(0.5), "sgd 1": around(0.3)}
    )  # fmt: skip
    board = leaderboard(analysis)
    assert board.rows["num_tried"].tolist() == [3, 2]
    assert board.rows["edge"].tolist() == ["", "highest"]
    assert board.rows["setting"].tolist() == ["lr=0.1", "lr=1"]
    table = readable_leaderboard(board)
    assert table["best setting"].tolist() == ["lr=0.1", "lr=1 ›"]
    said = " ".join(doubts(analysis, board))
    assert "Unequal chances: adam 3, sgd 2 settings were tried." in said
    assert "sgd (highest)" in said


def test_one_seed_asks_for_more() -> None:
    analysis = found({"adam": [0.2], "sgd": [0.3]}, settings="default")
    board = leaderboard(analysis)
    assert headline(analysis, board) == "One seed cannot rank anything: run several, for example seeds=5."
    suggestion = next_command(analysis, board)
    assert suggestion is not None
    assert suggestion.command == "python -m bench optimizer=adam,sgd seeds=5 train.epochs=3 -m"
    assert suggestion.seconds == 10.0


def test_an_optimizer_that_did_not_learn_is_to_be_tuned() -> None:
    analysis = found({"adam": around(0.2), "sgd": around(2.299, 1e-4)}, settings="default")
    board = leaderboard(analysis)
    suggestion = next_command(analysis, board)
    assert suggestion is not None
    assert suggestion.reason == "sgd did not learn at lr=0.1, its default"
    assert suggestion.command == "python -m bench sweep=tuned optimizer=adam,sgd train.epochs=3 -m"
    assert suggestion.about == "  (about 58 s)"  # 2 x (9 trials + 10 + 10) runs of 1 s


def test_a_difference_that_more_seeds_would_show_gets_their_number() -> None:
    analysis = found({"adam": [0.2, 0.21, 0.19, 0.2], "rmsprop": [0.23, 0.2, 0.21, 0.24]}, settings="given")
    board = leaderboard(analysis)
    assert badges(board) == {"adam": "best", "rmsprop": "tied"}
    suggestion = next_command(analysis, board)
    assert suggestion is not None
    assert "seeds would show it" in suggestion.reason
    assert "optimizer.lr=0.1 seeds=" in suggestion.command


def test_a_class_of_ones_own_gets_a_reason_without_a_command() -> None:
    analysis = found({"adam": around(0.2), "sgd": around(2.299, 1e-4)}, settings="default")
    analysis.section.runs["command"] = "python -m bench optimizer=custom optimizer._target_=mine.Mine"
    suggestion = next_command(analysis, leaderboard(analysis))
    assert suggestion is not None
    assert suggestion.command == ""


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> StudyAnalysis:
    study = tuned_study(tmp_path_factory.mktemp("s") / "s", workloads=("w", "v"))
    side_tables(study)
    return StudyAnalysis(tables.load(study), study)


def test_a_tuned_study_with_all_its_columns(tuned: StudyAnalysis) -> None:
    board = leaderboard(tuned.analyses[0])
    table = readable_leaderboard(board)
    assert {"rank", "optimizer", "verdict", "best setting", "of", "val loss", "time × adam", "step cost × sgd"} <= set(
        table
    )
    assert board.step_baseline == "sgd"
    costs = dict(zip(board.rows["name"], board.rows["step_cost"], strict=True))
    assert costs["sgd"] == Relative(1.0, 1.0, 1.0)
    assert costs["adam"].ratio == pytest.approx(3.0)
    assert board.rows.set_index("name").loc["adam", "peak_mib"] == 40.0
    assert board.rows.set_index("name").loc["sgd", "edge"] == "lr high"


@pytest.mark.parametrize("columns", [40, 60, 80, 100])
def test_the_terminal_never_shows_more_columns_than_it_has(tuned: StudyAnalysis, columns: int) -> None:
    table = readable_leaderboard(leaderboard(tuned.analyses[0]))
    kept = terminal.fitted(table, columns)
    assert {"rank", "optimizer", "verdict"} <= set(kept)
    assert list(kept) == [name for name in table if name in set(kept)]
    assert max(len(line) for line in terminal.aligned_table(kept)) <= columns


def test_the_terminal_shows_what_the_command_did_and_names_the_rest(tuned: StudyAnalysis) -> None:
    analyses = tuned.analyses
    ran = set(analyses[0].section.runs["run_id"])
    text = terminal.summary_text(analyses, "results/s", ran)
    assert "All workloads together" not in text
    assert "All workloads together\nOver 2 workloads, adam has the best mean rank (1)." in terminal.summary_text(
        analyses
    )
    assert text.count("reaches the lowest validation loss") == 1
    assert "Also in this study (python -m bench.report results/s --all):" in text
    assert "All settings" not in text
    everything = terminal.summary_text(analyses, "results/s", ran, show_all=True)
    assert everything.count("All settings") == len(analyses)


def test_a_doubled_row_of_memory_counts_once(tuned: StudyAnalysis) -> None:
    analysis = tuned.analyses[0]
    twice = SectionAnalysis(analysis.section, memory=pd.concat([analysis.memory, analysis.memory]))
    pd.testing.assert_frame_equal(twice.memory_by_part, analysis.memory_by_part)
    assert not analysis.memory_by_part.empty
    assert list(leaderboard(twice).rows["peak_mib"]) == list(leaderboard(analysis).rows["peak_mib"])


def test_several_workloads_have_one_leaderboard(tuned: StudyAnalysis) -> None:
    together = comparable(tuned.analyses)
    assert len(together) == 2
    assert all(each.section.tuned for each in together)
    board = overall_leaderboard(together, [leaderboard(each) for each in together])
    assert board["name"].tolist()[0] == "adam"
    assert board["num_workloads"].tolist() == [2] * 4
    best = board.iloc[0]
    assert (best["ratio"], best["low"], best["high"]) == (1.0, 1.0, 1.0)
    assert (board["ratio"].iloc[1:] > 1).all()
    assert comparable(tuned.analyses[:1]) == []


ratios = st.floats(1e-3, 1e3)


@given(st.lists(st.tuples(ratios, ratios, ratios), min_size=2, max_size=6))
def test_bars_lie_on_the_axis_and_hold_their_ratio(numbers: list[tuple[float, float, float]]) -> None:
    values = [Relative(b, a, c) for a, b, c in map(sorted, numbers)]
    axis = Axis.of(values)
    assert axis is not None
    for value in values:
        bar = axis.bar(value)
        assert bar is not None
        assert 0 <= bar.low <= bar.at <= bar.high <= 100
        assert bar.cut_low == (value.low < axis.low)
        assert bar.cut_high == (value.high > axis.high)
    assert [text for _, text in axis.ticks].count("1") == 1
    assert 3 <= len(axis.ticks) <= 5


def test_bars_without_limits_are_drawn_open() -> None:
    axis = Axis(0.5, 8.0)
    at_least = axis.bar(Relative(2.0, 0.0, math.inf, "at least"))
    assert at_least is not None
    assert (at_least.low, at_least.high, at_least.cut_low, at_least.cut_high) == (50.0, 100.0, False, True)
    unknown = axis.bar(Relative(2.0, math.nan, math.nan))
    assert unknown is not None
    assert (unknown.low, unknown.high, unknown.cut_low, unknown.cut_high) == (50.0, 50.0, False, False)
    assert axis.bar(Relative()) is None
    assert Axis.of([Relative(1.0), Relative()]) is None


def test_the_view_holds_what_the_table_holds(tuned: StudyAnalysis, tmp_path: Path) -> None:
    analysis = tuned.analyses[0]
    palette = dict.fromkeys(("adam", "nadam", "rmsprop", "sgd"), (0.1, 0.2, 0.3))
    view = board_view(analysis, leaderboard(analysis), palette)
    assert [line.name for line in view.rows] == view.table["optimizer"].tolist()
    assert all(len(line.cells) == len(view.headings) <= 4 for line in view.rows)
    assert view.rows[0].colour == "#1a334c"
    assert view.headline == headline(analysis, leaderboard(analysis))
