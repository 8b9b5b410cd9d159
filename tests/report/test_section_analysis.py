"""The numbers of a section are computed once, whoever shows them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import made_up
import pytest

from bench import tables
from bench.analysis import comparisons, section, sections, tuning
from bench.analysis.section import SectionAnalysis
from bench.analysis.study import StudyAnalysis
from bench.report.study.render import write_report


def test_a_report_computes_the_numbers_of_a_section_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tables.load(made_up.tuned_study(tmp_path / "s"))
    calls: Counter[str] = Counter()

    def counted(place: Any, name: str) -> None:
        real = getattr(place, name)

        def count(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(place, name, count)

    for name in ("summary", "paired_ratios", "indistinguishable_groups", "step_times"):
        counted(section, name)
    for place in (section, sections, tuning):
        counted(place, "leaders")
    for name in ("tuning_budget", "defaults_against_tuned", "tuned_table"):
        counted(tuning, name)
    write_report(StudyAnalysis(study, tmp_path / "s"), tmp_path / "report")
    num_sections = len(list(sections.sections(study.runs)))
    assert num_sections == 2
    assert calls.pop("tuned_table") == 1  # of the tuned one
    assert calls.pop("tuning_budget") == 1
    assert set(calls.values()) == {num_sections}, calls


def test_they_are_those_of_the_functions(tmp_path: Path) -> None:
    study = tables.load(made_up.tuned_study(tmp_path / "s"))
    for part in sections.sections(study.runs):
        found = SectionAnalysis(part, study.curves)
        assert found.leaders == sections.leaders(part.runs) and len(found.leaders) == 4
        pairs = comparisons.paired_ratios(part.runs, found.leaders)
        assert found.pairs.equals(pairs) and len(pairs) == 6
        assert found.best_settings.equals(tuning.tuned_table(part.runs))
        assert found.against_defaults.equals(tuning.defaults_against_tuned(part))
        assert sorted({name for group in found.groups for name in group}) == sorted(found.leaders)


def test_a_section_of_trials_only_has_no_leaders(tmp_path: Path) -> None:
    runs = tables.load(made_up.tuned_study(tmp_path / "s")).runs
    found = SectionAnalysis(next(sections.sections(runs[runs["stage"] == "tune"])))
    assert found.leaders == [] and found.groups == [] and found.target is None
    assert found.pairs.empty and found.against_defaults.empty
    assert list(found.budget["num_trials"]) == [6] * 4
