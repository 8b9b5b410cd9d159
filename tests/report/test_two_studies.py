"""Two studies: what is found worse, what is not, and what the exit status says."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import tables
from bench.analysis import study_diff
from bench.analysis.study_diff import compare_studies
from bench.base.errors import UserError
from bench.cli.compare import main
from bench.report import study_diff as report_study_diff

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(5)
NOISE = [0.004, -0.003, 0.001, -0.002, 0.0005]
"""Of the log-ratios, a seed each."""


def study(folder: Path, runs: list[dict[str, Any]]) -> Path:
    for number, changes in enumerate(runs):
        cell = changes.get("cell_id", f"{changes['optimizer']}-cell")
        row: dict[str, Any] = {
            "run_id": f"{cell}-{changes['seed']}-{changes.get('environment_id', 'e')}", "cell_id": cell, "environment_id": "e",
            "study": "s", "stage": "single", "status": "ok", "workload": "mlp on digits, batch 64", "workload_id": "w",
            "budget": "2 epochs", "model": "mlp", "model_options": "{}", "data": "digits", "data_options": "{}",
            "data_fingerprint": "f", "loss": "cross_entropy", "implementation": "forloop", "settings": "default",
            "schedule": "constant", "device": "cpu", "precision": "fp32", "lr": 0.001, "batch_size": 64, "num_threads": 1,
            "final_val_loss": 0.5 + 0.1 * changes["seed"], "step_ms": 1.0, "peak_tensors_mib": 10.0, "launcher": "local",
            "timing_quality": "clean", "cpu": "Some CPU", "num_cores": 2, "torch_version": "2.15.0", "python_version": "3.11.7",
            "started_at": f"2026-01-01T00:00:{number:02}", "command": "python -m bench", **changes,
        }  # fmt: skip
        loss = row["final_val_loss"]
        points = [] if loss is None else [(0, 0.0, "val", "loss", 2.0, 0.0), (20, 1.0, "val", "loss", loss, 0.1)]
        tables.write_run(folder, row, points, {})
    return folder


def runs(optimizer: str = "adam", **columns: Any) -> list[dict[str, Any]]:
    """A run a seed; a column is one value, or a function of the seed."""
    return [
        {"optimizer": optimizer, "seed": s, **{k: v(s) if callable(v) else v for k, v in columns.items()}}
        for s in SEEDS
    ]


def scaled(ratio: float, base: float = 0.5) -> Any:
    """Losses that are the first study's times a ratio, a little different for each seed."""
    return lambda seed: (base + 0.1 * seed) * ratio * math.exp(NOISE[seed])


def verdicts(found: study_diff.TwoStudies) -> dict[tuple[str, str], Any]:
    return {(row.series, row.quantity): row.verdict for row in found.comparisons.itertuples()}


def compared(tmp_path: Path, a: list[dict[str, Any]], b: list[dict[str, Any]], tolerance: float = 0.05) -> Any:
    studies = [tables.load(study(tmp_path / name, rows)) for name, rows in (("a", a), ("b", b))]
    return compare_studies(studies[0], studies[1], tolerance)


def test_the_same_runs_are_the_same(tmp_path: Path) -> None:
    found = compared(tmp_path, runs() + runs("sgd"), runs() + runs("sgd"))
    assert set(verdicts(found).values()) == {"same"}
    assert (found.num_paired, found.num_identical) == (10, 10)
    assert found.only == ([], [])


def test_interval_and_p_are_those_of_scipy(tmp_path: Path) -> None:
    found = compared(tmp_path, runs(), runs(final_val_loss=scaled(1.2)))
    row = found.comparisons.query("quantity == 'loss'").iloc[0]
    logs = math.log(1.2) + np.array(NOISE)
    interval = scipy_stats.ttest_1samp(logs, 0).confidence_interval()
    assert [row["ratio_low"], row["ratio_high"]] == pytest.approx(np.exp([interval.low, interval.high]))
    assert row["ratio"] == pytest.approx(1.2 * math.exp(np.mean(NOISE)))
    assert row["p"] == pytest.approx(scipy_stats.ttest_1samp(logs, math.log1p(0.05)).pvalue)
    assert row["verdict"] == "worse"
    assert found.num_identical == 0


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.2, "worse"), (0.8, "better"), (1.0, "no difference"), (1.02, "no difference"), (1.05, "cannot tell")],
)
def test_verdicts_of_losses(tmp_path: Path, ratio: float, verdict: str) -> None:
    assert verdicts(compared(tmp_path, runs(), runs(final_val_loss=scaled(ratio))))["adam", "loss"] == verdict


def test_what_varies_more_than_it_differs_cannot_be_told(tmp_path: Path) -> None:
    found = compared(tmp_path, runs(), runs(final_val_loss=lambda s: (0.5 + 0.1 * s) * (2.0 if s % 2 else 0.7)))
    assert verdicts(found)["adam", "loss"] == "cannot tell"


def test_many_comparisons_are_allowed_for(tmp_path: Path) -> None:
    """p = .03 of one cell among ten alike is no finding."""
    step = 0.0
    for candidate in np.linspace(0.001, 0.2, 400):
        logs = math.log1p(0.05) + candidate + 10 * np.array(NOISE)
        if scipy_stats.ttest_1samp(logs, math.log1p(0.05)).pvalue < 0.03:
            step = float(candidate)
            break
    loss = lambda s: (0.5 + 0.1 * s) * math.exp(math.log1p(0.05) + step + 10 * NOISE[s])  # noqa: E731
    alone = compared(tmp_path / "one", runs(), runs(final_val_loss=loss))
    assert verdicts(alone)["adam", "loss"] == "worse"
    others = [run for i in range(9) for run in runs(f"o{i}")]
    among = compared(tmp_path / "ten", runs() + others, runs(final_val_loss=loss) + others)
    assert verdicts(among)["adam", "loss"] == "cannot tell"
    assert among.comparisons.query("quantity == 'loss'")["p"].notna().sum() == 10


@given(
    logs=st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=8).filter(lambda x: np.std(x) > 1e-6),
    tolerance=st.floats(0, 0.3),
)
def test_p_is_below_5_percent_just_where_the_interval_lies_beyond_the_tolerance(
    logs: list[float], tolerance: float
) -> None:
    x = np.array(logs)
    interval = scipy_stats.ttest_1samp(x, 0).confidence_interval()
    edge = math.log1p(tolerance)
    beyond = interval.low > edge or interval.high < -edge
    p = study_diff._p_beyond(x, tolerance)
    assert 0 <= p <= 1
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == beyond
    assert study_diff._p_beyond(-x, tolerance) == pytest.approx(p)


@given(seed=st.integers(0, 2**32 - 1), shift=st.floats(-0.3, 0.3))
def test_swapping_the_studies_turns_ratios_over(tmp_path_factory: Any, seed: int, shift: float) -> None:
    random = np.random.RandomState(seed)
    cell = [
        {"seed": s, "status": "ok", "side": side, "cell_id": "c", "final_val_loss": math.exp(random.randn() + shift * (side == "b")),
         "step_ms": 1.0, "timing_quality": "clean", "launcher": "local"}
        for s in range(5) for side in "ab"
    ]  # fmt: skip
    frame = pd.DataFrame(cell)
    swapped = frame.assign(side=frame["side"].map({"a": "b", "b": "a"}))
    one, other = (next(iter(study_diff._cell("w", "s", part, 0.05))) for part in (frame, swapped))
    assert one["ratio"] == pytest.approx(1 / other["ratio"])  # type: ignore[operator]
    assert one["ratio_low"] == pytest.approx(1 / other["ratio_high"])  # type: ignore[operator]
    assert one["p"] == pytest.approx(other["p"])


def test_a_run_that_no_longer_ends_ok_is_lost(tmp_path: Path) -> None:
    gone = {"status": "diverged", "final_val_loss": None, "reason": "loss not finite"}
    after = [run | (gone if run["seed"] == 3 else {}) for run in runs()]
    found = compared(tmp_path, runs(), after)
    assert verdicts(found)["adam", "loss"] == "lost"
    assert found.num_identical == 4
    assert "1 run no longer ok" in report_study_diff.conclusion(found, 0.05, ["loss"])
    back = compared(tmp_path / "back", after, runs())
    assert verdicts(back)["adam", "loss"] == "same"
    assert back.comparisons.query("quantity == 'loss'")["num_regained"].tolist() == [1]


def test_times_that_were_disturbed_or_made_side_by_side_do_not_count(tmp_path: Path) -> None:
    slow = scaled(2.0, base=1.0)
    for name, disturbed in (("contended", {"timing_quality": "contended"}), ("pool", {"launcher": "pool"})):
        found = compared(tmp_path / name, runs(), runs(step_ms=slow, **disturbed))
        row = found.comparisons.query("quantity == 'time'").iloc[0]
        assert row["num_pairs"] == 0
        assert row["verdict"] is None or row["verdict"] != row["verdict"]
    assert verdicts(compared(tmp_path / "clean", runs(), runs(step_ms=slow)))["adam", "time"] == "worse"


def test_memory_is_one_number_a_cell(tmp_path: Path) -> None:
    found = compared(tmp_path, runs() + runs("sgd"), runs(peak_tensors_mib=10.2) + runs("sgd", peak_tensors_mib=12.0))
    memory = found.comparisons.query("quantity == 'memory'").set_index("series")
    assert memory["num_pairs"].tolist() == [1, 1]
    assert memory["ratio"].tolist() == pytest.approx([1.02, 1.2])
    assert memory["verdict"].tolist() == ["no difference", "worse"]


def test_gpu_memory_stands_in_where_tensors_were_not_measured(tmp_path: Path) -> None:
    before = runs(peak_tensors_mib=None, peak_allocated_mib=lambda s: 100.0 + s / 10)
    after = runs(peak_tensors_mib=None, peak_allocated_mib=lambda s: 130.0 + s / 10)
    row = compared(tmp_path, before, after).comparisons.query("quantity == 'memory'").iloc[0]
    assert (row["column"], row["num_pairs"], row["verdict"]) == ("peak_allocated_mib", 5, "worse")


def test_what_only_one_has_is_listed_and_predictions_are_not(tmp_path: Path) -> None:
    found = compared(tmp_path, runs() + runs("sgd"), runs() + runs("rmsprop") + runs("nadam", stage="predicted"))
    assert [[line.rpartition(": ")[2] for line in side] for side in found.only] == [
        ["sgd (5 seeds)"],
        ["rmsprop (5 seeds)"],
    ]


def test_other_data_under_the_same_configuration_does_not_compare(tmp_path: Path) -> None:
    """A cell does not know its data's values: what is trained on others stands on one side only."""
    other = runs(workload_id="other", data_fingerprint="g")
    with pytest.raises(UserError, match="must hold runs on the data of STUDY_A"):
        compared(tmp_path / "all", runs(), other)
    found = compared(tmp_path / "some", runs() + runs("sgd"), other + runs("sgd"))
    assert set(found.comparisons["series"]) == {"sgd"}
    assert [len(side) for side in found.only] == [1, 1]


def test_other_seeds_of_the_same_cells_do_not_compare(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least one seed of a cell"):
        compared(tmp_path, runs()[:2], runs()[2:])


def test_trials_alone_do_not_compare(tmp_path: Path) -> None:
    trials = runs(stage="tune", trial=0)
    with pytest.raises(UserError, match="more than trials with STUDY_A, got trials of a sweep only"):
        compared(tmp_path, trials, trials)


def test_what_could_not_be_compared_is_said(tmp_path: Path) -> None:
    found = compared(tmp_path, runs(peak_tensors_mib=None), runs(peak_tensors_mib=None))
    said = report_study_diff.conclusion(found, 0.05, ("loss", "memory"))
    assert "Not compared: peak memory of 1 of 1 cells." in said
    assert "Not compared" not in report_study_diff.conclusion(found, 0.05, ("loss",))


def test_the_newest_of_several_environments_counts(tmp_path: Path) -> None:
    twice = runs() + runs(environment_id="f", final_val_loss=scaled(3.0), started_at="2026-02-01T00:00:00")
    found = compared(tmp_path, runs(), twice)
    assert verdicts(found)["adam", "loss"] == "worse"
    assert any("5 runs made again" in note for note in found.notes)


# --- command --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "options", "status"),
    [
        ({}, [], 0),
        ({"final_val_loss": scaled(1.2)}, [], 1),
        ({"final_val_loss": scaled(1.2)}, ["--tolerance", "0.5"], 0),
        ({"final_val_loss": scaled(1.2)}, ["--fail-on", "memory"], 0),
        ({"final_val_loss": scaled(0.8)}, [], 0),
        ({"step_ms": scaled(2.0, 1.0)}, [], 0),
        ({"step_ms": scaled(2.0, 1.0)}, ["--fail-on", "loss,time"], 1),
        ({"peak_tensors_mib": 12.0}, [], 1),
        ({"status": "failed", "final_val_loss": None}, [], 1),
    ],
)
def test_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], options: list[str], status: int
) -> None:
    paths = [str(study(tmp_path / name, rows)) for name, rows in (("a", runs()), ("b", runs(**changes)))]
    assert main([*paths, *options]) == status, capsys.readouterr().out
    out = capsys.readouterr().out
    assert f"A: {paths[0]} (Some CPU, 2 cores, torch 2.15.0" in out
    assert main([*paths, *options, "--json"]) == status
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert said["exit_status"] == status and said["studies"] == paths
    found = compare_studies(*map(tables.load, paths), said["tolerance"]).comparisons
    assert [row["verdict"] for row in said["comparisons"]] == found["verdict"].astype(object).where(
        found["verdict"].notna(), None
    ).tolist()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["A", "nowhere"], "found none at nowhere"),
        (["nowhere", "A"], "found none at nowhere"),
        (["A", "A", "--tolerance", "much"], "--tolerance must be a finite number of at least 0, got much"),
        (["A", "A", "--tolerance", "-1"], "--tolerance must be a finite number of at least 0, got -1"),
        (["A", "A", "--tolerance", "nan"], "--tolerance must be"),
        (["A", "A", "--fail-on", "loss,speed"], "--fail-on must be a list of loss, time, memory, got speed"),
        (["A", "OTHER"], "must share at least one cell"),
        (["A", "A", "--out", "missing/x.md"], "--out must be a file that can be written, got missing/x.md"),
    ],
)
def test_refusals_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    study(Path("A"), runs())
    study(Path("OTHER"), runs("sgd"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_markdown_has_a_table_a_workload(tmp_path: Path) -> None:
    paths = [str(study(tmp_path / name, rows)) for name, rows in (("a", runs()), ("b", runs() + runs("sgd")))]
    assert main([*paths, "--out", str(tmp_path / "x.md")]) == 0
    page = (tmp_path / "x.md").read_text()
    assert "## mlp on digits, batch 64, 2 epochs, cpu" in page
    assert "| adam | 1 (5 pairs) same | 1 (5 pairs) same | 1 same |" in page
    assert "## Only in B" in page


def test_the_command_imports_no_torch_and_works_where_a_folder_shadows_a_package(tmp_path: Path) -> None:
    paths = [str(study(tmp_path / name, runs())) for name in "ab"]
    (tmp_path / "pandas.py").write_text("raise RuntimeError('shadowed')")
    code = (
        "import atexit, runpy, sys; sys.argv = ['bench.compare', *sys.argv[1:]]\n"
        "atexit.register(lambda: print('heavy:', {'torch', 'hydra'} & set(sys.modules)))\n"
        "runpy.run_module('bench.compare', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *paths],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "all with bit-identical curves" in done.stdout
    assert "heavy: set()" in done.stdout


def test_a_page_stands_alone_with_its_figure_chart_and_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study(Path("A"), runs())
    study(Path("B"), runs())
    assert main(["A", "B", "--out", "changes.html"]) == 0
    text = Path("changes.html").read_text()
    assert "Nothing is significantly worse by more than 5 %." in text and "B relative to A" in text
    assert text.count("<figure id=") == 1 and "data-chart=" in text and 'src="data:image/svg+xml' in text
    assert "http://" not in text.replace("http://www.w3.org", "") and 'rel="stylesheet"' not in text
