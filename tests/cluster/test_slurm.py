"""`launcher=slurm` on a real Slurm: sweeps, and jobs that are killed, run into their limit or are queued again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from cluster.conftest import Cluster, until

from bench import tables

WAITS = """
import os, time
from pathlib import Path
import torch


class Waits(torch.optim.SGD):
    '''SGD; at a learning rate of 0.04 it stands still after three steps until a file says go.'''

    steps = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if "CUDA_VISIBLE_DEVICES" in os.environ:
            with open("gpus", "a") as file:
                file.write(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")

    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3 and self.param_groups[0]["lr"] == 0.04 and "SLURM_JOB_ID" in os.environ:
            job = os.environ["SLURM_ARRAY_JOB_ID"] + "_" + os.environ["SLURM_ARRAY_TASK_ID"]
            with open("waiting", "a") as file:
                file.write(f"{job} {os.getpid()} {os.environ.get('SLURM_RESTART_COUNT', '0')}\\n")
            while not Path("go").exists():
                time.sleep(0.05)
        return super().step(closure)
"""
SWEEP = ["optimizer=custom", "optimizer._target_=waits.Waits", "+optimizer.lr=0.01,0.02,0.03,0.04", "seeds=[0]"]
SMALL = ["train.epochs=2", "memory=false", "report=false", "study=s", "-m"]
SLURM = ["launcher=slurm", "launcher.time_limit_min=10"]
PATIENCE_S = 240


class Person:
    """Someone in a folder of their own, at a machine of the cluster."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self.cluster = folder, cluster
        self.started: list[subprocess.Popen[str]] = []
        (folder / "waits.py").write_text(textwrap.dedent(WAITS))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bench", *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.cluster.env, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self.started.append(process)
        return process

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Exit status and standard error of a command that must end by itself."""
        try:
            _, err = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            _, err = process.communicate(timeout=30)
            pytest.fail(f"the command hangs; it said: {err}")
        assert "Traceback" not in err
        return process.returncode, err

    def run(self, *arguments: str) -> tuple[int, str]:
        return self.end(self.start(*arguments))

    def waiting(self) -> list[list[str]]:
        """Job, process and number of restarts of every run that came to where it stands still."""
        path = self.folder / "waiting"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def start_until_waiting(self, *arguments: str) -> tuple[subprocess.Popen[str], str, int]:
        """A sweep whose last run stands still, the others being done; its job and process."""
        process = self.start(*SWEEP, *SLURM, *SMALL, *arguments)

        def there() -> bool:
            if process.poll() is not None:
                pytest.fail(f"the sweep ended: {self.end(process)}")
            return bool(self.waiting()) and len(self.folders()) == 3

        until(there, PATIENCE_S, "three runs done and the fourth waiting")
        job, pid, _ = self.waiting()[0]
        return process, job, int(pid)

    def folders(self) -> list[Path]:
        return list((self.folder / "results" / "s" / "runs").glob("[!.]*"))


def curves(study: Path) -> pd.DataFrame:
    """What a study's runs came to, without times."""
    frame = tables.load(study).curves.drop(columns="train_time_s")
    return frame.sort_values(["run_id", "step", "split", "metric"]).reset_index(drop=True)


@pytest.fixture
def person(tmp_path: Path, cluster: Cluster) -> Iterator[Person]:
    person = Person(tmp_path, cluster)
    yield person
    for process in person.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
    for job in cluster.jobs():
        cluster.ask("scancel", job)
    until(lambda: not cluster.jobs(), 60, "the end of all jobs")


def assert_undisturbed(person: Person, *arguments: str) -> None:
    """The study holds each run once, ok, with the curves that one process gives them one after the other."""
    status, _ = person.run(*arguments, *SMALL, "results_dir=alone")
    assert status == 0
    here, alone = person.folder / "results" / "s", person.folder / "alone" / "s"
    runs = tables.load(here).runs
    assert runs["status"].tolist() == ["ok"] * len(runs)
    assert sorted(runs["run_id"]) == sorted(tables.load(alone).runs["run_id"])
    pd.testing.assert_frame_equal(curves(here), curves(alone), check_exact=True)
    assert not list((here / "inflight").glob("*"))


def failed_alone(person: Person) -> str:
    """The reason of the one run that failed, the other three being ok."""
    runs = tables.load(person.folder / "results" / "s").runs.sort_values("lr")
    assert runs["status"].tolist() == ["ok", "ok", "ok", "failed"]
    assert runs["lr"].tolist() == [0.01, 0.02, 0.03, 0.04]
    return str(runs["reason"].iloc[-1])


def test_a_sweep_equals_one_process_bit_for_bit(person: Person) -> None:
    sweep = ["optimizer=adam,sgd", "seeds=[0,1]"]
    status, err = person.run(*sweep, *SLURM, *SMALL)
    assert status == 0, err
    assert not (person.folder / "results" / ".slurm").exists()
    assert_undisturbed(person, *sweep)
    status, err = person.run(*sweep, *SLURM, *SMALL)
    assert status == 0
    assert err.count("exists already (ok)") == 4


@pytest.mark.parametrize("how", ["scancel", "kill -9"])
def test_a_killed_job_costs_its_run_and_the_same_command_makes_it_up(person: Person, how: str) -> None:
    process, job, pid = person.start_until_waiting()
    if how == "scancel":
        person.cluster.ask("scancel", job)
    else:
        os.kill(pid, signal.SIGKILL)
    status, _ = person.end(process)
    assert status == 1
    reason = failed_alone(person)
    assert job in reason
    assert ("cancelled" if how == "scancel" else "signal 9") in reason
    (person.folder / "go").touch()
    status, _ = person.run(*SWEEP, *SLURM, *SMALL)
    assert status == 0
    assert_undisturbed(person, *SWEEP)


def test_a_job_cancelled_before_it_began_leaves_no_row_and_a_word(person: Person) -> None:
    later = "+hydra.launcher.additional_parameters.begin=now+3600"
    process = person.start("optimizer=sgd", "seeds=[0,1]", *SLURM, *SMALL, later)
    until(lambda: len(person.cluster.jobs()) == 2 or process.poll() is not None, PATIENCE_S, "two jobs in the queue")
    for job in person.cluster.jobs():
        person.cluster.ask("scancel", job)
    status, err = person.end(process)
    assert status == 1
    assert err.count("was not started: Slurm job") == 2
    assert not person.folders()


def test_a_job_at_its_time_limit_costs_its_run(person: Person) -> None:
    process, job, _ = person.start_until_waiting("launcher.time_limit_min=1")
    status, _ = person.end(process)
    assert status == 1
    reason = failed_alone(person)
    assert job in reason
    assert "launcher.time_limit_min" in reason


def test_a_requeued_job_is_waited_for_and_nothing_is_lost_or_doubled(person: Person) -> None:
    process, job, _ = person.start_until_waiting()
    person.cluster.ask("scontrol", "requeue", job)
    until(lambda: len(person.waiting()) == 2, PATIENCE_S, "the job's second start")
    assert [(line[0], line[2]) for line in person.waiting()] == [(job, "0"), (job, "1")]
    (person.folder / "go").touch()
    status, err = person.end(process)
    assert status == 0, err
    assert_undisturbed(person, *SWEEP)


def test_an_interrupted_command_takes_its_jobs_along_and_goes_on_later(person: Person) -> None:
    process, job, _ = person.start_until_waiting()
    os.kill(process.pid, signal.SIGINT)
    status, _ = person.end(process)
    assert status == 130
    until(lambda: job not in person.cluster.jobs(), 60, "the end of the job")
    (person.folder / "go").touch()
    status, err = person.run(*SWEEP, *SLURM, *SMALL)
    assert status == 0, err
    assert_undisturbed(person, *SWEEP)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("launcher.partition=nowhere", "launcher must be settings that Slurm takes, got: sbatch: error:"),
        ("launcher.time_limit_min=1000", "got jobs that never start: PartitionTimeLimit"),
        ("device.threads=2 launcher.cpus=1", "launcher.cpus must be at least device.threads=2, got 1"),
    ],
)
def test_what_slurm_does_not_take_is_one_sentence(person: Person, wrong: str, said: str) -> None:
    status, err = person.run("optimizer=adam,sgd", *SLURM, *SMALL, *wrong.split())
    assert status == 2
    assert said in err
    until(lambda: not person.cluster.jobs(), 60, "no job being left")


def test_a_job_has_the_gpu_and_the_memory_it_asked_for(person: Person) -> None:
    (person.folder / "go").touch()
    status, err = person.run(*SWEEP, *SLURM, *SMALL, "launcher.gpus=1", "launcher.memory_gb=0.5")
    assert status == 0, err
    assert set((person.folder / "gpus").read_text().split()) == {"0"}
