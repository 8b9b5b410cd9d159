"""Studies are listed, shown, renamed and removed; what is no study, or in use, stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import made_up
import pytest

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.base.version import __version__
from bench.cli.studies import main
from bench.report.study.render import write_report
from bench.tables.locks import RunLock

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def study(folder: Path) -> Path:
    """Return a study with a report, in the current folder."""
    path = Path("results/mine")
    for optimizer in ("adam", "sgd"):
        for seed in (0, 1, 2):
            made_up.write(path, optimizer, 0.01, seed)
    write_report(StudyAnalysis(tables.build(path), path), Path("reports/mine"))
    return path


def test_studies_are_listed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("results/notes").mkdir()
    Path("results/link").symlink_to("mine")
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["study", "runs", "size", "changed"]
    assert lines[1].split()[:2] == ["mine", "6"]
    assert lines[2] == ""


def test_where_there_is_none_the_command_that_makes_one_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list"]) == 0
    assert "There is no study in results; python -m bench" in capsys.readouterr().out


def test_bench_report_without_a_study_lists_them(study: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "bench.report"], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1].split()[:2] == ["mine", "6"]


def test_a_study_is_shown(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "mine"]) == 0
    assert "reaches the lowest validation loss" in capsys.readouterr().out


def test_a_study_is_renamed_with_its_report(study: Path) -> None:
    before = tables.load(study).runs
    assert main(["rename", "mine", "yours"]) == 0
    assert not study.exists()
    assert tables.load("results/yours").runs["run_id"].tolist() == before["run_id"].tolist()
    assert Path("reports/yours/index.html").exists()
    assert not Path("reports/mine").exists()


def test_a_study_is_removed_with_its_report_and_nothing_else(study: Path) -> None:
    Path("reports/mine/notes.txt").write_text("mine")
    assert main(["rm", "mine", "--yes"]) == 0
    assert not study.exists()
    assert [path.name for path in Path("reports/mine").rglob("*")] == ["notes.txt"]


def test_a_list_of_files_from_a_stranger_removes_nothing_outside(study: Path) -> None:
    Path("victim").write_text("x")
    with Path("reports/mine/.report").open("a") as file:
        file.write("../../victim\n")
    assert main(["rm", "mine", "--yes"]) == 0
    assert Path("victim").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "other"], "the study must be one in results (mine), got 'other'"),
        (["rm", "../results/mine", "--yes"], "the study must be one in results (mine), got '../results/mine'"),
        (["rename", "mine", ".."], "the new name must be of letters"),
        (["rename", "mine", "mine"], "the new name must be free, got mine"),
        (["rename", "mine"], "rename must be given a name and a new one, got 1"),
        (["rm", "mine"], "--yes must be given where nobody can be asked"),
    ],
)
def test_refusals(study: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert f"bench.studies: {said}" in capsys.readouterr().err
    assert study.is_dir()


def test_a_study_in_use_stays(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = RunLock.take(study, "abc-0-e")
    assert lock is not None
    for arguments in (["rename", "mine", "yours"], ["rm", "mine", "--yes"]):
        assert main(arguments) == 2
        assert "in which a process works on run abc-0-e" in capsys.readouterr().err
    lock.release()
    assert main(["rename", "mine", "yours"]) == 0


def test_the_version_is_ours(cli: object) -> None:
    done = cli("--version")  # type: ignore[operator]
    assert done.out.strip() == f"optbench {__version__}"
