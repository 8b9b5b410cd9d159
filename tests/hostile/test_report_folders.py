"""The folder of a report is replaced as a whole: there is the old report or the new one, never half of one."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_up
import pandas as pd
import pytest
from hostile.folders import listing

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.base import files
from bench.base.errors import UserError
from bench.report.folder import report_folder
from bench.report.study.render import markdown_table, write_report

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


hooks: list[Callable[[str, tuple[Any, ...]], None]] = []


def run_hooks(event: str, arguments: tuple[Any, ...]) -> None:
    for hook in hooks or ():  # None at the end of Python, which takes modules apart
        hook(event, arguments)


sys.addaudithook(run_hooks)


def test_no_write_that_fails_leaves_half_a_report(tmp_path: Path) -> None:
    """The disk is full at a file of each kind in turn: the first, the last and what lies between."""
    study, out = study_in(tmp_path), tmp_path / "reports" / "s"
    write_report(StudyAnalysis(tables.load(study), study), out)
    before = listing(out)
    names = [name for name, (kind, _) in before.items() if kind == "file" and name != ".report"]
    assert {"index.html", "report.md", "figures/time.svg", "tables/runs.csv"} <= set(names)
    for failing in {name.rpartition("/")[0] + Path(name).suffix: name for name in names}.values():

        def full(path: Any, failing: str = failing) -> None:
            if str(path).endswith(failing) and ".new" in str(path):
                raise OSError(errno.ENOSPC, "No space left on device")

        def audit(event: str, arguments: tuple[Any, ...], failing: str = failing) -> None:
            if event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]:
                full(arguments[0], failing)

        hooks[:] = [audit]
        try:
            with pytest.raises(OSError, match="No space"):
                write_report(StudyAnalysis(tables.load(study), study), out)
        finally:
            hooks.clear()
        assert listing(out) == before, failing
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


def test_kill_9_leaves_the_old_report_or_the_new_one(tmp_path: Path) -> None:
    study, out = study_in(tmp_path), tmp_path / "reports" / "s"
    command = [sys.executable, "-m", "bench.report", str(study), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    whole, before = time.monotonic() - started, listing(out)
    for number in range(NUM_KILLS):
        child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(whole * random.Random(number).uniform(0.5, 1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert listing(out) == before, "a report of the same tables is the same to the byte"
    for path in out.parent.iterdir():
        os.utime(path, (0, 0))
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert [path.name for path in out.parent.iterdir()] == ["s"], "what was left is swept away"


def report_in(place: Path, text: str = "one") -> Path:
    with report_folder(place) as folder:
        fill(folder, text)
    return place


def test_a_link_to_a_folder_inside_a_report_stays_a_link(tmp_path: Path) -> None:
    place = report_in(tmp_path / "r")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("x")
    (place / "photos").symlink_to(tmp_path / "photos")
    report_in(place, "two")
    assert (place / "photos").is_symlink()
    assert (place / "photos" / "one.jpg").read_text() == "x"


@pytest.mark.parametrize("name", ["index.html", "figures/loss.svg"])
def test_a_file_of_ones_own_is_not_replaced_by_one_of_the_report(tmp_path: Path, name: str) -> None:
    mine = tmp_path / "site" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match="would replace .*, which no report wrote; move that file"):
        report_in(tmp_path / "site")
    assert mine.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_new_file_of_a_report_does_not_take_the_place_of_ones_own(tmp_path: Path) -> None:
    place = report_in(tmp_path / "r")
    (place / "figures" / "extra.svg").write_text("mine")
    with pytest.raises(UserError, match="extra.svg"), report_folder(place) as folder:
        fill(folder, "two")
        (folder / "figures" / "extra.svg").write_text("ours")
    assert (place / "figures" / "extra.svg").read_text() == "mine"
    assert (place / "index.html").read_text() == "one"


def test_reports_of_before_there_were_lists_are_known(tmp_path: Path) -> None:
    place = tmp_path / "r"
    (place / "figures").mkdir(parents=True)
    for name in ("index.html", "report.md", "figures/loss-step.svg", "notes.txt"):
        (place / name).write_text("old")
    report_in(place, "new")
    assert (place / "index.html").read_text() == "new"
    assert not (place / "figures" / "loss-step.svg").exists()
    assert (place / "notes.txt").read_text() == "old"


def test_modes_stay(tmp_path: Path) -> None:
    place = report_in(tmp_path / "r")
    (place / "figures").chmod(0o700)
    place.chmod(0o750)
    report_in(place, "two")
    assert place.stat().st_mode & 0o777 == 0o750
    assert (place / "figures").stat().st_mode & 0o777 == 0o700


def test_where_there_are_no_hard_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = report_in(tmp_path / "r")
    (place / "notes.md").write_text("mine")

    def refused(*arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    report_in(place, "two")
    assert (place / "notes.md").read_text() == "mine"
    assert (place / "index.html").read_text() == "two"


def test_links_in_names_are_texts_in_markdown() -> None:
    table = pd.DataFrame({"a": ["[x](javascript:1)", "[c](#own)"]})
    assert "[x](javascript" not in markdown_table(table)
    assert "[c](#own)" in markdown_table(table, linked=1)


def test_a_comparison_is_written_whole_or_into_a_pipe(tmp_path: Path) -> None:
    study = str(study_in(tmp_path))
    out = tmp_path / "two.md"
    command = [sys.executable, "-m", "bench.compare", study, study, "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([*command, str(out)], env=environment, check=False, capture_output=True).returncode == 0
    assert out.read_text().startswith("# Two studies")
    done = subprocess.run([*command, "/dev/stdout"], env=environment, check=False, capture_output=True, text=True)
    assert done.stdout.startswith("# Two studies")
