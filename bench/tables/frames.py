"""Rows and frames of declared columns, checked and typed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from bench.base.errors import UserError
from bench.tables.columns import CURVES, HYPERPARAMETER_PREFIX, RUNS, SCHEMA_VERSION, SPLITS, Column

_PANDAS = {"string": "string", "json": "string", "int": "Int64", "float": "float64", "bool": "boolean"}


ARROW_TYPES = {"string": pa.string(), "json": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


_PYTHON = {"string": (str,), "json": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


CURVES_SCHEMA = pa.schema([pa.field(c.name, ARROW_TYPES[c.kind]) for c in CURVES])


class Study(NamedTuple):
    """The two core tables of a study."""

    runs: pd.DataFrame
    curves: pd.DataFrame

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read of the study, a sentence each; kept in `runs.attrs`."""
        return tuple(self.runs.attrs.get("problems", ()))


def study_of(runs: pd.DataFrame, curves: pd.DataFrame, problems: Iterable[str] = ()) -> Study:
    """Return tables as a study, with what could not be read as its problems."""
    runs.attrs["problems"] = list(problems)
    return Study(runs, curves)


def checked_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a row of `runs` to its columns, and give it back with missing values as None.

    Raises:
        ValueError: A column is unknown, missing, of another type, or not among its allowed values.
    """
    extra = {name: value for name, value in row.items() if name.startswith(HYPERPARAMETER_PREFIX)}
    for name, value in extra.items():
        if not isinstance(value, bool | int | float | str | None) or _does_not_fit(value):
            raise ValueError(f"runs.{name} must be a number, a boolean or text, got {value!r:.80}")
    return extra | check_values("runs", RUNS, {name: value for name, value in row.items() if name not in extra})


def check_values(table: str, columns: Iterable[Column], row: Mapping[str, Any]) -> dict[str, Any]:
    """Hold a row to the columns of its table, and return it with missing values as None.

    Raises:
        ValueError: A column is unknown or missing, or a value is not of its type or among those allowed.
    """
    names = {column.name for column in columns}
    for name in row:
        if name not in names:
            raise ValueError(
                f"{table}.{name} must be a column of {table}, got an unknown one; see bench/tables/columns.py"
            )
    checked = {}
    for column in columns:
        value = row.get(column.name)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if value is None and column.required:
            raise ValueError(f"{table}.{column.name} must be set, got nothing")
        if value is not None:
            wrong_bool = isinstance(value, bool) and column.kind != "bool"
            if wrong_bool or not isinstance(value, _PYTHON[column.kind]) or _does_not_fit(value):
                raise ValueError(f"{table}.{column.name} must be of kind {column.kind}, got {value!r:.80}")
            if column.allowed and value not in column.allowed:
                raise ValueError(f"{table}.{column.name} must be one of {', '.join(column.allowed)}, got {value!r:.80}")
            if column.kind == "json":
                check_object(f"{table}.{column.name}", str(value))
        checked[column.name] = value
    return checked


MAX_TEXT = 10**6
"""Characters that a text may have, at most."""


def _does_not_fit(value: object) -> bool:
    """Tell whether a whole number does not fit 64 bits, or a text is too long or no Unicode (a lone surrogate)."""
    if isinstance(value, str):
        return len(value) > MAX_TEXT or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def check_object(name: str, text: str) -> None:
    """Hold a text to be a JSON object of names.

    Raises:
        ValueError: It is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{name} must be a JSON object, got {text!r:.80}")


def curves_table(run_id: str, points: Sequence[tuple[int, float, str, str, float, float]]) -> pa.Table:
    """Return the rows of `curves` of one run.

    Args:
        run_id: The run.
        points: (step, epoch, split, metric, value, train_time_s) each.

    Raises:
        ValueError: A value is not finite, or a split is unknown.
    """
    for step, _, split, metric, value, _ in points:
        if split not in SPLITS:
            raise ValueError(f"curves.split must be one of {', '.join(SPLITS)}, got {split!r}")
        if not math.isfinite(value):
            raise ValueError(f"curves.value must be finite, got {value} for {split} {metric} at step {step}")
    columns = list(zip(*points, strict=True)) if points else [()] * 6
    arrays = [pa.array([run_id] * len(points), pa.string())]
    arrays += [pa.array(column, field.type) for column, field in zip(columns, list(CURVES_SCHEMA)[1:], strict=True)]
    return pa.Table.from_arrays(arrays, schema=CURVES_SCHEMA)


class NewerSchema(UserError):
    """Results of a newer version of this package."""


def check_version(version: int, where: Path) -> None:
    """Refuse tables of a newer version than ours.

    Raises:
        NewerSchema: They are.
    """
    if version > SCHEMA_VERSION:
        raise NewerSchema(
            f"the tables must be of version {SCHEMA_VERSION} or older, got version {version} in {where};"
            " upgrade this package to read them"
        )


def typed_frame(frame: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """Return a frame with exactly these columns, each of its dtype."""
    series = {}
    for column in columns:
        values = frame[column.name] if column.name in frame else pd.Series(None, index=frame.index, dtype=object)
        series[column.name] = values.astype(_PANDAS[column.kind])
    return pd.DataFrame(series, index=frame.index)


def typed_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows of `runs` with typed columns, hyperparameters included."""
    extra = {}
    for name in sorted(name for name in frame if name.startswith(HYPERPARAMETER_PREFIX)):
        values = frame[name]
        kinds = {type(v) if isinstance(v, bool | str) else float for v in values.dropna().tolist()}
        if kinds == {bool}:
            extra[name] = values.astype("boolean")
        elif kinds == {float}:
            extra[name] = values.astype("float64")
        else:
            extra[name] = values.map(lambda v: v if isinstance(v, str) else json.dumps(v), na_action="ignore").astype(
                "string"
            )
    return pd.concat([typed_frame(frame, RUNS), pd.DataFrame(extra, index=frame.index)], axis=1)


def one_line(error: BaseException) -> str:
    """Return the first line of an error, or its type."""
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
