"""Peak memory of tensors by category, one row a configuration."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

MEMORY_PARTS = ("parameters", "gradients", "optimizer_state", "activations", "temporaries", "buffers", "inputs")
"""Columns <part>_mib of the side table `memory`, which add up to its peak."""


def memory_unit(memory: pd.DataFrame) -> tuple[float, str]:
    """Return what to multiply MiB by, and the unit of the result: KiB where all is small."""
    return (1024.0, "KiB") if memory["peak_mib"].max() < 1 else (1.0, "MiB")


def memory_of(runs: pd.DataFrame, memory: pd.DataFrame, series: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the side table `memory` of these series, in their order, one a series, with `series`."""
    cells = runs[runs["series"].isin(series)].drop_duplicates("series")[["series", "cell_id", "environment_id"]]
    found = (
        cells.merge(memory, on=["cell_id", "environment_id"], how="inner").drop_duplicates("series").set_index("series")
    )
    return found.loc[[one for one in series if one in found.index]].reset_index()
