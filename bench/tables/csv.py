"""CSV files that spreadsheets may open: texts that they would take for formulas are quoted."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pandas as pd

from bench.base.console import printable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet executes."""


def write_csv(table: pd.DataFrame, place: Path | IO[bytes], float_format: str | None = None) -> None:
    """Write a table as CSV, without its index; a text that begins like a formula gets a quote in front.

    Args:
        table: Its values stay as they are.
        place: Path, or a file opened for writing bytes.
        float_format: As of `DataFrame.to_csv`.

    Raises:
        OSError: It cannot be written.
    """
    texts = [name for name, kind in table.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    safe = {name: table[name].map(_quoted, na_action="ignore") for name in texts}
    table.assign(**{str(name): values for name, values in safe.items()}).to_csv(
        place, index=False, float_format=float_format
    )


def _quoted(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
