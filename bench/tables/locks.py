"""Locks on runs in flight, and what is recorded of runs whose process is gone."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from bench.tables.columns import SCHEMA_VERSION
from bench.tables.frames import checked_row
from bench.tables.read import find
from bench.tables.write import write_run


class RunLock:
    """A run that this process works on: a file with its row so far, locked while the process lives.

    The lock falls with the process, however it ends, so the next invocation can tell a run that is
    being worked on from one that was killed.
    """

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file

    @classmethod
    def take(cls, study_dir: Path, run_id: str) -> RunLock | None:
        """Claim a run; return None where another living process has it.

        Raises:
            OSError: The study's folder cannot be written.
        """
        path = study_dir / "inflight" / f"{run_id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(10):  # `recover` holds the lock of a file for a moment.
            file = path.open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                time.sleep(0.02)
                continue
            # Another process may have released and removed the file between the two calls.
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                    break
            file.close()
        else:
            return None
        return cls(path, file)

    def describe(self, row: Mapping[str, Any]) -> None:
        """Note the row of the run as far as it is known, for whoever finds it lost.

        Raises:
            OSError: The study's folder cannot be written.
        """
        self._file.truncate(0)
        json.dump({"schema_version": SCHEMA_VERSION, "run": checked_row(row)}, self._file, default=str)
        self._file.flush()

    def release(self) -> None:
        """Give the run up: its folder is written, or it will never be."""
        self._path.unlink(missing_ok=True)
        self._file.close()


LOST = "the process ended without a word: killed, or the machine stopped"


def recover(study_dir: Path, reason: str = LOST) -> list[dict[str, Any]]:
    """Record as failed every run whose process ended without a word; return their rows.

    Args:
        study_dir: Folder of the study.
        reason: What is known of how it ended.

    Raises:
        OSError: The study's folder cannot be written.
    """
    lost = []
    for path in sorted((study_dir / "inflight").glob("*.json")):
        try:
            file = path.open("r+")
        except FileNotFoundError:  # its process has just finished it
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            final, old = (study_dir / "runs" / f"{prefix}{path.stem}" for prefix in ("", ".old-"))
            if old.is_dir() and not final.exists():  # killed between the two renames of `write_run`
                old.rename(final)
            try:
                row = json.loads(file.read())["run"]
            except (ValueError, KeyError, TypeError):
                row = None
            if row is not None and find(study_dir, row["run_id"]) is None:
                row |= {"status": "failed", "reason": reason}
                write_run(study_dir, row, [], {})
                lost.append(row)
            path.unlink(missing_ok=True)
    return lost


def num_in_flight(results_dir: Path, run_id: str) -> int:
    """Return the runs that living processes are working on in any study of a folder, less one's own."""
    num = 0
    for path in results_dir.glob("*/inflight/*.json"):
        if path.stem == run_id:
            continue
        with suppress(OSError), path.open("r+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                num += 1
    return num
