"""Carry out configurations side by side, in long-lived processes that are replaced when they die."""

from __future__ import annotations

import datetime
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from bench import tables
from bench.base.console import say
from bench.base.errors import UserError
from bench.config.identity import cell_id
from bench.config.schema import Config
from bench.execution.cell import check_threads, seeds_of, work
from bench.execution.launchers.gpus import take_gpu, visible_gpus
from bench.execution.progress import ForwardingProgress, Progress, ProgressReporter
from bench.execution.session import Outcome, Session, open_study, writing
from bench.measure.environment import device_name, num_cores

MAX_DEATHS_WITHOUT_RUN = 3
"""Times that a cell is tried again when its process dies before a run of it was begun."""


_lines: Connection


@dataclass
class _Task:
    """A cell in the queue of the pool.

    Attributes:
        num_deaths: How often its process died between runs.
        num_lost_before: How many runs were lost before it set out.
        is_again: Whether a process that had it died.
    """

    index: int
    config: Config
    num_deaths: int = 0
    num_lost_before: int = 0
    is_again: bool = False


def check(configs: Sequence[Config]) -> None:
    """Check that the processes fit the cores, and the GPUs if they compute there.

    Raises:
        UserError: They would share cores or a GPU.
    """
    check_threads(configs)
    cores, gpus = num_cores(), _gpus(configs)
    for config in configs:
        num_jobs, threads = config.launcher.n_jobs, config.device.threads
        if num_jobs > 1 and num_jobs * threads > cores:
            raise UserError(
                f"launcher.n_jobs must be at most {max(1, cores // threads)} with device.threads={threads} on"
                f" {cores} cores, got {num_jobs}; runs that share cores slow each other"
            )
        if gpus and num_jobs > len(gpus):
            raise UserError(
                f"launcher.n_jobs must be at most {len(gpus)}, the number of GPUs here, got {num_jobs}; runs that share"
                " a GPU slow each other"
            )


def _gpus(configs: Sequence[Config]) -> list[str]:
    """Return the GPUs that runs can be spread over; none where none of them computes on one. No torch for the CPU."""
    return visible_gpus() if any(device_name(config)[0] == "cuda" for config in configs) else []


class Pool:
    """Processes that make the runs of cells.

    A process that the operating system kills costs the run it was at, which becomes `failed` with the
    signal as its reason; another takes its place and goes on with the cell. Where runs compute on
    GPUs, each process has one of its own.

    Args:
        num_jobs: How many processes.

    Raises:
        UserError: The system starts no processes, or has no room for what they share.
    """

    def __init__(self, num_jobs: int) -> None:
        self._num_jobs = num_jobs
        self._progress: ProgressReporter  # of the cells at hand
        self._num_shown: dict[int, int] = {}  # of each of them, how many of its runs
        self._lost: set[str] = set()
        self._began = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._all_shown = threading.Event()
        self._reader = threading.Thread(target=self._show, daemon=True)
        self._gpu_locks = tempfile.TemporaryDirectory(prefix="optbench-")
        context = get_context("forkserver")
        try:
            self._lines, self._line = context.Pipe(duplex=False)
            self._pool = ProcessPool(num_jobs, initializer=_begin, initargs=(self._line,), context=context)
            self._reader.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: a thread cannot be started
            raise _no_processes(error) from error

    def run(self, configs: Sequence[Config], session: Session) -> list[float]:
        """See `bench.execution.session.Launcher`; so many configurations are at work at a time."""
        check(configs)
        gpus = _gpus(configs)
        for config in configs:
            open_study(config, session)
        values = [float("inf")] * len(configs)
        self._progress = session.progress or Progress(sum(len(seeds_of(config)) for config in configs))
        self._num_shown = {}
        waiting = deque(_Task(i, config) for i, config in enumerate(configs))
        going: dict[Future[Outcome], _Task] = {}
        try:
            while waiting or going:
                while waiting and len(going) < 2 * self._num_jobs:  # the next lies ready when one ends
                    cell = waiting.popleft()
                    cell.num_lost_before = len(self._lost)
                    going[self._start(cell, gpus)] = cell
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    cell = going.pop(future)
                    death = future.exception()
                    if isinstance(death, BrokenProcessPool):
                        raise _no_processes(death) from death
                    if isinstance(death, ProcessExpired | KeyboardInterrupt):  # the latter: SIGTERM in a run
                        how = _signal_name(death.exitcode if isinstance(death, ProcessExpired) else -signal.SIGTERM)
                        if self._recorded(cell, how, session, isinstance(death, KeyboardInterrupt)):
                            cell.is_again = True
                            waiting.appendleft(cell)
                        continue
                    outcome = future.result()
                    if cell.is_again:  # it found what it had made itself
                        found = [row for row in outcome.rows.values() if str(row["started_at"]) < self._began]
                        outcome = replace(outcome, num_found=len(found))
                    session.add(outcome)
                    values[cell.index] = outcome.value
                    if outcome.refusal:
                        raise UserError(outcome.refusal)
            self._line.send(None)
            self._all_shown.wait()
            self._all_shown.clear()
        finally:
            self._progress.close()
        return values

    def _start(self, cell: _Task, gpus: Sequence[str]) -> Future[Outcome]:
        """Give a cell to the next free process; the first starts them all.

        Raises:
            UserError: They cannot be started.
        """
        args = (cell.index, cell.config, frozenset(self._lost), gpus, self._gpu_locks.name)
        try:
            future: Future[Outcome] = self._pool.schedule(_work, args=args)
        except (OSError, BrokenProcessPool) as error:
            raise _no_processes(error) from error
        except RuntimeError as error:
            if "start new thread" not in str(error):
                raise
            raise _no_processes(error) from error
        return future

    def _recorded(self, cell: _Task, how: str, session: Session, has_row: bool) -> bool:
        """Record the run whose process died, or wrote its row as interrupted; return whether to continue with its cell."""
        time.sleep(0.05)  # the lock of its claim falls with the process
        with writing(cell.config.study_dir):
            lost = tables.recover(cell.config.study_dir, f"its process was ended by {how}").rows
            if has_row:
                lost += self._given_up(cell.config, f"its process was ended by {how}")
        for row in lost:
            say(f"bench: run {row['run_id']} is recorded as failed: {row['reason']}", sys.stderr)
            session.rows[row["run_id"]] = row
            self._lost.add(row["run_id"])
        cell.num_deaths += len(self._lost) == cell.num_lost_before  # of two that die at once, one records both
        if cell.num_deaths < MAX_DEATHS_WITHOUT_RUN:
            return True
        session.lost.append(f"a process was ended by {how} before it began a run of {cell.config.optimizer.name}")
        return False

    def _given_up(self, config: Config, why: str) -> list[dict[str, Any]]:
        """Record the interrupted run of a cell as failed; return its row in a list, or an empty one."""
        cell = cell_id(config, device_name(config)[0])
        for seed in seeds_of(config):
            found = tables.latest(config.study_dir, cell, seed)
            if found is not None and found[0]["status"] == "interrupted":
                row = found[0] | {"status": "failed", "reason": why}
                tables.write_run(config.study_dir, row, [], {})
                return [row]
        return []

    def close(self) -> None:
        """End the processes; those that are in the middle of a run record it as interrupted."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.close()  # type: ignore[no-untyped-call]
        self._pool.join()
        self._gpu_locks.cleanup()
        self._line.close()
        self._reader.join()

    def _show(self) -> None:
        while True:
            try:
                line = self._lines.recv()
            except (EOFError, OSError):
                return
            if line is None:
                self._all_shown.set()
            else:
                index, position, label, outcome = line
                if position < self._num_shown.get(index, 0):
                    continue  # the process that replaced another tells of the runs that this one had ended
                self._num_shown[index] = position + 1
                with suppress(OSError):  # nobody may read standard error, and the sweep waits for this thread
                    self._progress.end(label, outcome)


def _no_processes(error: BaseException) -> UserError:
    why = str(error) or str(error.__cause__ or type(error).__name__)
    return UserError(
        f"launcher=pool must be able to start processes here, got the error {why!r}; use launcher=local, which starts none"
    )


def _signal_name(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        with suppress(ValueError):  # not every real-time signal has a name
            return f"{signal.Signals(-exitcode).name} (signal {-exitcode})"
        return f"signal {-exitcode}"
    return f"itself, with exit status {exitcode}"


def _begin(lines: Connection) -> None:
    global _lines
    _lines = lines
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    except RuntimeError:  # the system has no room for a thread; without it a process could outlive its parent
        os._exit(1)


def _end_with_parent() -> None:
    """Interrupt the run in flight when the process that wants it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _work(index: int, config: Config, abandoned: frozenset[str], gpus: Sequence[str], gpu_locks: str) -> Outcome:
    positions = itertools.count()

    def tell(label: str, outcome: str) -> None:
        """Send a line to the parent process, in one write short enough that a killed process leaves no lock behind."""
        _lines.send((index, next(positions), label[:1000], outcome[:1000]))

    take_gpu(gpus, Path(gpu_locks))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return work(config, abandoned, ForwardingProgress(tell))
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
