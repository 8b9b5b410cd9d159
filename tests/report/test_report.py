"""Pages: one offline file, true in every corner, quick, and rebuilt at any time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench import tables
from bench.analysis.leaderboard import leaderboard
from bench.analysis.study import StudyAnalysis
from bench.report import __main__ as command
from bench.report.explorer import chart_library
from bench.report.study.render import write_report


def make_study(folder: Path, runs: list[dict[str, Any]]) -> Path:
    study = folder / "results" / "s"
    for number, changes in enumerate(runs):
        row: dict[str, Any] = {
            "run_id": f"{changes['optimizer']}{changes.get('lr', 0.001)}-{changes.get('seed', 0)}-{changes.get('environment_id', 'e')}",
            "cell_id": f"{changes['optimizer']}{changes.get('lr', 0.001)}", "environment_id": "e", "study": "s", "stage": "single",
            "status": "ok", "workload": "mlp on digits, batch 64", "workload_id": "w", "budget": "2 epochs", "model": "mlp",
            "model_options": "{}", "data": "digits", "data_options": "{}", "data_fingerprint": "f", "loss": "cross_entropy",
            "implementation": "forloop", "settings": "default", "schedule": "constant", "device": "cpu", "precision": "fp32",
            "lr": 0.001, "seed": 0, "batch_size": 64, "num_threads": 1, "num_parameters": 9, "num_train": 10, "num_val": 5,
            "num_test": 5, "num_steps_budget": 20, "num_steps": 20, "final_val_loss": 0.5 + 0.01 * number,
            "final_test_accuracy": 0.9, "step_ms": 1.0, "train_s": 0.02, "peak_rss_mib": 500.0, "cpu": "CPU", "num_cores": 2,
            "os": "Linux", "torch_version": "2.15.0", "python_version": "3.11.7", "command": "python -m bench", **changes,
        }  # fmt: skip
        points = [
            (step, step / 10, split, metric, 2.0 / (step + 1), 0.001 * step)
            for step in (0, 10, 20)
            for split, metric in (("train", "loss"), ("val", "loss"), ("val", "accuracy"), ("test", "accuracy"))
        ]
        tables.write_run(study, row, points, {})
    return study


BOTH = [{"optimizer": o, "seed": s} for o in ("adam", "sgd") for s in (0, 1, 2)]


class Links(HTMLParser):
    """Everything an HTML page would fetch, its text, and its images without a description."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.inner: list[str] = []
        self.bare_images = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {str(values["id"])} if "id" in values else set()
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            value = values.get(key)
            if value and value.startswith("#"):
                self.inner.append(value[1:])
            elif value and not value.startswith("data:"):
                self.fetched.append(value)
        if tag in ("link", "iframe"):
            self.fetched.append(tag)
        if tag == "img" and not values.get("alt"):
            self.bare_images += 1


def report(study: Path, **options: Any) -> Path:
    out = study.parent.parent / "reports" / "s"
    write_report(StudyAnalysis(tables.load(study), study, **options), out)
    return out


def test_one_file_that_fetches_nothing(tmp_path: Path) -> None:
    out = report(make_study(tmp_path, [*BOTH, {"optimizer": "adam", "environment_id": "e2"}]))
    page = (out / "index.html").read_text()
    links = Links(page)
    assert links.fetched == []
    assert set(links.inner) <= links.ids
    assert links.inner, "several sections are listed at the top"
    assert links.bare_images == 0
    assert "url(" not in page.replace(chart_library(), "")
    assert "@import" not in page


def test_what_was_compared_and_how_fairly(tmp_path: Path) -> None:
    out = report(make_study(tmp_path, BOTH))
    for text in ((out / "index.html").read_text(), (out / "report.md").read_text()):
        assert "Compared: adam, sgd; model mlp, 9 parameters, data digits (10 train, 5 val, 5 test" in text
        assert "Budget: 2 epochs, 20 steps of batch 64" in text
        assert "Default settings, untuned" in text
        assert "torch 2.15.0, Python 3.11.7" in text
        assert "3 ok" in text
        assert "adam reaches the lowest validation loss" in text
        assert text.count("python -m bench") >= 6
    names = {path.stem for path in (out / "figures").glob("*.svg")}
    assert names == {"loss-step", "loss-time", "accuracy", "targets", "time", "memory"}
    assert {path.stem for path in (out / "figures").glob("*.png")} == names
    assert {path.name for path in (out / "tables").iterdir()} == {
        "runs.csv",
        "curves.csv",
        "summary.csv",
        "targets.csv",
        "target-comparisons.csv",
        "comparisons.csv",
    }


def test_settings_by_hand_are_said(tmp_path: Path) -> None:
    runs = [{"optimizer": "adam", "seed": s, "lr": lr, "settings": "given"} for s in (0, 1) for lr in (0.1, 0.01)]
    out = report(make_study(tmp_path, runs))
    text = (out / "report.md").read_text()
    assert "Settings given by hand, not tuned with equal budgets; settings tried: adam 2" in text
    assert "chosen on the same seeds as it is shown on" in text
    assert (out / "figures" / "sensitivity.svg").is_file()
    assert "adam lr=0.01" in text


def test_one_seed_cannot_rank_anything(tmp_path: Path) -> None:
    text = (report(make_study(tmp_path, BOTH[::3])) / "index.html").read_text()
    assert "One seed cannot rank anything" in text
    assert "Which differences are significant" not in text


def test_every_status_is_listed_with_its_reason(tmp_path: Path) -> None:
    troubles = [
        {"optimizer": "adam", "seed": i, "status": status, "reason": f"because {status} <b>"}
        for i, status in enumerate(tables.STATUSES)
    ]
    text = (report(make_study(tmp_path, troubles)) / "index.html").read_text()
    for status in tables.STATUSES:
        assert f"because {status} &lt;b&gt;" in text
    assert "Not every run ended ok" in text


def test_a_study_without_an_ok_run_is_reported(tmp_path: Path) -> None:
    unknown = [
        "num_steps",
        "num_steps_budget",
        "num_train",
        "num_parameters",
        "workload_id",
        "data_fingerprint",
        "step_ms",
        "peak_rss_mib",
    ]
    runs = [{"optimizer": "adam", "status": "skipped", **dict.fromkeys(unknown)}]
    assert "No run ended ok" in (report(make_study(tmp_path, runs)) / "report.md").read_text()


def test_where_filters_and_says_so(tmp_path: Path) -> None:
    out = report(make_study(tmp_path, BOTH), where="optimizer != 'sgd'")
    text = (out / "report.md").read_text()
    assert "Compared: adam;" in text
    assert "only where `optimizer != 'sgd'`" in text


@pytest.mark.parametrize("where", ["optimizer ==", "colour == 'red'", "seed > 99", "seed +", "seed", "1", "optimizer"])
def test_a_bad_filter_is_one_sentence(
    tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path, BOTH)
    monkeypatch.setattr(sys, "argv", ["bench.report", str(study), "--where", where, "--out", str(tmp_path / "r")])
    assert command.main() == 2
    err = capsys.readouterr().err
    assert err.startswith("bench.report: --where must ")
    assert err.count("\n") == 1


def test_environments_are_mixed_only_when_asked(tmp_path: Path) -> None:
    study = make_study(tmp_path, [*BOTH, {"optimizer": "adam", "environment_id": "e2", "torch_version": "2.11.0"}])
    assert (report(study) / "report.md").read_text().count("\n## ") == 2
    mixed = (report(study, mix_environments=True) / "report.md").read_text()
    assert mixed.count("\n## ") == 1
    assert "are mixed here, as requested" in mixed


def test_the_command(tmp_path: Path) -> None:
    make_study(tmp_path, BOTH)
    root = Path(__file__).resolve().parent.parent.parent
    for path in ("results/s", "results/s/"):
        done = subprocess.run(
            [sys.executable, "-m", "bench.report", path], cwd=tmp_path, env={"PYTHONPATH": str(root), "HOME": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "reports" / "s" / "index.html").is_file()


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.mkdir(parents=True), lambda p: (p / "runs" / "torn").mkdir(parents=True)]
)
def test_no_study_or_an_empty_one_is_one_sentence(
    tmp_path: Path, make: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "results" / "s")
    monkeypatch.setattr(sys, "argv", ["bench.report", str(tmp_path / "results" / "s"), "--out", str(tmp_path / "r")])
    assert command.main() == 2
    err = capsys.readouterr().err
    assert "the study must" in err
    assert err.count("\n") == 1


def test_damage_is_named_and_the_rest_reported(tmp_path: Path) -> None:
    study = make_study(tmp_path, BOTH)
    (study / "runs" / "adam0.001-0-e" / "run.json").write_text("{")
    text = (report(study) / "index.html").read_text()
    assert "adam0.001-0-e cannot be read and was left out" in text
    assert "5 runs: 5 ok" in text


def test_a_smaller_report_leaves_no_figure_of_the_larger_one(tmp_path: Path) -> None:
    study = make_study(tmp_path, [{"optimizer": "adam", "lr": lr, "seed": 0} for lr in (0.1, 0.01)])
    assert (report(study) / "figures" / "sensitivity.svg").is_file()
    mine = study.parent.parent / "reports" / "s" / "figures" / "mine.svg"
    mine.write_text("")
    (mine.parent / "more").mkdir()
    out = report(study, where="lr == 0.1")
    assert not (out / "figures" / "sensitivity.svg").exists()
    assert mine.exists(), "what others put there stays"


def test_the_same_tables_give_the_same_page(tmp_path: Path) -> None:
    study = make_study(tmp_path, BOTH)
    pages = [(report(study) / "index.html").read_text() for _ in range(2)]
    assert pages[0] == pages[1]


def test_markdown_pipes_do_not_break_tables(tmp_path: Path) -> None:
    runs = [{"optimizer": "a|b", "run_id": "piped-0-e", "status": "failed", "reason": "x|y"}]
    text = (report(make_study(tmp_path, runs)) / "report.md").read_text()
    row = next(line for line in text.splitlines() if "x\\|y" in line)
    assert len(re.split(r"(?<!\\)\|", row)) == 9


def add_side_tables(study: Path) -> None:
    """Memory of every cell, and step costs of adam and sgd that say 10 ms and 1 ms a training step."""
    runs = tables.load(study).runs
    for cell, group in runs.groupby("cell_id"):
        first = group.iloc[0]
        parts = {f"{part}_mib": 10.0 for part in ("parameters", "gradients", "optimizer_state")}
        parts |= {f"{part}_mib": 0.0 for part in ("activations", "temporaries", "buffers", "inputs")}
        row = {
            "cell_id": cell, "environment_id": first["environment_id"], "stage": "single", "optimizer": first["optimizer"],
            "peak_mib": 30.0, "peak_phase": "step", "step_temporaries_mib": 7.5, "state_bytes_per_parameter": 8.0, **parts,
        }  # fmt: skip
        tables.write_side(study, "memory", str(cell), [row])
    for process in range(5):
        rows = [
            {
                "session_id": "t", "status": "ok", "started_at": "2026-01-01", "study": "s", "workload": "mlp on digits, batch 64",
                "workload_id": "w", "environment_id": "e", "model": "mlp", "data": "digits", "optimizer": optimizer,
                "optimizer_target": "t", "optimizer_options": "{}", "implementation": "forloop", "device": "cpu",
                "precision": "fp32", "step_cost_id": f"{optimizer}-cost", "baseline": "sgd/forloop", "process": process, "build": 0,
                "num_threads": 1, "num_parameters": 9, "step_us": us * (1 + process / 100), "step_ratio": us / 100.0 + process / 1000,
                "train_step_us": us, "train_step_ratio": 1.0, "data_us": 1.0, "zero_grad_us": 1.0, "forward_us": 1.0,
                "backward_us": 1.0, "optimizer_us": 1.0, "state_mib": 0.0, "first_step_ms": 1.0, "timing_quality": "clean",
                "last_cache_mib": 8.0, "bandwidth_gib_per_s": 20.0, "torch_version": "2.15.0", "cpu": "CPU",
                "command": "python -m bench.step_cost",
            }
            for optimizer, us in (("adam", 10_000.0), ("sgd", 1_000.0))
        ]  # fmt: skip
        skipped = {
            **rows[0],
            "implementation": "fused",
            "status": "skipped",
            "reason": "there is none",
            "step_us": None,
        }
        tables.write_side(study, "step_costs", f"t-{process}", [*rows, *([skipped] if process == 0 else [])])


def test_step_costs_and_memory_are_shown_and_times_are_steps_times_step_time(tmp_path: Path) -> None:
    both = [row | {"step_cost_id": f"{row['optimizer']}-cost"} for row in BOTH]
    study = make_study(tmp_path, both)
    assert "step times were not measured separately" in (report(study) / "report.md").read_text()
    add_side_tables(study)
    out = report(study)
    text = (out / "report.md").read_text()
    assert "steps × separately measured, interleaved step time (adam 10 ms ± 0.0 %, sgd 1 ms ± 0.0 %)" in text
    assert "| adam | 30 | step | 10 | 10 | 10 | 0 | 0 | 0 | 0 | 7.5 | 8.0 |" in text
    assert "What one step costs: mlp on digits, batch 64, cpu" in text
    assert "adam fused: skipped, there is none." in text
    assert "Share of the memory limit" not in text  # it was not measured
    assert re.search(r"\| adam \| 3 of 3 \| 10 \| 0\.1 \[0\.1, 0\.1\] \|", text), (
        "at most 10 steps of 10 ms to the target"
    )
    page = (out / "index.html").read_text()
    links = Links(page)
    assert not links.fetched
    assert set(links.inner) <= links.ids
    assert not links.bare_images
    for file in ("step-costs", "rule-and-implementation", "memory", "targets"):
        assert (out / "tables" / f"{file}.csv").stat().st_size > 0
    assert (out / "figures" / "step-cost.svg").exists()
    assert (out / "figures" / "training-step.png").exists()


def test_a_study_of_step_costs_only(tmp_path: Path) -> None:
    study = make_study(tmp_path, BOTH)
    add_side_tables(study)
    for path in sorted((study / "runs").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    out = report(study)
    text = (out / "report.md").read_text()
    assert "No runs yet, step costs only" in text
    assert "What one step costs" in text


def test_a_series_that_ran_out_of_time_has_a_time_to_target_too(tmp_path: Path) -> None:
    both = [row | {"step_cost_id": f"{row['optimizer']}-cost"} for row in BOTH]
    both = [row | ({"status": "timeout", "reason": "late"} if row["optimizer"] == "adam" else {}) for row in both]
    more = [{"optimizer": "rmsprop", "seed": s, "step_cost_id": "sgd-cost"} for s in (0, 1, 2)]
    study = make_study(tmp_path, [*both, *more])
    add_side_tables(study)
    assert "## What one step costs" in (report(study) / "report.md").read_text()


def test_a_study_of_memory_only_is_no_traceback(tmp_path: Path) -> None:
    study = tmp_path / "results" / "m"
    row = {"cell_id": "c", "stage": "single", "peak_mib": 1.0, "peak_phase": "step"}
    tables.write_side(study, "memory", "c", [row])
    assert "# m" in (report(study) / "report.md").read_text()


def test_the_target_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path, BOTH)

    def reported(*arguments: str, status: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["bench.report", str(study), "--out", str(tmp_path / "r"), *arguments])
        assert command.main() == status
        return (tmp_path / "r" / "report.md").read_text() if status == 0 else capsys.readouterr().err

    assert "which 3 in 4 runs of 3 in 4 optimizers that learn reach within half of the budget" in reported()
    text = reported("--baseline", "adam")
    assert "0.51, the median final one of adam" in text
    assert "--baseline adam" in text, "the command that rebuilds it says so"
    text = reported("--target", "0.25")
    assert "0.25, as given" in text
    assert "--target 0.25" in text
    assert "--baseline must be one of adam, sgd, got lion" in reported("--baseline", "lion", status=2)
    assert "--target must be a finite number, got nan" in reported("--target", "nan", status=2)


def test_json_says_what_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(
        tmp_path, [*BOTH, {"optimizer": "rmsprop", "status": "diverged", "reason": "train loss nan at step 3"}]
    )
    monkeypatch.setattr(sys, "argv", ["bench.report", str(study), "--out", str(tmp_path / "r"), "--json"])
    assert command.main() == 0
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert said["exit_status"] == 0 and Path(said["report"]).is_file()
    (section,) = said["sections"]
    found = StudyAnalysis(tables.load(study), study).analyses[0]
    board = leaderboard(found)
    assert [row["name"] for row in section["leaderboard"]] == list(board.rows["name"])
    assert [row["badge"] for row in section["leaderboard"]] == list(board.rows["badge"])
    assert section["leaderboard"][0]["loss"] == pytest.approx(board.rows["loss"].iloc[0])
    assert section["leaderboard"][-1]["loss"] is None, "one that diverged has none"
    assert section["headline"] in (tmp_path / "r" / "index.html").read_text()
    assert section["target"]["value"] == pytest.approx(found.target.value if found.target else 0.0)


def test_the_page_is_opened_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study, opened = make_study(tmp_path, BOTH), []
    for starts in (True, False):
        monkeypatch.setattr("webbrowser.open", lambda address, starts=starts: opened.append(address) or starts)
        monkeypatch.setattr(sys, "argv", ["bench.report", str(study), "--out", str(tmp_path / "r"), "--open"])
        assert command.main() == 0
        assert ("no browser could be started" in capsys.readouterr().err) == (not starts)
    assert opened == [(tmp_path / "r" / "index.html").as_uri()] * 2
