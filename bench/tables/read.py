"""Read studies: rows of runs, side tables, single records."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench.base.errors import UserError
from bench.base.files import check_no_link, read_json
from bench.tables.columns import CURVES, DONE, RUNS, SIDE, SPLITS
from bench.tables.frames import (
    CURVES_SCHEMA,
    NewerSchema,
    Study,
    check_values,
    check_version,
    checked_row,
    one_line,
    study_of,
    typed_frame,
    typed_runs,
)
from bench.tables.parquet import UNREADABLE, read_schema, read_table
from bench.tables.validate import fitting_rows, frame_of, sentences_in


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
    built = _built(study_dir)
    if built is not None and (not (study_dir / "runs").is_dir() or _is_current(study_dir)) and len(built.runs):
        return built
    study = read_folders(study_dir)
    problems = [*(built.problems if built is not None and built.runs.empty else ()), *study.problems]
    if study.runs.empty and not any((study_dir / name).is_dir() for name in SIDE):
        trouble = f" ({'; '.join(problems)})" if problems else ""
        raise FileNotFoundError(f"the study must hold at least one run, found none in {study_dir}{trouble}")
    return study_of(study.runs, study.curves, problems)


def _built(study_dir: Path) -> Study | None:
    """Return the tables that `build` left; empty, with a problem, where they cannot be read; None where there are none."""
    paths = [study_dir / "runs.parquet", study_dir / "curves.parquet"]
    if not all(path.exists() or path.is_symlink() for path in paths):
        return None
    try:
        tables = [read_table(path) for path in paths]
        meta = tables[0].schema.metadata or {}
        check_version(int(meta.get(b"schema_version", b"0")), study_dir)
        runs, unfit = fitting_rows(typed_runs(frame_of(tables[0], RUNS)), RUNS, paths[0])
        curves, unfit_points = fitting_rows(frame_of(tables[1], CURVES), CURVES, paths[1])
    except NewerSchema:
        raise
    except UNREADABLE as error:
        instead = "rebuilt from its runs" if _run_folders(study_dir) else "left out"
        trouble = f"the tables of {study_dir} cannot be read ({one_line(error)}) and were {instead}"
        return study_of(typed_runs(pd.DataFrame()), typed_frame(pd.DataFrame(), CURVES), [trouble])
    runs = runs.drop_duplicates("run_id", keep="last").reset_index(drop=True)
    return study_of(runs, curves, [*sentences_in(meta.get(b"problems", b"[]")), *unfit, *unfit_points])


def _is_current(study_dir: Path) -> bool:
    """Tell whether the tables that `build` left are those of the run folders as they are now."""
    stamp = file_stamp(study_dir).encode()
    try:
        metas = [read_schema(study_dir / f"{name}.parquet").metadata or {} for name in ("runs", "curves")]
    except UNREADABLE:
        return False
    return all(meta.get(b"stamp", b"") == stamp for meta in metas)


def load_side(study_dir: str | Path, table: str) -> pd.DataFrame:
    """Read a side table of a study; empty where nothing of it was measured.

    A part that cannot be read is left out and named in `attrs["problems"]`.

    Args:
        study_dir: Folder of the study.
        table: A key of `SIDE`.

    Raises:
        ValueError: A part was written by a newer version of this package.
    """
    columns, problems = SIDE[table], []
    parts: list[pd.DataFrame] = []
    folder = Path(study_dir) / table
    paths = sorted(folder.glob("[!.]*.parquet")) if not folder.is_symlink() else []
    built = Path(study_dir) / f"{table}.parquet"
    for path in paths or ([built] if built.exists() else []):
        try:
            part = read_table(path)
            check_version(int((part.schema.metadata or {}).get(b"schema_version", b"0")), path)
            rows, unfit = fitting_rows(frame_of(part, columns), columns, path)
        except NewerSchema:
            raise
        except UNREADABLE as error:
            problems.append(f"{path} cannot be read and was left out: {one_line(error)}")
            continue
        problems += unfit
        parts.append(rows)
    frame = pd.concat(parts, ignore_index=True) if parts else typed_frame(pd.DataFrame(), columns)
    frame.attrs["problems"] = problems
    return frame


def read_folders(study_dir: Path) -> Study:
    """Read every run folder of a study; what cannot be read is a problem of the study."""
    rows: list[dict[str, Any]] = []
    tables: list[pa.Table] = []
    problems: list[str] = []
    for folder in sorted(_run_folders(study_dir)):
        try:
            row = read_record(folder)["run"]
            table = _curves_in(folder)
        except NewerSchema:
            raise
        except UNREADABLE as error:
            problems.append(f"{folder} cannot be read and was left out: {one_line(error)}")
            continue
        rows.append(row)
        tables.append(table)
    runs = typed_runs(pd.DataFrame(rows, dtype=object))
    curves = pa.concat_tables(tables).to_pandas() if tables else CURVES_SCHEMA.empty_table().to_pandas()
    return study_of(runs, typed_frame(curves, CURVES), problems)


def _run_folders(study_dir: Path) -> list[Path]:
    """Return what stands for a run in a study; nothing where the folder of the runs is a link."""
    runs_dir = study_dir / "runs"
    if runs_dir.is_symlink() or not runs_dir.is_dir():
        return []
    return [
        path for path in runs_dir.iterdir() if not path.name.startswith(".") and (path.is_dir() or path.is_symlink())
    ]


def _curves_in(folder: Path) -> pa.Table:
    """Return the curves of a run folder.

    Raises:
        OSError, ValueError, pa.ArrowException: They cannot be read, or are not those of the run.
    """
    check_no_link(folder)
    table = read_table(folder / "curves.parquet").select(CURVES_SCHEMA.names).cast(CURVES_SCHEMA)
    if len(table):
        if table["run_id"].unique().to_pylist() != [folder.name]:
            raise ValueError("curves.parquet holds other runs")
        if any(table[column.name].null_count for column in CURVES if column.required):
            raise ValueError("curves.parquet lacks values")
        if not set(table["split"].unique().to_pylist()) <= set(SPLITS):
            raise ValueError(f"curves.split must be one of {', '.join(SPLITS)}")
        if not pc.all(pc.is_finite(table["value"])).as_py():
            raise ValueError("curves.value must be finite")
    return table


def read_record(folder: Path) -> dict[str, Any]:
    """Return the run.json of one run folder, its row checked.

    Raises:
        OSError: It is absent or cannot be read.
        ValueError: It is damaged, of another run, or of a newer version.
    """
    check_no_link(folder)
    record = read_json(folder / "run.json")
    if not isinstance(record, dict) or not isinstance(record.get("run"), dict):
        raise ValueError("run.json holds no run")
    check_version(int(record.get("schema_version", 0)), folder)
    record["run"] = checked_row(record["run"])
    if record["run"]["run_id"] != folder.name:
        raise ValueError(f"it holds run {record['run']['run_id']:.80}")
    return record


def check_study(study_dir: Path) -> None:
    """Look whether a study may be added to, before anything is run for it.

    Raises:
        NewerSchema: Its tables were written by a newer version of this package.
        OddFile: One of its folders is a symbolic link, so that results would be written elsewhere.
    """
    for name in ("runs", "inflight", *SIDE):
        check_no_link(study_dir / name)
    try:
        meta = read_schema(study_dir / "runs.parquet").metadata or {}
        check_version(int(meta.get(b"schema_version", b"0")), study_dir)
    except NewerSchema:
        raise
    except UNREADABLE:
        return


def latest(study_dir: Path, cell_id: str, seed: int) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """Return the row and the curves of the newest run of a cell with a seed, in whichever environment; None: there is none."""
    newest: tuple[dict[str, Any], pd.DataFrame] | None = None
    for folder in (study_dir / "runs").glob(run_id(cell_id, seed, "*")):
        try:
            row = read_record(folder)["run"]
            curves = _curves_in(folder).to_pandas()
        except (*UNREADABLE, UserError):
            continue
        if newest is None or str(row["started_at"]) > str(newest[0]["started_at"]):
            newest = row, curves
    return newest


def recorded(study_dir: Path) -> pd.DataFrame:
    """Return the table `runs` of a study as it is now, without its curves; empty where there is no study.

    Raises:
        ValueError: The study was written by a newer version of this package.
    """
    if _is_current(study_dir) and (built := _built(study_dir)) is not None:
        return built.runs
    rows = []
    for folder in sorted(_run_folders(study_dir)):
        with suppress(*UNREADABLE):
            rows.append(read_record(folder)["run"])
    return typed_runs(pd.DataFrame(rows, dtype=object))


def find_side(study_dir: Path, table: str, part: str) -> dict[str, Any] | None:
    """Return the first row of a part of a side table, or None where there is no such part that can be read."""
    try:
        (row, *_) = read_table(study_dir / table / f"{part}.parquet").to_pylist()
        return check_values(table, SIDE[table], row)
    except UNREADABLE:
        return None


def find(study_dir: Path, run_id: str) -> dict[str, Any] | None:
    """Return the row of a run that exists whole and counts as done, or None."""
    folder = run_folder(study_dir, run_id)
    try:
        row: dict[str, Any] = read_record(folder)["run"]
        read_schema(folder / "curves.parquet")
    except NewerSchema:
        raise
    except UNREADABLE:
        return None
    return row if row["status"] in DONE else None
