"""The numbers of the interactive chart, and the script that draws it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import tuned_study

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.plots.palette import colors
from bench.report import explorer
from bench.report.study.render import write_report


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyAnalysis:
    folder = tuned_study(tmp_path_factory.mktemp("explorer") / "results" / "s")
    return StudyAnalysis(tables.load(folder), folder)


def test_curves_are_the_medians_and_ranges_of_the_tables(study: StudyAnalysis) -> None:
    for found in study.analyses:
        runs = found.section.runs
        data = json.loads(explorer.explorer_data(found, colors(runs["optimizer"])))
        assert data["title"] == found.section.title
        assert {each["name"] for each in data["series"]} == set(runs["series"])
        assert [each["name"] for each in data["series"] if each["best"]] == list(found.leaders)
        for each in data["series"]:
            own = found.curves[found.curves["run_id"].isin(runs.loc[runs["series"] == each["name"], "run_id"])]
            values = own[(own["split"] == "val") & (own["metric"] == "loss")].groupby("step")["value"]
            curve = each["curves"]["val loss"]
            kept = [list(values.median().index).index(step) for step in data["arrays"][curve["step"]]]
            assert len(data["arrays"][curve["time"]]) == len(kept)
            for name, expected in (("median", values.median()), ("low", values.min()), ("high", values.max())):
                assert curve[name] == pytest.approx(expected.to_numpy()[kept], rel=1e-3), name
            assert ("runs" in curve) == each["best"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.sampled_from([4, 10, 80]))
def test_thinning_keeps_ends_and_extremes(values: list[float], most: int) -> None:
    kept = explorer.thinned(np.array(values), most)
    assert len(kept) <= max(most + 2, 0) and list(kept) == sorted(set(kept))
    assert {0, len(values) - 1} <= set(kept)
    assert {min(values), max(values)} <= {values[i] for i in kept}


@given(st.text())
def test_names_from_files_stay_text(name: str) -> None:
    for text in (name, f"</script>{name}<!--<script>"):
        written = explorer.script_json({text: text})
        assert "<" not in written and json.loads(written) == {text: text}


def test_the_library_is_bundled_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    explorer.chart_library.cache_clear()
    text = explorer.chart_library()
    assert "vegaEmbed" in text and not re.search("</script", text, re.IGNORECASE)
    (kept,) = (tmp_path / "optbench").iterdir()
    assert kept.read_text(encoding="utf-8") == text
    explorer.chart_library.cache_clear()
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda snippet: pytest.fail("it is there"))
    assert explorer.chart_library() == text
    explorer.chart_library.cache_clear()


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optbench").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    explorer.chart_library.cache_clear()
    assert "vegaEmbed" in explorer.chart_library()
    explorer.chart_library.cache_clear()


def test_a_report_without_charts_carries_no_library(study: StudyAnalysis, tmp_path: Path) -> None:
    write_report(study, tmp_path / "with")
    with_it = (tmp_path / "with" / "index.html").read_text(encoding="utf-8")
    assert "vegaEmbed" in with_it and "'unsafe-eval'" in with_it
    bare = study.study._replace(curves=study.study.curves.head(0), runs=study.study.runs.head(1))
    lone = tmp_path / "lone"  # without side tables, of which charts are made
    lone.mkdir()
    write_report(StudyAnalysis(bare, lone), tmp_path / "without")
    without = (tmp_path / "without" / "index.html").read_text(encoding="utf-8")
    assert "vegaEmbed" not in without and "unsafe-eval" not in without
    assert len(with_it) < 3_000_000
