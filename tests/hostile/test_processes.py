"""Pools whose processes cannot start, or die: one sentence, or the rest of the runs, and never a traceback."""

from __future__ import annotations

import multiprocessing.synchronize
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import tables

ROOT = Path(__file__).resolve().parent.parent.parent
POOL = ["optimizer=adam,sgd", "launcher=pool", "launcher.n_jobs=2", "report=false", "memory=false", "study=s", "-m"]
AS_NOBODY = [
    "setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all,+dac_override", "--inh-caps=-all,+dac_override",
    "--ambient-caps=+dac_override",
]  # fmt: skip
"""Runs a command as another user, to whom limits on processes apply, and who may read what root may."""


def command(*words: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def test_no_shared_memory_is_one_sentence(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise OSError(30, "Read-only file system")  # what /dev/shm gives

    monkeypatch.setattr(multiprocessing.synchronize._multiprocessing, "SemLock", refuse)  # type: ignore[attr-defined]
    done = cli(*POOL, "seeds=1", "train.epochs=1")
    assert (done.status, done.err.count("\n")) == (2, 1), done.err
    assert (
        "launcher=pool must be able to start processes here, got the error '[Errno 30] Read-only file system'"
        in done.err
    )


@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("setpriv", "prlimit"))), reason="takes root to become another user"
)
@pytest.mark.parametrize("num_processes", [2, 6, 10])
def test_a_limit_on_processes_is_one_sentence(num_processes: int, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    limited = [*AS_NOBODY, "prlimit", f"--nproc={num_processes}", sys.executable, "-m", "bench"]
    process = command(*limited, *POOL, "seeds=1", "train.epochs=1", cwd=tmp_path)
    _, err = process.communicate(timeout=60)
    said = [line for line in err.splitlines() if "jemalloc" not in line]
    assert process.returncode == 2, err
    assert len(said) == 1, err
    assert said[0].startswith("bench: launcher=pool must be able to start processes here, got the error ")


def test_a_death_of_all_processes_at_once_costs_the_runs_in_flight(tmp_path: Path) -> None:
    process = command(sys.executable, "-m", "bench", *POOL, "seeds=6", "train.epochs=20", cwd=tmp_path)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("[2/"):
            break
    os.kill(_wait_for(process.pid, "forkserver"), signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    lines += err.splitlines(keepends=True)
    counted = re.findall(r"^\[(\d+)/12\]", "".join(lines), re.MULTILINE)
    assert [int(count) for count in counted] == list(range(1, 13)), lines
    assert "Traceback" not in "".join(lines)
    runs = tables.load(tmp_path / "results" / "s").runs
    assert len(runs) == 12
    assert set(runs["status"]) <= {"ok", "failed", "interrupted"}
    assert (runs["status"] == "ok").sum() >= 10


def _wait_for(parent: int, words: str) -> int:
    """Return the number of the first process that another started with these words in its command line."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        listed = subprocess.run(["pgrep", "-P", str(parent), "-f", words], capture_output=True, text=True).stdout
        if listed:
            return int(listed.split()[0])
        time.sleep(0.05)
    raise AssertionError(f"no process {words} was found")


def test_step_costs_leave_nothing_behind_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    process = command(sys.executable, "-m", "bench.step_cost", "optimizers=[adam,sgd]", "replicates=9", cwd=tmp_path)
    worker = _wait_for(process.pid, "bench.step_cost.worker")
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() or list((tmp_path / "scratch").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
