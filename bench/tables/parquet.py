"""Read Parquet files that may come from a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from bench.base.files import open_bounded

MAX_BYTES = 8 * 2**30
"""Size above which a file is not read."""


MAX_ROWS = 10**8
"""Rows above which a file is not read; few bytes can hold very many equal rows."""


UNREADABLE = (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RecursionError, pa.ArrowException)
"""What reading a damaged file raises."""


def read_table(path: Path) -> pa.Table:
    """Return the table of a Parquet file.

    Raises:
        OSError: It cannot be read, or is not a regular file of at most `MAX_BYTES`.
        ValueError: It holds more than `MAX_ROWS` rows, or two columns of one name.
        pa.ArrowException: It is damaged.
    """
    with open_bounded(path, MAX_BYTES) as file:
        parquet = _opened(file)
        return parquet.read()


def read_schema(path: Path) -> pa.Schema:
    """Return the schema of a Parquet file with its metadata, and raise as `read_table` does."""
    with open_bounded(path, MAX_BYTES) as file:
        return _opened(file).schema_arrow


def _opened(file: IO[bytes]) -> pq.ParquetFile:
    parquet = pq.ParquetFile(file)
    if parquet.metadata.num_rows > MAX_ROWS:
        raise ValueError(f"it holds {parquet.metadata.num_rows:,} rows, more than the {MAX_ROWS:,} that are read")
    names = parquet.schema_arrow.names
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have the same name")
    return parquet
