"""Interactive charts hold the numbers of the tables that their figures are made from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import side_tables, tuned_study

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.analysis.tuning import basin_width, learning_rate_sensitivity, sensitivity
from bench.plots.palette import colors
from bench.report import charts


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> StudyAnalysis:
    study = tuned_study(tmp_path_factory.mktemp("charts") / "results" / "s")
    side_tables(study)
    return StudyAnalysis(tables.load(study), study)


def test_rates_in_the_basin_are_marked(found: StudyAnalysis) -> None:
    trials = found.analyses[0].section.trials
    table = sensitivity(trials, "best_val_loss")
    basins = basin_width(learning_rate_sensitivity(trials, "best_val_loss"))
    data = json.loads(charts.sensitivity_chart(table, basins, "best val loss", colors(trials["optimizer"])))
    assert len(data["rows"]) == len(table)
    for row, (_, wanted) in zip(data["rows"], table.iterrows(), strict=True):
        assert (
            row["value"] is None
            if pd.isna(wanted["value"])
            else row["value"] == pytest.approx(wanted["value"], rel=1e-4)
        )
    widths = basins.set_index("setting")
    for row in data["rows"]:
        inside = widths.loc[row["name"], "low_lr"] <= row["lr"] <= widths.loc[row["name"], "high_lr"]
        assert row["basin"] == bool(inside)
    assert any(row["basin"] for row in data["rows"]) and not all(row["basin"] for row in data["rows"])


def test_runs_that_did_not_reach_the_target_stand_at_their_budget(found: StudyAnalysis) -> None:
    analysis = found.analyses[0]
    runs = analysis.steps_to_target
    data = json.loads(charts.targets_chart(runs, analysis.leaders, colors(runs["optimizer"])))
    assert [row["reached"] for row in data["rows"]] == [
        "reached" if each else "not reached" for each in runs["reached"]
    ]
    steps = np.where(runs["reached"], runs["crossed_at"], runs["censored_at"]).astype(float)
    assert [row["steps"] for row in data["rows"]] == pytest.approx(steps.tolist(), rel=1e-4)


def test_parts_of_memory_add_up(found: StudyAnalysis) -> None:
    memory = found.analyses[0].memory_by_part
    data = json.loads(charts.memory_chart(memory, {name: name for name in memory["series"]}))
    for row in memory.itertuples():
        parts = [each["value"] for each in data["rows"] if each["name"] == row.series]
        assert sum(parts) == pytest.approx(row.peak_mib, rel=1e-3)


def test_nothing_to_draw_is_no_chart(found: StudyAnalysis) -> None:
    palette = colors(["adam"])
    empty = found.analyses[0].against_defaults.iloc[:0]
    assert charts.defaults_chart(empty, palette) == ""
    assert charts.sensitivity_chart(pd.DataFrame(), pd.DataFrame(), "loss", palette) == ""
    one = pd.DataFrame({"series": ["adam"], "optimizer": ["adam"], "x": [1.0], "y": [2.0]})
    assert charts.pareto_chart(one, {"x": "x", "y": "y"}, palette, ("x", "y")) == ""


def test_a_name_cannot_end_the_script(found: StudyAnalysis) -> None:
    table = pd.DataFrame(
        {"series": ["</script>", "b"], "optimizer": ["adam", "adam"], "x": [1.0, 2.0], "y": [2.0, 1.0]}
    )
    data = charts.pareto_chart(table, {"x": "<x>", "y": "y"}, colors(["adam"]), ("x", "y"))
    assert "<" not in data and json.loads(data)["rows"][0]["name"] == "</script>"


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"series": ["a", "b", "c"], "optimizer": ["adam"] * 3, "x": [1.0, np.inf, 2.0], "y": [2.0, 1.0, np.nan]}
    )
    table = pd.concat([table, table.iloc[:1].assign(series="d")])
    rows = json.loads(charts.pareto_chart(table, {"x": "x", "y": "y"}, colors(["adam"]), ("x", "y")))["rows"]
    assert [row["x"] for row in rows] == [1, None, 2, 1] and rows[2]["y"] is None
