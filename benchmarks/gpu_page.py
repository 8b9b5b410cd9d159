"""The page of `benchmarks/on_gpu.py`, made from its tables."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.analysis.step_costs import step_costs
from bench.report.study.tables import readable_step_costs

STYLE = """body { max-width: 70rem; margin: 0 auto; padding: 1.2rem; font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #d0d7de; white-space: nowrap; }"""

MEANINGS = {
    "tests": "The tests of tests/test_cuda.py.",
    "steps": "Time of one optimizer step, paired and interleaved (python -m bench.step_cost).",
    "memory": "Peak memory as the bench books it against the peak of CUDA's caching allocator, and predicted against booked.",
    "loop": "A training step of the bench against a hand-written loop; the ratio with its 95% interval.",
    "a_against_a": "Adam against itself: how often an interval leaves out 1.",
}


def write_page(out: Path) -> None:
    """Write `index.html` from the tables in a folder; parts without a table, or that failed, are named.

    Args:
        out: The folder that `on_gpu.py` wrote into.
    """
    (out / "index.html").write_text(
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'><title>The bench on a GPU</title>"
        f"<style>{STYLE}</style></head><body><main>\n{''.join(_body(out))}</main></body></html>\n",
        encoding="utf-8",
    )


def _body(out: Path) -> Iterator[str]:
    machine = pd.read_csv(out / "machine.csv").iloc[0]
    parts = pd.read_csv(out / "parts.csv", keep_default_na=False).set_index("part")
    yield "<h1>The bench on a GPU</h1>\n"
    yield f"<p>{html.escape(', '.join(f'{name}: {value}' for name, value in machine.dropna().items()))}</p>\n"
    for part, meaning in MEANINGS.items():
        yield f"<h2 id='{part}'>{html.escape(meaning)}</h2>\n"
        if part not in parts.index:
            yield "<p>Not run.</p>\n"
            continue
        if failure := parts.loc[part, "failure"]:
            yield f"<p>Incomplete: {html.escape(str(failure))}.</p>\n"
        path = out / ("step_costs.csv" if part == "steps" else f"{part}.csv")
        if path.exists():
            yield from _steps(path) if part == "steps" else [_table(pd.read_csv(path))]


def _steps(path: Path) -> Iterator[str]:
    """Yield a table for each network."""
    for network, rows in pd.read_csv(path).groupby("network", sort=False):
        yield f"<h3>{html.escape(str(network))}</h3>\n"
        costs = step_costs(rows.drop(columns="network"))
        ok = costs[costs["status"] == "ok"]
        yield _table(readable_step_costs(ok)) if len(ok) else "<p>No step was measured.</p>\n"


def _table(table: pd.DataFrame) -> str:
    """Return a table as HTML; names and reasons in it are texts."""
    return table.to_html(index=False, border=0, na_rep="", float_format=lambda value: f"{value:.4g}") + "\n"
