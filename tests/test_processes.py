"""The command as a process of its own: kills, interrupts, company, limits, terminals, imports."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import Command

from bench import tables
from bench.config.parse import group_options

ROOT = Path(__file__).resolve().parent.parent
SWEEP = ["optimizer=adam,sgd", "seeds=[0,1,2]", "train.epochs=4", "report=false", "-m"]
CURVE_KEYS = ["optimizer", "seed", "split", "metric", "step"]


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def losses(study: Path) -> pd.DataFrame:
    runs, curves = tables.load(study)
    merged = curves.merge(runs[["run_id", "optimizer", "seed"]], on="run_id")
    return merged.sort_values(CURVE_KEYS)[[*CURVE_KEYS, "value"]].reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert start(*SWEEP, cwd=folder).wait() == 0
    return losses(folder / "results" / "digits-mlp")


def wait_for_line(process: Command, part: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if part in line:
            return
    raise AssertionError(f"{part!r} never came")


@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_kill_9_loses_at_most_the_run_in_flight(tmp_path: Path, undisturbed: pd.DataFrame, delay: float) -> None:
    process = Command("bench", *SWEEP, cwd=tmp_path)
    wait_for_line(process, "[2/6]")
    time.sleep(delay)
    process.kill()
    process.wait()
    study = tmp_path / "results" / "digits-mlp"
    runs = tables.load(study).runs
    assert 2 <= len(runs) <= 6
    assert set(runs["status"]) == {"ok"}
    again = Command("bench", *SWEEP, cwd=tmp_path)
    _, err = again.communicate()
    assert again.returncode == 0, err
    assert err.count("exists already (ok)") == len(runs)
    pd.testing.assert_frame_equal(losses(study), undisturbed, check_exact=True)
    assert set(tables.load(study).runs["status"]) == {"ok"}
    assert list((study / "inflight").iterdir()) == []


def test_ctrl_c_marks_the_run_in_flight(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import pathlib, time, torch\n"
        "class Slow(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        self.calls = getattr(self, 'calls', 0) + 1\n"
        "        if self.calls == 25:\n"
        "            pathlib.Path('at-step-25').touch()\n"
        "            time.sleep(60)\n"
        "        return super().step(closure)\n"
    )
    process = Command("bench", "optimizer=custom", "optimizer._target_=slow.Slow", "study=s", "-m", cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "at-step-25").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "run the same command again to resume" in err
    runs, curves = tables.load(tmp_path / "results" / "s")
    assert runs["status"].tolist() == ["interrupted"]
    assert runs.loc[0, "num_steps"] == 24
    assert curves["step"].max() == 20


def test_two_sweeps_at_once_into_one_study_lose_nothing(tmp_path: Path, undisturbed: pd.DataFrame) -> None:
    processes = [Command("bench", *SWEEP, cwd=tmp_path) for _ in range(2)]
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
    study = tmp_path / "results" / "digits-mlp"
    pd.testing.assert_frame_equal(losses(study), undisturbed, check_exact=True)
    assert len(pd.read_csv(study / "runs.csv")) == 6


def test_a_file_system_that_takes_no_more_is_one_sentence(tmp_path: Path) -> None:
    """The limit on file sizes stands for a full disk: run folders fit, the study's tables do not."""
    limited = Command("bench", "seeds=[0]", "train.epochs=1", cwd=tmp_path, file_size=20_000)
    _, err = limited.communicate()
    assert limited.returncode == 2
    assert "results_dir must be a folder that can be written" in err
    assert "Traceback" not in err
    assert tables.load(tmp_path / "results" / "digits-mlp").runs["status"].tolist() == ["ok"]


def test_bars_on_a_terminal(tmp_path: Path) -> None:
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = Command("bench", "seeds=[0,1]", "train.epochs=40", "report=false", cwd=tmp_path, stderr=inner)
    os.close(inner)
    shown = b""
    while True:
        try:
            piece = os.read(outer, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    process.wait()
    text = shown.decode()
    assert "sweep" in text
    assert "/680" in text
    assert "loss=" in text
    assert "[2/2] adam seed 1: val loss" in text


def imported(code: str, cwd: Path) -> set[str]:
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in process.stdout.splitlines()[-1].split()}


def test_help_is_short_and_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; sys.argv = ['bench', '--help']\nfrom bench.__main__ import main\ntry: main()\nexcept SystemExit: pass"
    assert not {"torch", "pandas", "matplotlib", "sklearn"} & imported(code, tmp_path)
    out, _ = start("--help", cwd=tmp_path).communicate()
    assert all(option in out for option in group_options("optimizer"))
    assert "python -m bench optimizer=adam,sgd -m" in out
    assert len(out.splitlines()) < 125


def test_a_report_needs_neither_torch_nor_hydra(tmp_path: Path) -> None:
    modules = imported("import bench.report.study.render, bench.report.__main__, bench.tables", tmp_path)
    assert not {"torch", "torchvision", "hydra", "omegaconf", "sklearn"} & modules


def test_a_finished_sweep_is_checked_without_torch(tmp_path: Path) -> None:
    assert start("seeds=[0]", "train.epochs=1", "report=false", cwd=tmp_path).wait() == 0
    code = (
        "import sys; sys.argv = ['bench', 'seeds=[0]', 'train.epochs=1', 'report=false']\n"
        "from bench.__main__ import main\nassert main() == 0"
    )
    assert "torch" not in imported(code, tmp_path)


def test_tab_completion(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COMP_LINE": "optbench optimizer=ad", "COMP_POINT": "21"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "-sc", "query=bash"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.split()) == {
        f"optimizer={o}" for o in ("adam", "adamax", "adamw", "adadelta", "adafactor", "adagrad")
    }


def test_a_persons_folders_named_like_ours(tmp_path: Path) -> None:
    for name in ("models", "conf", "optimizers", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [nonsense]")
    (tmp_path / "mine.py").write_text("from torch.optim import SGD\nclass Mine(SGD): pass\n")
    process = start(
        "optimizer=custom", "optimizer._target_=mine.Mine", "seeds=[0]", "train.epochs=1", "report=false", cwd=tmp_path
    )
    _, err = process.communicate()
    assert process.returncode == 0, err


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(path), str(folder / "site")], check=True)
    return folder / "site"


def test_the_wheel_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    assert (wheel / "bench" / "conf" / "optimizer" / "adam.yaml").is_file()
    assert (wheel / "bench" / "report" / "templates" / "index.html.j2").is_file()
    assert not (wheel / "tests").exists()
    (tmp_path / "conf").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "import bench.__main__ as m, bench; print(bench.__file__); m.main()", "optimizer=adam,sgd", "seeds=[0]", "train.epochs=1", "-m"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(wheel)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert str(wheel) in done.stdout
    assert (tmp_path / "reports" / "digits-mlp" / "index.html").is_file()
