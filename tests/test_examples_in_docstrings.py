"""The examples in docstrings run, and give what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

MUST_HAVE_EXAMPLES = {
    "bench.analysis.bounds": ["effect", "p_above", "p_two_sided"],
    "bench.analysis.comparisons": ["paired_ratios", "indistinguishable_groups"],
    "bench.analysis.inference": ["mean_interval", "holm", "probability_better", "sign_test"],
    "bench.analysis.power": ["seeds_needed", "detectable_ratio"],
    "bench.analysis.profiles": ["performance_profile", "profile_score", "pareto_front"],
    "bench.analysis.quality": ["is_undisturbed"],
    "bench.analysis.paired": ["ratio_row"],
    "bench.analysis.targets": ["steps_to_target"],
    "bench.analysis.tuning": ["best_of_k", "basin_width"],
    "bench.claims.verdict": ["verdict", "whole"],
}
"""Public functions that show how they are called, by module."""


def modules_with_examples() -> list[str]:
    files = [path for package in ("bench", "optimizers", "models") for path in (ROOT / package).rglob("*.py")]
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in files if ">>> " in path.read_text("utf-8")]
    return sorted(".".join(part for part in names if part != "__init__") for names in parts)


def examples_of(module: ModuleType) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_give_what_they_say(name: str) -> None:
    tests = examples_of(importlib.import_module(name))
    assert tests, "doctest finds none of its examples"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


@pytest.mark.parametrize("name", MUST_HAVE_EXAMPLES)
def test_public_statistics_have_examples(name: str) -> None:
    shown = {test.name for test in examples_of(importlib.import_module(name))}
    assert {f"{name}.{function}" for function in MUST_HAVE_EXAMPLES[name]} <= shown
