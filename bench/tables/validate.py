"""Hold whole tables, as read from files, to their columns; rows that do not fit are left out and named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from bench.base.files import checked_name
from bench.tables.columns import HYPERPARAMETER_PREFIX, Column
from bench.tables.frames import ARROW_TYPES, check_object, typed_frame


def frame_of(table: pa.Table, columns: Iterable[Column]) -> pd.DataFrame:
    """Return the declared columns of a table, typed, and its hyperparameters as they are.

    Raises:
        pa.ArrowException: A column has values of another type.
        ValueError: A hyperparameter is neither a number nor a boolean nor text.
    """
    columns = list(columns)
    arrays = {c.name: table[c.name].cast(ARROW_TYPES[c.kind]) for c in columns if c.name in table.column_names}
    extra = [name for name in table.column_names if name.startswith(HYPERPARAMETER_PREFIX)]
    for name in extra:
        kind = table.schema.field(name).type
        if not any(is_kind(kind) for is_kind in _SCALARS):
            raise ValueError(f"{name} must hold numbers, booleans or text, got {kind}")
    frame = typed_frame(pa.table(arrays).to_pandas() if arrays else pd.DataFrame(index=range(len(table))), columns)
    return pd.concat([frame, table.select(extra).to_pandas()], axis=1) if extra else frame


_SCALARS = (
    pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_string, pa.types.is_large_string,
    pa.types.is_null,
)  # fmt: skip


def fitting_rows(frame: pd.DataFrame, columns: Iterable[Column], where: Path) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows that fit their columns, numbers that are not finite as missing, and a sentence on the others.

    Args:
        frame: With the declared columns, typed.
        columns: What they must hold.
        where: The file, for the sentence.
    """
    unfit, reason = np.zeros(len(frame), dtype=bool), ""
    infinite = {}
    for column in columns:
        if column.kind == "float" and np.isinf(values := frame[column.name].to_numpy(float)).any():
            infinite[column.name] = np.where(np.isinf(values), np.nan, values)
        bad = _unfit(column, frame[column.name])
        if bad is not None and bad.any():
            unfit |= bad
            reason = reason or f"{column.name} is missing, or holds what it must not"
    frame = frame.assign(**infinite) if infinite else frame
    if not unfit.any():
        return frame, []
    return frame[~unfit].reset_index(drop=True), [f"{int(unfit.sum())} rows of {where} were left out: {reason}"]


def _unfit(column: Column, values: pd.Series) -> np.ndarray | None:
    """Tell which values a column must not hold; None: it may hold any."""
    bad: np.ndarray | None = values.isna().to_numpy(bool) if column.required else None
    holds = None
    if column.kind == "json":
        holds = _is_object
    elif column.name == "run_id":
        holds = _is_name
    if column.allowed or holds is not None:
        known = values.dropna().unique()
        odd = [text for text in known if not (holds(text) if holds is not None else text in column.allowed)]
        if odd:
            among: np.ndarray = values.isin(odd).to_numpy(bool)
            return among if bad is None else bad | among
    return bad


def _is_object(text: str) -> bool:
    try:
        check_object("", text)
    except ValueError:
        return False
    return True


def _is_name(text: str) -> bool:
    try:
        checked_name(text)
    except ValueError:
        return False
    return True


def sentences_in(metadata: bytes) -> list[str]:
    """Return the sentences that a table keeps on what could not be read when it was built; none where that is damaged."""
    try:
        found = json.loads(metadata)
    except (ValueError, RecursionError):
        return []
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
