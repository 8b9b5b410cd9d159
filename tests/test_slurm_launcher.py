"""`launcher=slurm` without a cluster: submitit's local executor takes the place of Slurm."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Outcome

from bench import tables
from bench.execution.launchers import slurm

submitit = pytest.importorskip("submitit")
pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

DIES = """
import os, signal
import torch


class Dies(torch.optim.SGD):
    def step(self, closure=None):
        if self.param_groups[0]["lr"] == 0.02:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(closure)
"""
SWEEP = ["train.epochs=1", "memory=false", "report=false", "study=s", "-m"]


@pytest.fixture
def no_cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are processes of this machine, their ids those of the processes."""

    def submit(runs: Sequence[Any], params: Any, logs: Path) -> list[Any]:
        return list(submitit.AutoExecutor(logs / "%j", cluster="local").map_array(slurm.run_on_node, runs))

    def alive(array: str) -> dict[str, str]:
        states = {path.parent.name: path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()}
        return {pid: "None" for pid, state in states.items() if ") Z " not in state}

    (folder / "dies.py").write_text(DIES)
    paths = [str(Path(slurm.__file__).parents[3]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setattr(slurm, "_submit", submit)
    monkeypatch.setattr(slurm, "_queued", alive)
    monkeypatch.setattr(slurm, "_ask", lambda *command: None)
    monkeypatch.setattr(slurm, "QUEUE_POLL_S", 0.2)
    monkeypatch.setattr(slurm, "RESULT_POLL_S", 0.1)
    monkeypatch.setattr(slurm, "LATE_RESULT_S", 1.0)


def curves(study: str) -> pd.DataFrame:
    frame = tables.load(study).curves.drop(columns="train_time_s")
    return frame.sort_values(["run_id", "step", "split", "metric"]).reset_index(drop=True)


@pytest.mark.usefixtures("no_cluster")
def test_every_run_is_a_job_and_curves_are_those_of_one_process(cli: Callable[..., Outcome]) -> None:
    sweep = ["optimizer=adam,sgd", "seeds=[0,1]", *SWEEP]
    apart = cli(*sweep, "launcher=slurm")
    assert apart.status == 0
    assert apart.err.count("val loss") == 4
    assert not Path("results/.slurm").exists()
    assert set(tables.load("results/s").runs["launcher"]) == {"slurm"}
    assert cli(*sweep, "results_dir=alone").status == 0
    pd.testing.assert_frame_equal(curves("results/s"), curves("alone/s"), check_exact=True)
    again = cli(*sweep, "launcher=slurm")
    assert again.err.count("exists already (ok)") == 4
    assert "4 of these runs existed already" in again.out


@pytest.mark.usefixtures("no_cluster")
def test_a_job_that_dies_costs_its_run_and_leaves_its_log(cli: Callable[..., Outcome]) -> None:
    dying = ["optimizer=custom", "optimizer._target_=dies.Dies", "+optimizer.lr=0.01,0.02", "seeds=[0]"]
    done = cli(*dying, *SWEEP, "launcher=slurm")
    assert done.status == 1
    runs = tables.load("results/s").runs.sort_values("lr")
    assert runs["status"].tolist() == ["ok", "failed"]
    assert "Slurm has no record of how" in runs["reason"].iloc[1]
    assert not list(Path("results/s/inflight").glob("*"))
    assert list(Path("results/.slurm").glob("sweep-*/*/*.err"))


@pytest.mark.usefixtures("no_cluster")
def test_a_cpu_for_every_thread(cli: Callable[..., Outcome]) -> None:
    done = cli("optimizer=adam,sgd", *SWEEP, "launcher=slurm", "device.threads=2", "launcher.cpus=1")
    assert done.status == 2
    assert "launcher.cpus must be at least device.threads=2, got 1" in done.err


@pytest.mark.parametrize(
    ("scontrol", "why"),
    [
        ("JobId=14 ArrayJobId=12 JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15", "raise launcher.time_limit_min"),
        ("JobId=14 JobState=CANCELLED Reason=None ExitCode=0:15", "because it was cancelled"),
        ("JobId=14 JobState=OUT_OF_MEMORY Reason=OutOfMemory ExitCode=0:125", "raise launcher.memory_gb"),
        ("JobId=14 JobState=FAILED Reason=NonZeroExitCode ExitCode=137:0", "was killed by signal 9"),
        ("JobId=14 JobState=FAILED Reason=RaisedSignal:9(Killed) ExitCode=0:9", "was killed by signal 9"),
        ("JobId=14 JobState=FAILED Reason=NonZeroExitCode ExitCode=1:0", "as FAILED, exit status 1"),
    ],
)
def test_the_end_of_a_job_in_words(monkeypatch: pytest.MonkeyPatch, scontrol: str, why: str) -> None:
    def ask(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, scontrol if command[0] == "scontrol" else "", "")

    monkeypatch.setattr(slurm, "_ask", ask)
    said = slurm.why_ended("12_2")
    assert said.startswith("Slurm job 12_2 ended ")
    assert why in said


def test_accounting_knows_what_the_controller_forgot(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*command: str) -> subprocess.CompletedProcess[str]:
        if command[0] == "sacct":
            return subprocess.CompletedProcess(command, 0, "CANCELLED by 1000|0:0\n", "")
        return subprocess.CompletedProcess(command, 1, "", "slurm_load_jobs error: Invalid job id specified")

    monkeypatch.setattr(slurm, "_ask", ask)
    assert slurm.why_ended("12_2") == "Slurm job 12_2 ended because it was cancelled"


@pytest.mark.parametrize(
    ("code", "out", "err", "queued"),
    [
        (0, "12_0 Resources\n12_3 None\n", "", {"12_0": "Resources", "12_3": "None"}),
        (0, "", "", {}),
        (1, "", "slurm_load_jobs error: Invalid job id specified", {}),
        (1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", None),
    ],
)
def test_a_controller_that_does_not_answer_ends_no_job(
    monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str, queued: dict[str, str] | None
) -> None:
    monkeypatch.setattr(slurm, "_ask", lambda *command: subprocess.CompletedProcess(command, code, out, err))
    assert slurm._queued("12") == queued
