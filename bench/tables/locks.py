"""Locks on runs in flight, and what is recorded of runs whose process is gone."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from bench.base.files import MAX_JSON_BYTES, OddFile, check_no_link, checked_name, open_regular, sweep_aside
from bench.tables.columns import SCHEMA_VERSION
from bench.tables.frames import checked_row, one_line
from bench.tables.read import find, run_folder
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
            OddFile: A symbolic link, or something else that is no regular file, stands where the run is to be written.
            OSError: The study's folder cannot be written.
        """
        path = study_dir / "inflight" / f"{checked_name(run_id)}.json"
        check_no_link(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
        check_no_link(run_folder(study_dir, run_id))
        for _ in range(10):  # `recover` holds the lock of a file for a moment.
            file = os.fdopen(open_regular(path, os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                time.sleep(0.02)
                continue
            # Another process may have released and removed the file between the two calls.
            with suppress(FileNotFoundError):
                if os.fstat(file.fileno()).st_ino == path.lstat().st_ino:
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
        self._file.seek(0)
        self._file.truncate()
        json.dump({"schema_version": SCHEMA_VERSION, "run": checked_row(row)}, self._file, default=str)
        self._file.flush()

    def release(self) -> None:
        """Give the run up: its folder is written, or it will never be."""
        self._path.unlink(missing_ok=True)
        self._file.close()


LOST = "the process ended without a message: killed, or the machine stopped"


class Recovered(NamedTuple):
    """What `recover` found.

    Attributes:
        rows: Of the runs that it recorded as failed.
        problems: A sentence on each file that is no record of a run.
    """

    rows: list[dict[str, Any]]
    problems: list[str]


def recover(study_dir: Path, reason: str = LOST) -> Recovered:
    """Record as failed every run whose process ended without a message, and remove what was written aside for it.

    Args:
        study_dir: Folder of the study.
        reason: What is known of how it ended.

    Returns:
        The rows that were recorded, and what was odd.

    Raises:
        OSError: The study's folder cannot be written.
    """
    lost: list[dict[str, Any]] = []
    problems: list[str] = []
    folder = study_dir / "inflight"
    check_no_link(folder)
    for path in sorted(folder.glob("*.json")):
        try:
            if row := _recover(study_dir, path, reason):
                lost.append(row)
        except OddFile as error:
            problems.append(f"{error} and was left as it is")
        except ValueError as error:
            path.unlink(missing_ok=True)
            problems.append(f"{path} is no record of a run ({one_line(error)}) and was removed")
    sweep_aside(study_dir / "runs")
    return Recovered(lost, problems)


def _recover(study_dir: Path, path: Path, reason: str) -> dict[str, Any] | None:
    """Record one run as failed unless a process works on it or it ended; return its row where it was recorded.

    Raises:
        OddFile: The file, or the folder of the run, is something else than a file or a folder.
        ValueError: The file holds no row of the run that it is named after.
    """
    try:
        file = os.fdopen(open_regular(path, os.O_RDWR), "rb")
    except FileNotFoundError:  # its process has just finished it
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        run_id = checked_name(path.stem)
        final = run_folder(study_dir, run_id)
        old = final.with_name(f".old-{run_id}")
        check_no_link(final)
        if (
            old.is_dir() and not old.is_symlink() and not final.exists()
        ):  # killed between the two renames of `write_run`
            old.rename(final)
        if not (text := file.read(MAX_JSON_BYTES)):  # killed before the row was known
            path.unlink(missing_ok=True)
            return None
        row = checked_row(_row_in(text))
        if row["run_id"] != run_id:
            raise ValueError(f"it holds run {row['run_id']:.80}")
        if is_lost := find(study_dir, run_id) is None:
            row |= {"status": "failed", "reason": reason}
            write_run(study_dir, row, [], {})
        path.unlink(missing_ok=True)
        return row if is_lost else None


def _row_in(text: bytes) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(record, dict) or not isinstance(record.get("run"), dict):
        raise ValueError("it holds no run")
    row: dict[str, Any] = record["run"]
    return row


def num_in_flight(results_dir: Path, run_id: str) -> int:
    """Return the runs that living processes are working on in any study of a folder, less one's own."""
    num = 0
    for path in results_dir.glob("*/inflight/*.json"):
        if path.stem == run_id:
            continue
        with suppress(OSError), os.fdopen(open_regular(path, os.O_RDWR), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                num += 1
    return num
