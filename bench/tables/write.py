"""Write runs, aside and then renamed, and build the tables of a study from its folders."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.base.files import (
    check_no_link,
    checked_name,
    new_file,
    open_regular,
    replacing,
    replacing_folder,
    sweep_aside,
)
from bench.tables.columns import DONE, SCHEMA_VERSION, SIDE
from bench.tables.csv import write_csv
from bench.tables.frames import ARROW_TYPES, Study, check_values, checked_row, curves_table
from bench.tables.read import file_stamp, find, load_side, read_folders


def write_run(
    study_dir: Path,
    row: Mapping[str, Any],
    points: Sequence[tuple[int, float, str, str, float, float]],
    details: Mapping[str, Any],
    files: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write the folder of one run: aside, synced, then renamed into place.

    A run that came to no result (see `DONE`) never takes the place of one that did.

    Args:
        study_dir: Folder of the study.
        row: A row of `runs`.
        points: Rows of `curves` without the run's id.
        details: What else is kept of the run, for people (its config, a traceback); JSON.
        files: Other files of the folder, by name, each with what writes it to a path.

    Raises:
        ValueError: The row or a point does not fit the tables.
        OSError: The folder cannot be written.
    """
    started = time.perf_counter()
    checked = checked_row(row)
    run_id = checked_name(checked["run_id"])
    table = curves_table(run_id, points)
    if checked["status"] not in DONE and find(study_dir, run_id) is not None:
        return
    runs_dir = study_dir / "runs"
    check_no_link(runs_dir)
    runs_dir.mkdir(parents=True, exist_ok=True)
    with replacing_folder(runs_dir / run_id) as aside:
        with new_file(aside / "curves.parquet") as file:
            pq.write_table(table, file)
        for name, write in (files or {}).items():
            write(aside / name)
        if checked["total_s"] is not None:
            checked["write_s"] = time.perf_counter() - started
            checked["total_s"] += checked["write_s"]
        record = {"schema_version": SCHEMA_VERSION, "run": checked, **details}
        with new_file(aside / "run.json") as file:
            file.write(json.dumps(record, indent=1, allow_nan=False, default=str).encode())


def write_side(study_dir: Path, table: str, part: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of a side table as one file: aside, synced, then renamed into place.

    Args:
        study_dir: Folder of the study.
        table: A key of `SIDE`.
        part: Name of the file, without suffix; a file of that name is replaced.
        rows: The rows.

    Raises:
        ValueError: A row does not fit the table.
        OSError: The folder cannot be written.
    """
    columns = SIDE[table]
    schema = pa.schema(
        [pa.field(c.name, ARROW_TYPES[c.kind]) for c in columns], metadata={"schema_version": str(SCHEMA_VERSION)}
    )
    checked = pa.Table.from_pylist([check_values(table, columns, row) for row in rows], schema=schema)
    folder = study_dir / table
    check_no_link(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{checked_name(part)}.parquet") as file:
        pq.write_table(checked, file)


def remove_side(study_dir: Path, table: str, parts: Iterable[str]) -> None:
    """Take parts of a side table away again, and its folder if nothing else is in it.

    Raises:
        OSError: A file cannot be removed.
    """
    for part in parts:
        check_no_link(study_dir / table)
        (study_dir / table / f"{checked_name(part)}.parquet").unlink(missing_ok=True)
    with suppress(OSError):
        (study_dir / table).rmdir()


def build(study_dir: Path) -> Study:
    """Build the study's Parquet and CSV tables from its run folders; return them.

    Safe beside other processes that write into the same study or build it.

    Raises:
        ValueError: The study was written by a newer version of this package.
        OSError: The tables cannot be written.
    """
    study_dir.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_regular(study_dir / ".lock", os.O_RDWR | os.O_CREAT), "r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in (study_dir, *(study_dir / name for name in SIDE)):
            sweep_aside(folder)
        stamp = file_stamp(study_dir)
        study = read_folders(study_dir)
        for name, frame in (("runs", study.runs), ("curves", study.curves)):
            table = pa.Table.from_pandas(frame, preserve_index=False)
            meta = {
                b"schema_version": str(SCHEMA_VERSION).encode(),
                b"stamp": stamp.encode(),
                b"problems": json.dumps(study.problems).encode(),
            }
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **meta})
            with replacing(study_dir / f"{name}.parquet") as file:
                pq.write_table(table, file)
            with replacing(study_dir / f"{name}.csv") as file:
                write_csv(frame, file)
        for name in SIDE:
            if (study_dir / name).is_dir():
                frame = load_side(study_dir, name)
                with replacing(study_dir / f"{name}.parquet") as file:
                    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), file)
                with replacing(study_dir / f"{name}.csv") as file:
                    write_csv(frame, file)
    return study
