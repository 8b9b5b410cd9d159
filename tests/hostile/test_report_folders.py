"""The folder of a report is replaced as a whole: there is the old report or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import made_up
import pytest
from hostile.folders import listing

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.base import files
from bench.base.errors import UserError
from bench.report.folder import report_folder
from bench.report.study.render import write_report

ROOT = Path(__file__).resolve().parents[2]
NUM_KILLS = int(os.environ.get("BENCH_NUM_KILLS", "2"))


def study_in(folder: Path) -> Path:
    study = folder / "results" / "s"
    for optimizer in ("adam", "sgd"):
        made_up.write(study, optimizer, 0.01, 0)
    tables.build(study)
    return study


def fill(folder: Path, text: str) -> None:
    (folder / "index.html").write_text(text)
    (folder / "figures" / "loss.svg").write_text(text)


def test_a_report_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with report_folder(tmp_path / "r") as folder:
            fill(folder, text)
        assert {name for name, (kind, _) in listing(tmp_path / "r").items() if kind == "file"} == {
            "index.html", "figures/loss.svg", ".report",
        }  # fmt: skip
        assert (tmp_path / "r" / "index.html").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["r"], "nothing is left beside it"


@pytest.mark.parametrize("exchanges", [True, False])
def test_what_goes_wrong_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:
        monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    with report_folder(tmp_path / "r") as folder:
        fill(folder, "old")
    before = listing(tmp_path / "r")
    with pytest.raises(OSError, match="No space"), report_folder(tmp_path / "r") as folder:
        fill(folder, "half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert listing(tmp_path / "r") == before
    with report_folder(tmp_path / "r") as folder:
        fill(folder, "new")
    assert (tmp_path / "r" / "index.html").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_files_of_the_readers_own_stay(tmp_path: Path) -> None:
    mine = {"notes.md": "mine", "figures/photo.jpg": "mine", "more/deep/x.svg": "mine"}
    for name, text in mine.items():
        (tmp_path / "r" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "r" / name).write_text(text)
    (tmp_path / "r" / "link").symlink_to("notes.md")
    for text in ("one", "two"):
        with report_folder(tmp_path / "r") as folder:
            fill(folder, text)
    for name, text in mine.items():
        assert (tmp_path / "r" / name).read_text() == text
    assert (tmp_path / "r" / "link").is_symlink()


def test_a_link_stands_for_its_folder_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "r").symlink_to("real")
    with report_folder(tmp_path / "r") as folder:
        fill(folder, "new")
    assert (tmp_path / "r").is_symlink()
    assert (tmp_path / "real" / "index.html").read_text() == "new"


def test_the_current_folder_is_not_replaced(folder: Path) -> None:
    (folder / "below").mkdir()
    Path("file").write_text("x")
    for place in (".", str(folder), "..", "file"):
        with pytest.raises(UserError, match="the report must go into a folder of its own"), report_folder(Path(place)):
            pass
    assert Path("file").read_text() == "x"


def test_no_write_that_fails_leaves_half_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at each of the files in turn."""
    study, out = study_in(tmp_path), tmp_path / "reports" / "s"
    write_report(StudyAnalysis(tables.load(study), study), out)
    before, write_text, num_written = listing(out), Path.write_text, 0
    for failing in ("index.html", "report.md"):

        def full(path: Path, *arguments: Any, failing: str = failing, **options: Any) -> int:
            if path.name == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write_text(path, *arguments, **options)

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space"):
            write_report(StudyAnalysis(tables.load(study), study), out)
        assert listing(out) == before
        num_written += 1
    assert num_written == 2
    assert [path.name for path in out.parent.iterdir()] == ["s"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_keeps_the_old_report(tmp_path: Path) -> None:
    study, disk = study_in(tmp_path), tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        write_report(StudyAnalysis(tables.load(study), study), disk / "r")
        before = listing(disk / "r")
        size = sum(path.stat().st_size for path in (disk / "r").rglob("*") if path.is_file())
        (disk / "other").write_bytes(b"x" * max(0, 3 * 2**20 - 2 * size + 20_000))
        with pytest.raises(OSError, match="No space"):
            write_report(StudyAnalysis(tables.load(study), study), disk / "r")
        assert listing(disk / "r") == before
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("number", range(NUM_KILLS))
def test_kill_9_leaves_the_old_report_or_the_new_one(tmp_path: Path, number: int) -> None:
    study, out = study_in(tmp_path), tmp_path / "reports" / "s"
    command = [sys.executable, "-m", "bench.report", str(study), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    whole, before = time.monotonic() - started, listing(out)
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(whole * random.Random(number).uniform(0.5, 1))
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert listing(out) == before, "a report of the same tables is the same to the byte"
    for path in out.parent.iterdir():
        os.utime(path, (0, 0))
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [path.name for path in out.parent.iterdir()] == ["s"], "what was left is swept away"
