"""What is wrong with a run is named, and no healthy run is accused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled_runs
import numpy as np
import pandas as pd
import pytest
from labelled_runs import RUNS, Labelled

from bench import tables
from bench.analysis.diagnosis import diagnose, grouped, with_override
from bench.analysis.finding_rules import RULES, gradient_flow
from bench.analysis.findings import NOTE, PROBLEM, Case, Finding
from bench.analysis.study import StudyAnalysis
from bench.cli import diagnose as command


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[Finding]]]:
    """The findings of each labelled run, by entry."""
    folder, found = tmp_path_factory.mktemp("labelled"), {}
    for labelled in RUNS:
        made = labelled_runs.make(labelled, folder)
        analysis = StudyAnalysis(tables.load(made.path), made.path).analyses[0]
        runs = analysis.section.runs["run_id"]
        found[labelled.name] = [[each for each in analysis.findings if each.run_id == run] for run in runs]
    return found


FAULTY = [labelled for labelled in RUNS if labelled.labels]


def test_nine_faults_in_ten_are_named_right(named: dict[str, list[list[Finding]]]) -> None:
    right = [
        bool(labelled.labels & {finding.rule for finding in findings})
        for labelled in FAULTY
        for findings in named[labelled.name]
    ]
    assert len(right) == 26
    assert np.mean(right) >= 0.9


@pytest.mark.parametrize("labelled", [labelled for labelled in RUNS if not labelled.labels], ids=lambda each: each.name)
def test_no_healthy_run_is_accused(labelled: Labelled, named: dict[str, list[list[Finding]]]) -> None:
    for findings in named[labelled.name]:
        assert [finding for finding in findings if finding.kind == PROBLEM] == []


def test_few_other_problems_are_named_beside_the_fault(named: dict[str, list[list[Finding]]]) -> None:
    others = [
        finding.rule
        for labelled in FAULTY
        for findings in named[labelled.name]
        for finding in findings
        if finding.kind == PROBLEM and finding.rule not in labelled.labels
    ]
    assert len(others) <= 3, others


def case(runs: dict[str, Any], losses: Any = None, diagnostics: Any = None) -> Case:
    run = pd.Series({"run_id": "r", "status": "ok", "lr": 0.1, "loss": "mse", "batch_size": 8, **runs})
    return Case(run, losses or {}, diagnostics or {})


def constant(value: float) -> pd.Series:
    return pd.Series(value, index=[10, 20, 30, 40, 50])


@pytest.mark.parametrize(
    ("factor", "rule"), [(1e-4, "vanishing gradients"), (1e4, "exploding gradients"), (0.1, None), (10, None)]
)
def test_gradients_that_grow_or_shrink_on_their_way_are_told_apart(factor: float, rule: str | None) -> None:
    sizes = {"first": factor, "middle": 1.0, "last": 1.0}
    records = {("gradient_norm", layer): constant(value) for layer, value in sizes.items()}
    records |= {("weight_norm", layer): constant(1.0) for layer in sizes}
    found = list(gradient_flow(case({}, diagnostics=records)))
    assert [finding.rule for finding in found] == ([rule] if rule else [])
    assert all(finding.layer == "first" for finding in found)


@pytest.mark.parametrize(
    ("run", "name", "value"),
    [
        ({"optimizer_target": "torch.optim.SGD", "hp_momentum": 0.0}, "sharpness", 20.0),
        ({"optimizer_target": "torch.optim.SGD", "hp_momentum": 0.9}, "sharpness", 38.0),
        ({"optimizer_target": "torch.optim.Adam", "hp_betas": "[0.9, 0.999]"}, "preconditioned_sharpness", 380.0),
    ],
)
def test_the_edge_of_stability_lies_where_it_is_derived(run: dict[str, Any], name: str, value: float) -> None:
    def noted(factor: float) -> list[str]:
        records = {(name, ""): constant(factor * value)}
        return [finding.rule for finding in RULES["edge_of_stability"](case(run, diagnostics=records))]

    assert noted(1.0) == ["edge of stability"]
    assert noted(0.5) == []
    assert noted(3.0) == []


def test_a_run_without_diagnostics_is_judged_by_its_curves_alone() -> None:
    steps = range(0, 101, 10)
    rows = [("r", step, split, "loss", 2.3 - 0.002 * step) for step in steps for split in ("train", "val")]
    curves = pd.DataFrame(rows, columns=["run_id", "step", "split", "metric", "value"])
    runs = case({"class_counts": json.dumps([10] * 10)}).run.to_frame().T
    found = diagnose(runs, curves, pd.DataFrame())
    assert [finding.rule for finding in found] == ["learning rate too low"]
    assert found[0].override == "optimizer.lr=1"


def test_seeds_of_a_setting_stand_together_and_problems_before_notes() -> None:
    runs = pd.DataFrame(
        {"run_id": ["a", "b", "c"], "series": ["x", "x", "y"], "command": "python -m bench optimizer.lr=1"}
    )
    note = Finding("c", "always clipped", NOTE, "seen", "advice")
    both = [Finding(run, "diverged", PROBLEM, "seen", "advice", override="optimizer.lr=0.1") for run in "ab"]
    groups = grouped([note, *both], runs)
    assert [(group.series, group.num, group.num_runs) for group in groups] == [("x", 2, 2), ("y", 1, 1)]
    assert groups[0].command == "python -m bench optimizer.lr=0.1"


def test_a_command_is_changed_in_one_key() -> None:
    typed = "python -m bench optimizer=adam +optimizer.lr=0.1 optimizer.lr_decay=3 'seeds=[2]' force=true"
    assert (
        with_override(typed, "optimizer.lr=1")
        == "python -m bench optimizer=adam optimizer.lr_decay=3 'seeds=[2]' optimizer.lr=1"
    )
    assert with_override("bench.compare(...) in Python, with seed 1", "optimizer.lr=1") == ""
    assert with_override(typed, "") == ""


def test_the_command_says_what_was_seen_and_what_to_type(
    cli: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli(
        "optimizer=sgd",
        "optimizer.lr=1e-4,0.3",
        "train.steps=200",
        "seeds=2",
        "study=s",
        "memory=false",
        "diagnostics=light",
        "-m",
    )
    assert command.main(["results/s"]) == 0
    out = capsys.readouterr().out
    assert "sgd lr=0.0001, 2 of 2 runs: learning rate too low" in " ".join(out.split())
    assert "optimizer.lr=0.001" in out
    assert "lr=0.3" not in out
    assert command.main(["results/s", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["rule"] for finding in found} == {"learning rate too low"}
    run = found[0]["run_id"]
    assert command.main(["results/s", "--run", run]) == 0
    assert "1 of 2 runs" in capsys.readouterr().out
    page = Path("reports/s/index.html").read_text()
    assert "What stands out, and what to try" in page
    assert "learning rate too low" not in page, "the best setting of sgd has no such problem"
    for name in ("diagnostics", "layers-gradient-norm", "layers-update-to-weight"):
        assert Path(f"reports/s/figures/{name}.svg").is_file()


def test_the_terminal_and_the_page_say_what_stands_out_of_the_best_settings(
    cli: Callable[..., Any], folder: Path
) -> None:
    done = cli("optimizer=adam,sgd", "study=s", "memory=false", "-m")
    said = " ".join(done.out.split())
    assert "What stands out: sgd: learning rate too low. python -m bench.diagnose results/s says why" in said
    page = Path("reports/s/index.html").read_text()
    assert "learning rate too low" in page
    assert "optimizer.lr=0.01" in page


def test_what_is_no_study_or_run_is_one_sentence(
    cli: Callable[..., Any], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["results/none"]) == 2
    cli("train.steps=5", "seeds=[0]", "study=s", "memory=false", "report=false")
    capsys.readouterr()
    assert command.main(["results/s", "--run", "x"]) == 2
    assert capsys.readouterr().err.startswith("bench.diagnose: --run must be the run_id of a run of results/s, got x")
