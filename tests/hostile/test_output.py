"""What names and reasons from files may do to terminals, pages and spreadsheets, and what streams may lack: nothing."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_up
import pandas as pd
import pytest

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.base.console import printable, say
from bench.report.study.render import write_report
from bench.report.terminal import summary_text
from bench.tables.csv import write_csv

ROOT = Path(__file__).resolve().parents[2]
EVIL = (
    "\x1b[2J\x1b]0;owned\x07",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "a|b",
    "[x](javascript:alert(1))",
    "\u202egnp.exe",
)
RUN = ["optimizer=adam", "train.steps=3", "seeds=[0]", "memory=false", "report=false", "study=s"]


def test_control_characters_are_shown_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert printable("plain é 中 \n\t") == "plain é 中 \n\t"
    assert printable(EVIL[0]) == r"\x1b[2J\x1b]0;owned\x07"
    assert printable("\x9b31m\ud800") == r"\x9b31m\ud800"
    assert printable(EVIL[5]) == r"\u202egnp.exe"
    say(EVIL[0])
    assert capsys.readouterr().out == r"\x1b[2J\x1b]0;owned\x07" + "\n"


def test_names_and_reasons_are_texts_wherever_they_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "s"
    for number, name in enumerate(EVIL):
        changes = {"run_id": f"r{number}-0-e", "cell_id": f"r{number}", "optimizer": name, "study": name}
        tables.write_run(study, made_up.row("adam", 0.01, 0) | changes | {"status": "failed", "reason": name}, [], {})
    tables.build(study)
    found = tables.load(study)
    assert set(found.runs["optimizer"]) == set(EVIL), "what is stored stays"
    say(summary_text(StudyAnalysis(found, study).analyses))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", capsys.readouterr().out)
    write_report(StudyAnalysis(found, study), tmp_path / "r")
    page, text = ((tmp_path / "r" / name).read_text() for name in ("index.html", "report.md"))
    assert "<script>alert" not in page + text
    assert "&lt;script&gt;alert" in page
    assert "&lt;script>alert" in text
    for file in [study / "runs.csv", *(tmp_path / "r" / "tables").glob("*.csv")]:
        with file.open(newline="") as lines:
            for row in csv.DictReader(lines):
                for value in row.values():
                    assert re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", value) or not value.startswith(
                        ("=", "+", "-", "@", "\t", "\r")
                    )


def test_numbers_of_a_csv_stay_numbers() -> None:
    table = pd.DataFrame({"x": [-1.5, 2.0], "n": pd.Series([-1, None], dtype="Int64"), "t": ["-a", None]})
    buffer = io.BytesIO()
    write_csv(table, buffer)
    assert buffer.getvalue().decode() == "x,n,t\n-1.5,-1,'-a\n2.0,,\n"


def bench(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Type a command into a shell."""
    whole = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHON": sys.executable, **environment}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=whole, capture_output=True, text=True, timeout=120, check=False
    )


COMMAND = f"$PYTHON -m bench {' '.join(RUN)}"


@pytest.mark.parametrize(
    ("redirected", "status"),
    [("2>&-", 0), (">&-", 0), (">&- 2>&-", 0), ("<&-", 0), ("2>/dev/full", 0), (">/dev/full", 0), ("| true", 0)],
)
def test_streams_that_are_closed_or_full_cost_nothing_recorded(tmp_path: Path, redirected: str, status: int) -> None:
    done = bench(tmp_path, f"{COMMAND} {redirected}")
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert tables.load(tmp_path / "results" / "s").runs["status"].tolist() == ["ok"]
    if redirected == ">/dev/full":
        assert "standard output cannot be written (No space left on device)" in done.stderr


def test_a_terminal_of_ascii_takes_everything(tmp_path: Path) -> None:
    done = bench(tmp_path, COMMAND, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert r"\xb1" in done.stdout or "ok" in done.stdout
    done = bench(tmp_path, "$PYTHON -m bench.reproduce list articles", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "module", ["bench", "bench.report", "bench.compare", "bench.step_cost", "bench.reproduce", "bench.workloads"]
)
def test_a_folder_that_is_gone_is_one_sentence(tmp_path: Path, module: str) -> None:
    done = bench(tmp_path, f"mkdir gone; cd gone; rmdir ../gone; $PYTHON -m {module} x y")
    assert done.returncode == 2
    assert (
        done.stderr
        == "bench: the current folder must exist, got one that is gone (No such file or directory); change to another\n"
    )


@pytest.mark.parametrize("ends", [signal.SIGHUP, signal.SIGTERM])
@pytest.mark.parametrize("launcher", ["", "launcher=pool launcher.n_jobs=2"])
def test_a_closed_terminal_is_an_interrupt(tmp_path: Path, ends: signal.Signals, launcher: str) -> None:
    typed = f"optimizer=adam train.epochs=10000 seeds=[0,1,2,3] memory=false report=false study=s {launcher} -m"
    child = subprocess.Popen(
        [sys.executable, "-m", "bench", *typed.split()], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(ends, signal.SIG_DFL),
    )  # fmt: skip
    inflight = tmp_path / "results" / "s" / "inflight"
    for _ in range(600):
        if inflight.is_dir() and any(path.stat().st_size for path in inflight.iterdir()):
            break
        time.sleep(0.1)
    time.sleep(0.5)
    child.send_signal(ends)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted; finished runs are saved" in err
    assert not list(inflight.iterdir())


SWALLOWS = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from bench.base.bootstrap import end_with

class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.{ends})
        time.sleep(0.2)

def main():
    Swallows()
    time.sleep(60)
    return 0

end_with("bench", main)
"""


@pytest.mark.parametrize("ends", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_an_interrupt_that_python_swallows_ends_the_command_all_the_same(tmp_path: Path, ends: str) -> None:
    """Whatever a destructor or a callback raises, Python prints and forgets."""
    done = bench(tmp_path, f"$PYTHON -c {shlex.quote(SWALLOWS.format(ends=ends))}")
    assert (done.returncode, done.stderr) == (130, "bench: interrupted\n")
