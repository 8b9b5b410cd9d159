"""Read studies: rows of runs, side tables, single records."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.base.errors import UserError
from bench.tables.columns import CURVES, DONE, HYPERPARAMETER_PREFIX, SIDE
from bench.tables.frames import (
    CURVES_SCHEMA,
    NewerSchema,
    Study,
    check_version,
    checked_row,
    one_line,
    study_of,
    typed_frame,
    typed_runs,
)


def run_id(cell_id: str, seed: int | str, environment_id: str) -> str:
    """Return the id of a run, which is also the name of its folder.

    Args:
        cell_id: The configuration, see `bench.config.identity.cell_id`.
        seed: The seed; "*" in a glob pattern.
        environment_id: The machine and the software, see `bench.measure.environment.environment_id`; "*" in a pattern.
    """
    return f"{cell_id}-{seed}-{environment_id}"


def run_folder(study_dir: Path, run_id: str) -> Path:
    """Return where the files of a run lie, or would."""
    return study_dir / "runs" / run_id


def file_stamp(study_dir: Path) -> str:
    """Return a value that changes whenever a run folder comes, goes or is replaced."""
    runs_dir = study_dir / "runs"
    if not runs_dir.is_dir():
        return "none"
    return f"{runs_dir.stat().st_mtime_ns}-{sum(1 for _ in runs_dir.iterdir())}"


def load(study_dir: str | Path) -> Study:
    """Read a study: `runs, curves = load("results/digits-mlp")`.

    The study's Parquet files are read where they are up to date, the run folders otherwise. A
    folder or file that is damaged is left out and named in `problems` of what is returned.

    Returns:
        `runs`, one row a run, the columns of `RUNS` and one hp_<name> for each hyperparameter;
        `curves`, long, the columns of `CURVES`.

    Raises:
        FileNotFoundError: There is no such study, or it holds neither runs nor a side table.
        ValueError: It was written by a newer version of this package.

    Example:
        >>> from bench.base.paths import ROOT
        >>> runs, curves = load(ROOT / "results" / "articles")  # a study of this repository
        >>> runs["run_id"].is_unique, sorted(curves["split"].unique())
        (True, ['train', 'val'])
    """
    study_dir = Path(study_dir)
    if not study_dir.is_dir():
        raise FileNotFoundError(f"the study must be a folder such as results/digits-mlp, found none at {study_dir}")
    problems: list[str] = []
    paths = [study_dir / "runs.parquet", study_dir / "curves.parquet"]
    if all(path.is_file() for path in paths):
        try:
            tables = [pq.read_table(path) for path in paths]
        except (pa.ArrowException, OSError) as error:
            problems.append(
                f"the tables of {study_dir} cannot be read ({one_line(error)}) and were rebuilt from its runs"
            )
        else:
            meta = [table.schema.metadata or {} for table in tables]
            check_version(int(meta[0].get(b"schema_version", b"0")), study_dir)
            current = [m.get(b"stamp", b"").decode() == file_stamp(study_dir) for m in meta]
            if all(current) or not (study_dir / "runs").is_dir():
                runs, curves = (table.to_pandas() for table in tables)
                if len(runs):
                    return study_of(
                        typed_runs(runs), typed_frame(curves, CURVES), json.loads(meta[0].get(b"problems", b"[]"))
                    )
    study = read_folders(study_dir)
    if study.runs.empty and not any((study_dir / name).is_dir() for name in SIDE):
        trouble = f" ({'; '.join(study.problems)})" if study.problems else ""
        raise FileNotFoundError(f"the study must hold at least one run, found none in {study_dir}{trouble}")
    return study_of(*study, problems=[*problems, *study.problems])


def load_side(study_dir: str | Path, table: str) -> pd.DataFrame:
    """Read a side table of a study; empty where nothing of it was measured.

    A part that cannot be read is left out and named in `attrs["problems"]`.

    Args:
        study_dir: Folder of the study.
        table: A key of `SIDE`.

    Raises:
        ValueError: A part was written by a newer version of this package.
    """
    columns, parts, problems = SIDE[table], [], []
    paths = sorted((Path(study_dir) / table).glob("[!.]*.parquet"))
    built = Path(study_dir) / f"{table}.parquet"
    for path in paths or ([built] if built.is_file() else []):
        try:
            part = pq.read_table(path, partitioning=None)
        except (OSError, ValueError, pa.ArrowException) as error:
            problems.append(f"{path} cannot be read and was left out: {one_line(error)}")
            continue
        check_version(int((part.schema.metadata or {}).get(b"schema_version", b"0")), path)
        parts.append(part)
    rows = pa.concat_tables(parts, promote_options="default").to_pandas() if parts else pd.DataFrame()
    frame = typed_frame(rows, columns)
    frame.attrs["problems"] = problems
    return frame


def read_folders(study_dir: Path) -> Study:
    """Read every run folder of a study; what cannot be read is a problem of the study."""
    rows: list[dict[str, Any]] = []
    tables: list[pa.Table] = []
    problems: list[str] = []
    folders = sorted(p for p in (study_dir / "runs").glob("*") if p.is_dir() and not p.name.startswith("."))
    for folder in folders:
        try:
            record = read_record(folder)
            if record["run"]["run_id"] != folder.name:
                raise ValueError(f"it holds run {record['run']['run_id']}")
            table = pq.read_table(folder / "curves.parquet", partitioning=None)
            table = table.select(CURVES_SCHEMA.names).cast(CURVES_SCHEMA)
        except NewerSchema:
            raise
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            problems.append(f"{folder} cannot be read and was left out: {one_line(error)}")
            continue
        rows.append(record["run"])
        tables.append(table)
    runs = typed_runs(pd.DataFrame(rows, dtype=object))
    curves = pa.concat_tables(tables).to_pandas() if tables else CURVES_SCHEMA.empty_table().to_pandas()
    return study_of(runs, typed_frame(curves, CURVES), problems)


def read_record(folder: Path) -> dict[str, Any]:
    """Return the run.json of one run folder.

    Raises:
        OSError: It is absent or cannot be read.
        ValueError: It is damaged, or of a newer version.
    """
    record = json.loads((folder / "run.json").read_bytes())
    if not isinstance(record, dict) or not isinstance(record.get("run"), dict):
        raise ValueError("run.json holds no run")
    check_version(int(record.get("schema_version", 0)), folder)
    checked_row({k: v for k, v in record["run"].items() if not k.startswith(HYPERPARAMETER_PREFIX)})
    return record


def check_study(study_dir: Path) -> None:
    """Look whether a study may be added to, before anything is run for it.

    Raises:
        ValueError: Its tables were written by a newer version of this package.
    """
    with suppress(pa.ArrowException, OSError):
        meta = pq.read_schema(study_dir / "runs.parquet").metadata or {}
        check_version(int(meta.get(b"schema_version", b"0")), study_dir)


def latest(study_dir: Path, cell_id: str, seed: int) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """Return the row and the curves of the newest run of a cell with a seed, in whichever environment; None: there is none."""
    newest: tuple[dict[str, Any], pd.DataFrame] | None = None
    for folder in (study_dir / "runs").glob(run_id(cell_id, seed, "*")):
        try:
            row = read_record(folder)["run"]
            curves = pq.read_table(folder / "curves.parquet", partitioning=None).to_pandas()
        except (OSError, ValueError, KeyError, TypeError, UserError, pa.ArrowException):
            continue
        if newest is None or str(row["started_at"]) > str(newest[0]["started_at"]):
            newest = row, curves
    return newest


def recorded(study_dir: Path) -> pd.DataFrame:
    """Return the table `runs` of a study as it is now, without its curves; empty where there is no study.

    Raises:
        ValueError: The study was written by a newer version of this package.
    """
    path = study_dir / "runs.parquet"
    with suppress(OSError, pa.ArrowException):
        meta = pq.read_schema(path).metadata or {}
        if meta.get(b"stamp", b"").decode() == file_stamp(study_dir):
            return typed_runs(pq.read_table(path).to_pandas())
    rows = []
    for folder in sorted((study_dir / "runs").glob("[!.]*")):
        with suppress(OSError, KeyError, TypeError):
            rows.append(read_record(folder)["run"])
    return typed_runs(pd.DataFrame(rows, dtype=object))


def find_side(study_dir: Path, table: str, part: str) -> dict[str, Any] | None:
    """Return the first row of a part of a side table, or None where there is no such part that can be read."""
    try:
        rows = pq.read_table(study_dir / table / f"{part}.parquet", partitioning=None).to_pylist()
    except (OSError, ValueError, pa.ArrowException):
        return None
    return rows[0] if rows else None


def find(study_dir: Path, run_id: str) -> dict[str, Any] | None:
    """Return the row of a run that exists whole and counts as done, or None."""
    folder = study_dir / "runs" / run_id
    try:
        row: dict[str, Any] = read_record(folder)["run"]
        pq.read_metadata(folder / "curves.parquet")
    except NewerSchema:
        raise
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    return row if row["status"] in DONE else None
