"""Numbers, intervals and settings as text."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def with_interval(mean: float, low: float, high: float, scale: float = 1.0) -> str:
    """Return `0.123 ± 0.004`: two digits of the half-width, five of the mean at most; a dash where there is nothing."""
    if not math.isfinite(mean):
        return "—"
    mean, half = mean * scale, (high - low) / 2 * scale
    if not math.isfinite(half):
        return f"{mean:.4g}"
    if max(abs(mean), half) < 1e-4 and (mean or half):
        return f"{mean:.3g} ± {half:.2g}"
    most = 4 if mean == 0 else max(0, 4 - math.floor(math.log10(abs(mean))))
    digits = most if half <= 0 else min(most, max(0, 1 - math.floor(math.log10(half))))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def setting_text(value: object) -> str:
    """Return a hyperparameter as text."""
    return "—" if pd.isna(value) else f"{value:.3g}" if isinstance(value, float) else str(value)


def bought_text(row: pd.Series) -> str:
    """Return the ratio of tuned to default loss as text, with its interval."""
    if pd.isna(row["ratio"]):
        lost = int(row["num_default_lost"])
        return f"{lost} default run{'s' * (lost != 1)} did not end ok" if lost else "—"
    interval = f"{row['ratio']:.3g}{interval_text(row['adjusted_low'], row['adjusted_high'])}"
    return interval if row["significant"] else f"{interval} (not significant)"


def interval_text(low: float, high: float) -> str:
    """Return an interval in brackets, led by a space; empty where it has no limit on either side.

    >>> interval_text(0.5, 2.0), interval_text(0.0, 0.25), interval_text(3.0, math.inf)
    (' [0.5, 2]', ' [no limit, 0.25]', ' [3, no limit]')
    """
    low_text = f"{low:.3g}" if math.isfinite(low) and low > 0 else "no limit"
    high_text = f"{high:.3g}" if math.isfinite(high) else "no limit"
    return "" if low_text == high_text == "no limit" else f" [{low_text}, {high_text}]"


def p_text(p: float) -> str:
    """Return a p-value as text; a dash where nothing was tested."""
    return f"{p:.2g}" if math.isfinite(p) else "—"


def digits_text(value: float) -> str:
    """Return a number with three significant digits where it has decimals."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else f"{value:g}"


def ratio_text(row: Any) -> str:
    """Return the ratio of a step time to that of the baseline as text."""
    if row.is_baseline:
        return "1"
    if not row.ranked:
        return "contended" if math.isnan(row.ratio) else f"{row.ratio:.3g} (not ranked)"
    return (
        f"{row.ratio:.3g} [{row.ratio_low:.3g}, {row.ratio_high:.3g}]{'' if row.significant else ' (not significant)'}"
    )


def aligned_table(table: pd.DataFrame) -> list[str]:
    """Return a table of texts in columns of equal width."""
    widths = [max(len(name), *(len(v) for v in table[name])) for name in table]
    lines = [list(table), *table.to_numpy().tolist()]
    return ["  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in lines]
