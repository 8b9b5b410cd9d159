"""What only a GPU can show: results, clocks, memory, failures and processes on CUDA.

`benchmarks/on_gpu.py` runs these on a machine that has one; elsewhere they are skipped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bench import tables
from bench.measure.clock import Stopwatch
from bench.step_cost.interleave import least_traffic, time_block

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

Cli = Callable[..., Any]
SIX = "optimizer=adam,sgd,rmsprop,nadam,adamax,adadelta"
KEYS = ["optimizer", "split", "metric", "step"]
CUDA = torch.device("cuda")
SLEEP_CYCLES = 10**8  # some 50 ms


def losses(study: str, keys: list[str] = KEYS) -> pd.Series[float]:
    runs, curves = tables.load(Path("results") / study)
    columns = [key for key in keys if key not in curves]
    merged = curves.merge(runs[["run_id", *columns]], on="run_id")
    return merged.set_index(keys)["value"].sort_index().astype(float)


def with_the_bench() -> dict[str, str]:
    """Return an environment in which a subprocess finds the bench, beside what it found before."""
    root = Path(__file__).resolve().parent.parent
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def short(*arguments: str) -> list[str]:
    return [*arguments, "seeds=[0]", "train.steps=40", "train.eval_every=20", "report=false"]


def test_losses_are_those_of_the_cpu(cli: Cli) -> None:
    for device in ("cpu", "cuda"):
        assert cli(*short(SIX, f"device={device}", f"study={device}", "memory=false", "-m")).status == 0
    there, here = losses("cuda"), losses("cpu")
    assert there.index.equals(here.index)
    loss = there.index.get_level_values("metric") == "loss"
    pd.testing.assert_series_equal(there[loss], here[loss], rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("implementation", ["foreach", "fused", "compiled", "reference"])
def test_implementations_agree_with_the_for_loop(cli: Cli, implementation: str) -> None:
    for kind in ("forloop", implementation):
        done = cli(
            *short(SIX, "device=cuda", f"optimizer.implementation={kind}", f"study={kind}", "memory=false", "-m")
        )
        assert done.status == 0, done.err
    there, here = losses(implementation), losses("forloop")
    common = there.index.intersection(here.index)
    runs = tables.load(Path("results") / implementation).runs
    assert set(runs["status"]) <= {"ok", "skipped"}  # of fused there are few
    assert set(common.get_level_values("optimizer")) == set(runs.loc[runs["status"] == "ok", "optimizer"])
    assert len(set(common.get_level_values("optimizer"))) >= 2
    loss = common[common.get_level_values("metric") == "loss"]
    pd.testing.assert_series_equal(there[loss], here[loss], rtol=2e-3, atol=1e-5)


def test_a_run_gives_the_same_numbers_again(cli: Cli) -> None:
    for study in ("first", "second"):
        assert cli(*short(SIX, "device=cuda", f"study={study}", "-m")).status == 0
    pd.testing.assert_series_equal(losses("first"), losses("second"), check_exact=True)
    memory = [tables.load_side(Path("results") / study, "memory") for study in ("first", "second")]
    assert memory[0]["peak_mib"].tolist() == memory[1]["peak_mib"].tolist()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_precisions_train(cli: Cli, precision: str) -> None:
    for kind in ("fp32", precision):
        done = cli(*short("device=cuda", f"device.precision={kind}", f"study={kind}", "model.hidden=[512,512]"))
        assert done.status == 0, done.err
    there, here = losses(precision), losses("fp32")
    assert not there.equals(here)
    assert there.loc["adam", "val", "loss", 40] == pytest.approx(here.loc["adam", "val", "loss", 40], rel=0.2)


def test_schedules_clipping_and_closures_run(cli: Cli) -> None:
    for arguments in (
        ["schedule=one_cycle", "train.clip_norm=1", "train.accumulate=2", "regularization.l1=1e-4"],
        ["optimizer=lbfgs", "optimizer.lr=0.01", "model=logistic"],
        ["model=mnist_cnn", "data.resize=28", "augment=standard", "metrics=[grad_norm,latency]"],
        ["model=transformer", "data=chars", "data.max_chars=100000", "train.compile=true", "memory=false"],
    ):
        done = cli(*short(*arguments, "device=cuda", "study=s"))
        assert done.status == 0, done.err
    assert set(tables.load(Path("results/s")).runs["status"]) == {"ok"}


def test_the_stopwatch_waits_for_the_gpu() -> None:
    torch.cuda._sleep(1000)
    watch = Stopwatch(CUDA)
    watch.switch("train")
    torch.cuda._sleep(SLEEP_CYCLES)
    watch.switch("log")
    assert watch.seconds["train"] > 0.02
    watch.switch("rest")
    assert watch.seconds["log"] < 0.01


def test_a_block_is_timed_on_the_gpu_and_the_host_does_not_wait() -> None:
    def once() -> None:
        torch.cuda._sleep(SLEEP_CYCLES)

    once()
    seconds, host_seconds = time_block(once, 2, CUDA)
    assert seconds > 0.04
    assert host_seconds < 0.01
    assert time_block(least_traffic(2**24, 2**26, CUDA), 20, CUDA)[0] / 20 > 20 * 2**24 / 1e13  # no GPU has 10 TB/s


def test_bytes_of_tensors_are_those_of_the_allocator(cli: Cli) -> None:
    wide = ["model.hidden=[2048,2048]", "train.batch_size=512"]
    done = cli(*short(SIX, "device=cuda", "study=s", *wide, "optimizer.implementation=forloop,foreach", "-m"))
    assert done.status == 0, done.err
    cli(*short(SIX, "device=fake", "study=s", *wide, "optimizer.implementation=forloop,foreach", "-m"))
    memory = tables.load_side(Path("results/s"), "memory")
    measured = memory[memory["device"] == "cuda"].set_index(["optimizer", "implementation"])
    predicted = memory[memory["device"] == "fake"].set_index(["optimizer", "implementation"])
    assert len(measured) == 12
    off = measured["peak_mib"].astype(float) / measured["allocated_mib"].astype(float)
    assert off.between(0.98, 1.02).all(), off
    guess = predicted["peak_mib"].astype(float) / measured["peak_mib"].astype(float)
    assert guess.between(0.99, 1.01).all(), guess
    assert (measured["reserved_mib"] >= measured["allocated_mib"]).all()
    runs = tables.load(Path("results/s")).runs
    assert (runs.loc[runs["device"] == "cuda", "peak_allocated_mib"] > 0).all()


def test_a_run_without_room_on_the_gpu_costs_itself_only(cli: Cli, folder: Path) -> None:
    (folder / "greedy.py").write_text(
        "import torch\n"
        "class Greedy(torch.optim.SGD):\n"
        "    def __init__(self, params, lr=0.1, gib=0):\n"
        "        super().__init__(params, lr)\n"
        "        self.gib = gib\n"
        "    def step(self, closure=None):\n"
        "        torch.empty(self.gib * 2**30, dtype=torch.uint8, device='cuda')\n"
        "        return super().step(closure)\n"
    )
    done = cli(
        *short("optimizer=custom", "optimizer._target_=greedy.Greedy", "+optimizer.gib=4000,0", "device=cuda", "study=s"),
        "memory=false", "-m",
    )  # fmt: skip
    assert done.status == 1
    runs = tables.load(Path("results/s")).runs.set_index("hp_gib")
    assert sorted(runs["status"]) == ["ok", "oom"]


def test_a_pool_makes_the_runs_of_one_process(cli: Cli) -> None:
    num = torch.cuda.device_count()
    assert cli(*short("optimizer=adam,sgd", "device=cuda", "study=alone", "memory=false", "-m")).status == 0
    pool = ["launcher=pool", f"launcher.n_jobs={num}", "study=pool", "memory=false", "-m"]
    done = cli(*short("optimizer=adam,sgd", "device=cuda", *pool))
    assert done.status == 0, done.err
    pd.testing.assert_series_equal(losses("pool"), losses("alone"), check_exact=True)
    too_many = cli(
        *short("optimizer=adam,sgd", "device=cuda", *pool[:1], f"launcher.n_jobs={num + 1}", "study=p", "-m")
    )
    assert too_many.status == 2
    assert "launcher.n_jobs must be at most" in too_many.err


def test_a_killed_command_is_resumed_to_the_same_numbers(cli: Cli, folder: Path) -> None:
    arguments = ["optimizer=adam,sgd,rmsprop", "device=cuda", "seeds=[0,1]", "train.steps=400", "report=false", "-m"]
    assert cli(*arguments, "study=whole").status == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments, "study=cut"],
        env=with_the_bench(),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "[2/6]" in line:
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert cli(*arguments, "study=cut").status == 0
    keys = ["optimizer", "seed", *KEYS[1:]]
    pd.testing.assert_series_equal(losses("cut", keys), losses("whole", keys), check_exact=True)


def test_step_costs_and_the_report_name_the_gpu(cli: Cli, folder: Path) -> None:
    arguments = ["optimizers=[adam,sgd]", "implementations=[forloop,fused]", "builds=1", "rounds=3", "device=cuda"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.step_cost", *arguments, "study=s"],
        env=with_the_bench(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = tables.load_side("results/s", "step_costs")
    assert set(rows["gpu"]) == {torch.cuda.get_device_name()}
    assert rows["limit_share"].between(0, 1.5).all()
    assert (rows["step_us"] > 0).all()
    assert torch.cuda.get_device_name() in Path("reports/s/report.md").read_text()
    assert cli("optimizer=adam,sgd", "device=cuda", "train.steps=20", "study=t", "-m").status == 0
    page = Path("reports/t/report.md").read_text()
    assert torch.cuda.get_device_name() in page
