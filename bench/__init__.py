"""Benchmark optimizers: loss, wall-clock time and peak memory of every run in one table.

From Python: `from bench import compare`; see `bench.api.comparison.compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.base.version import __version__ as __version__

if TYPE_CHECKING:
    from bench.api.comparison import Comparison as Comparison
    from bench.api.comparison import compare as compare


def __getattr__(name: str) -> Any:
    """Find `compare` and `Comparison` when they are asked for: they import torch and pandas."""
    if name in ("compare", "Comparison"):
        from bench.api import comparison

        return getattr(comparison, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
