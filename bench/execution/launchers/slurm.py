"""Carry out runs on a Slurm cluster: each is a task of a job array, submitted by submitit.

submitit learns from `sacct` that a job has ended, and waits for ever for a killed one where accounting
is off. Here `squeue` is asked, which answers on every cluster; a job that ended without a result costs
its run only, and a job that Slurm queues again is waited for.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import tables
from bench.base.console import say
from bench.base.errors import UserError
from bench.config.identity import cell_id
from bench.config.schema import Config
from bench.execution.cell import label_of, objective, seeds_of, work
from bench.execution.progress import ForwardingProgress, Progress
from bench.execution.session import Outcome, Session, open_study, writing

RESULT_POLL_S, QUEUE_POLL_S = 1.0, 10.0
"""Seconds between looks for results, which are files, and between questions to Slurm's controller."""


LATE_RESULT_S = 15.0
"""Seconds that the result of an ended job may take to show on a shared file system, as in submitit."""


COMMAND_TIMEOUT_S = 60.0


WHY = {
    "TIMEOUT": "at its time limit; raise launcher.time_limit_min",
    "OUT_OF_MEMORY": "when it ran out of memory; raise launcher.memory_gb",
    "CANCELLED": "because it was cancelled",
    "PREEMPTED": "in favour of another job",
    "NODE_FAIL": "because its node failed",
}
"""How a job ended, by Slurm's state."""


NEVER = ("PartitionTimeLimit", "PartitionNodeLimit", "BadConstraints")
"""Why a job waits that will never start. Not every cluster turns such a job away (`EnforcePartLimits`)."""


@dataclass(frozen=True)
class Returned:
    """The result of a job.

    Attributes:
        outcome: What the session of the command must know.
        lines: What is shown of its runs: label and outcome.
    """

    outcome: Outcome
    lines: list[tuple[str, str]]


class Slurm:
    """Makes every run as a job of its own, on a Slurm cluster.

    Args:
        params: The keys of `hydra.launcher`; those of `launcher` go before them.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params

    def run(self, configs: Sequence[Config], session: Session) -> list[float]:
        """See `bench.execution.session.Launcher`."""
        return _run_cells(configs, self._params, session)

    def close(self) -> None:
        """Do nothing: jobs are waited for or cancelled in `run`."""


def _run_cells(configs: Sequence[Config], params: Mapping[str, Any], session: Session) -> list[float]:
    """Make all runs of these cells that do not exist yet, each as a job of its own.

    Args:
        configs: The cells.
        params: The keys of `hydra.launcher`; those of `launcher` go before them.
        session: Where the rows go.

    Returns:
        The objective of each cell, see `bench.execution.cell.objective`.

    Raises:
        UserError: Slurm does not take the jobs, or results cannot be written.
        KeyboardInterrupt: After the jobs were cancelled.
    """
    for config in configs:
        if config.device.threads > config.launcher.cpus:
            raise UserError(
                f"launcher.cpus must be at least device.threads={config.device.threads}, got {config.launcher.cpus};"
                " leave it out to have as many"
            )
        open_study(config, session)
    runs = [
        (cell, config.model_copy(update={"seeds": [seed]}))
        for cell, config in enumerate(configs)
        for seed in seeds_of(config)
    ]
    logs = Path(params["submitit_folder"]).absolute()
    with writing(logs):
        logs.mkdir(parents=True, exist_ok=True)
        logs = Path(tempfile.mkdtemp(prefix="sweep-", dir=logs))
    shown, lost, refusals = session.progress or Progress(len(runs)), _Lost(session), list[str]()
    rows: list[list[dict[str, Any] | None]] = [[] for _ in configs]
    try:
        with closing(_outcomes([config for _, config in runs], params, logs)) as outcomes:
            for index, returned in outcomes:
                cell, config = runs[index]
                if isinstance(returned, str):
                    label = label_of(config, config.seeds[0])
                    rows[cell].append(lost.record(config, label, returned))
                    shown.end(label, f"failed: {returned}")
                    continue
                session.add(returned.outcome)
                rows[cell] += list(returned.outcome.rows.values()) or [None]
                if returned.outcome.refusal:
                    refusals.append(returned.outcome.refusal)
                for line in returned.lines:
                    shown.end(*line)
    finally:
        shown.close()
        if lost.num or refusals:
            say(f"bench: what jobs printed that ended without a result is in {logs}", sys.stderr)
        else:
            shutil.rmtree(logs, ignore_errors=True)
            with suppress(OSError):
                logs.parent.rmdir()
    if refusals:
        raise UserError(refusals[0])
    return [objective(config, made) for config, made in zip(configs, rows, strict=True)]


class _Lost:
    """Runs whose job ended without a result."""

    def __init__(self, session: Session) -> None:
        self.num = 0
        self._session = session
        self._found: dict[tuple[str, int], dict[str, Any]] = {}

    def record(self, config: Config, label: str, why: str) -> dict[str, Any] | None:
        """Record the run that a job was at as failed; None where it had not begun."""
        self.num += 1
        with writing(config.study_dir):
            for row in tables.recover(config.study_dir).rows:  # those of other jobs too, of which Slurm has yet to tell
                self._found[row["cell_id"], row["seed"]] = row
            devices = ("cpu", "cuda", "mps") if config.device.name == "auto" else (config.device.name,)
            for device in devices:
                if row := self._found.pop((cell_id(config, device), config.seeds[0]), {}):
                    row["reason"] = why
                    tables.write_run(config.study_dir, row, [], {})
                    self._session.rows[row["run_id"]] = row
                    return row
        self._session.lost.append(f"{label} was not started: {why}")
        return None


def _outcomes(runs: Sequence[Config], params: Mapping[str, Any], logs: Path) -> Generator[tuple[int, Returned | str]]:
    """Submit jobs and give, as they end, the index of each and what it returned, or why it did not."""
    size = _max_array_size()
    for start in range(0, len(runs), size):
        jobs = _submit(runs[start : start + size], params, logs)
        array = jobs[0].job_id.partition("_")[0]
        say(f"bench: {len(jobs)} jobs wait in Slurm's queue; `squeue -j {array}` shows them", sys.stderr)
        try:
            for index, returned in _wait(jobs, array):
                yield start + index, returned
        except BaseException:
            _ask("scancel", array)
            raise


def _submit(runs: Sequence[Config], params: Mapping[str, Any], logs: Path) -> list[Any]:
    """Submit a job array, by submitit.

    Raises:
        UserError: There is no Slurm, or it does not take the array.
    """
    import submitit
    from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf

    plain = BaseQueueConf.__dataclass_fields__
    asked, given = runs[0].launcher, dict[str, Any]()
    for key, value in params.items():
        if key not in ("submitit_folder", "max_num_timeout"):
            given[key if key in plain else f"slurm_{key}"] = value
    given |= {
        "timeout_min": asked.time_limit_min,
        "cpus_per_task": asked.cpus,
        # Since Slurm 22.05 srun gives a task one CPU whatever sbatch was asked for.
        "slurm_srun_args": [f"--cpus-per-task={asked.cpus}"],
        "slurm_array_parallelism": asked.n_jobs,
    }
    if asked.partition is not None:
        given["slurm_partition"] = asked.partition
    if asked.memory_gb is not None:
        given["mem_gb"] = asked.memory_gb
    if asked.gpus:  # a cluster without GPUs refuses to be asked for none
        given["gpus_per_node"] = asked.gpus
    try:
        executor = submitit.AutoExecutor(folder=logs / "%j", cluster="slurm")
        executor.update_parameters(**given)
        return list(executor.map_array(run_on_node, runs))
    except submitit.core.utils.FailedJobError as error:
        said = str(error).strip().splitlines()
        raise UserError(
            f"launcher must be settings that Slurm takes, got: {said[-1] if said else 'no reason'}; see `sinfo`"
        ) from None
    except RuntimeError as error:
        if "srun" not in str(error):
            raise
        raise UserError(
            "launcher must be local or pool where there is no Slurm, got slurm and no srun; give the command"
            " on a machine of the cluster"
        ) from None


def _wait(jobs: Sequence[Any], array: str) -> Iterator[tuple[int, Returned | str]]:
    """Yield jobs as they end, with their results. A job that Slurm has queued again has not ended.

    Raises:
        UserError: They would wait for ever.
    """
    waiting, gone_since = dict(enumerate(jobs)), dict[int, float]()
    asked = -QUEUE_POLL_S
    while True:
        for index, job in list(waiting.items()):
            if job.paths.result_pickle.exists():
                del waiting[index]
                yield index, _returned(job)
        if not waiting:
            return
        now = time.monotonic()
        if now - asked >= QUEUE_POLL_S:
            asked, queued = now, _queued(array)
            if queued and (never := [reason for reason in queued.values() if reason in NEVER]):
                raise UserError(
                    f"launcher must be settings that Slurm takes, got jobs that never start: {never[0]};"
                    " see `scontrol show partition`"
                )
            for index, job in waiting.items():
                if queued is None or job.job_id in queued:
                    gone_since.pop(index, None)
                else:
                    gone_since.setdefault(index, now)
        for index, since in gone_since.items():
            if index in waiting and now - since > LATE_RESULT_S and not waiting[index].paths.result_pickle.exists():
                yield index, why_ended(waiting.pop(index).job_id)
        time.sleep(RESULT_POLL_S)


def _returned(job: Any) -> Returned | str:
    """Return the result of a job, or the last line of its traceback."""
    error = job.exception()
    if error is None:
        returned: Returned = job.result()
        return returned
    lines = [line for line in str(error).splitlines() if line and not line.startswith(("---", "You can", "  - "))]
    return f"Slurm job {job.job_id} ended with {lines[-1]}"


def _queued(array: str) -> dict[str, str] | None:
    """Return the jobs of an array that wait, run or are ending, each with the reason it waits; None if Slurm does not answer."""
    answer = _ask("squeue", "--noheader", "--array", "--format=%i %r", f"--jobs={array}")
    if answer is None:
        return None
    if answer.returncode:
        return {} if "Invalid job id" in answer.stderr else None
    return {job: reason for job, _, reason in (line.partition(" ") for line in answer.stdout.splitlines())}


def why_ended(job_id: str) -> str:
    """Return how a job without a result ended, in words.

    Slurm's controller forgets a job some minutes after its end (`MinJobAge`); accounting, where it is
    on, does not.
    """
    state, code = "", ""
    answer = _ask("scontrol", "show", "job", "--oneliner", job_id)
    if answer and (found := re.search(r"\bJobState=(\S+)", answer.stdout)):
        state = found[1]
        code = found[1] if (found := re.search(r"\bExitCode=(\S+)", answer.stdout)) else ""
    elif (answer := _ask("sacct", "-n", "-X", "-P", "-o", "State,ExitCode", "-j", job_id)) and answer.stdout.strip():
        state, _, code = answer.stdout.splitlines()[0].partition("|")
        state = state.split()[0]  # "CANCELLED by 1000"
    status, _, number = code.partition(":")
    killed_by = int(number or 0) or int(status or 0) - 128  # a shell's word for the end of what it ran
    if state in WHY:
        why = WHY[state]
    elif killed_by > 0:
        why = f"when its process was killed by signal {killed_by}"
    else:
        why = f"as {state}, exit status {status}" if state else "without a message, and Slurm has no record of how"
    return f"Slurm job {job_id} ended {why}"


def _max_array_size() -> int:
    answer = _ask("scontrol", "show", "config")
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", answer.stdout) if answer else None
    return max(1, int(found[1])) if found else 1000


def _ask(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Return the output of one of Slurm's commands; None if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def run_on_node(config: Config) -> Returned:
    """Make the runs of one cell.

    A job that Slurm queues again comes here again: what it had done exists, and what it was at is made anew.
    """
    from bench.base.bootstrap import begin

    begin()
    # submitit has these two ignored, or taken for a wish to be submitted again: SIGTERM is how Slurm
    # cancels, and SIGUSR2 comes before the time limit, in which a run may still end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    lines: list[tuple[str, str]] = []
    told = ForwardingProgress(lambda label, outcome: lines.append((label, outcome)))
    return Returned(work(config, frozenset(), told), lines)
