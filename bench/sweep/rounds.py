"""Add seeds in rounds until the comparisons of a sweep are decided: `seeds=auto`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from bench.analysis.sections import sections
from bench.analysis.sequential import ALIKE, DIFFERENT, OPEN, Looked, looked_at, undecided
from bench.base.console import say
from bench.config.identity import cell_id
from bench.config.schema import Config
from bench.execution.session import Session
from bench.measure.environment import device_name
from bench.tables.frames import typed_runs

MOST_NAMED = 6
"""Comparisons that a sentence names."""


def until_decided(
    cells: Sequence[Config], first_seed: int, make: Callable[[Mapping[int, Sequence[int]]], object], session: Session
) -> list[str]:
    """Run cells on more and more seeds, each as long as one of its comparisons is open.

    After each round the comparisons are looked at, see `bench.analysis.sequential.looked_at`. A look sees the seeds up to its
    number and no others, whatever else has been recorded: a sweep that was interrupted takes the same decisions again.

    Args:
        cells: As they are run, all with the same `looks` and `decide`.
        first_seed: The seeds are those from here on.
        make: Makes runs: some seeds of some cells, given by their positions.
        session: Holds the rows of what was made and found.

    Returns:
        What was decided and what was not, a sentence each workload.
    """
    if not cells:
        return []
    looks, decide = cells[0].looks, cells[0].decide
    ids = [cell_id(config, device_name(config)[0]) for config in cells]
    given = dict.fromkeys(range(len(cells)), 0)
    going = set(given)
    stopped, spent_s = f"decide.max_seeds={decide.max_seeds}", 0.0
    by_workload: dict[str, list[Looked]] = {}
    for number, num_seeds in enumerate(looks, start=1):
        make({i: range(first_seed + given[i], first_seed + num_seeds) for i in sorted(going)})
        given |= dict.fromkeys(going, num_seeds)
        rows = _rows(session, {ids[i]: range(first_seed, first_seed + num) for i, num in given.items()})
        by_workload, open_cells = _look(rows, decide.delta)
        looked = [one for each in by_workload.values() for one in each]
        open_ = [one for one in looked if one.verdict == OPEN]
        say(
            f"bench: look {number} of {len(looks)} at most, {num_seeds} seeds: {len(looked) - len(open_)} of {len(looked)}"
            f" comparisons decided{'; open: ' if open_ else ''}{_named(open_)}",
            sys.stderr,
        )
        going = {i for i, cell in enumerate(ids) if cell in open_cells}
        if not going or number == len(looks):
            break
        spent_s = sum(float(row.get("total_s") or 0.0) for row in rows)
        coming = sum(_mean_s(rows, ids[i]) * (looks[number] - given[i]) for i in going)
        if decide.max_minutes is not None and spent_s + coming > 60 * cells[0].launcher.n_jobs * decide.max_minutes:
            stopped = f"decide.max_minutes={decide.max_minutes:g}"
            break
    return [
        _sentence(workload, looked, decide.delta, max(given.values()), stopped)
        for workload, looked in by_workload.items()
    ]


def _rows(session: Session, seeds: Mapping[str, range]) -> list[Mapping[str, Any]]:
    """Return the rows of cells on these seeds, in an order that no launcher changes."""
    order = list(seeds)
    known = [row for row in session.rows.values() if row["seed"] in seeds.get(row["cell_id"], ())]
    return sorted(known, key=lambda row: (order.index(row["cell_id"]), row["seed"]))


def _mean_s(rows: Sequence[Mapping[str, Any]], cell: str) -> float:
    took = [float(row.get("total_s") or 0.0) for row in rows if row["cell_id"] == cell]
    return sum(took) / max(1, len(took))


def _look(rows: Sequence[Mapping[str, Any]], delta: float) -> tuple[dict[str, list[Looked]], set[str]]:
    """Return what a look says, by workload, and the cells that need more seeds."""
    by_workload: dict[str, list[Looked]] = {}
    cells: set[str] = set()
    if rows:
        for section in sections(typed_runs(pd.DataFrame(rows, dtype=object))):
            looked = by_workload[section.title] = looked_at(section, delta)
            needed = section.runs["series"].isin(undecided(looked))
            cells |= set(section.runs.loc[needed, "cell_id"])
    return by_workload, cells


def _named(looked: Sequence[Looked]) -> str:
    names = [f"{one.a} and {one.b}" for one in looked]
    more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


def _sentence(workload: str, looked: Sequence[Looked], delta: float, num_seeds: int, stopped: str) -> str:
    """Return what was decided of the optimizers, each at its best setting, and what was not."""
    optimizers = [one for one in looked if not one.rivals]
    if not optimizers:
        return (
            f"{workload}: seeds=auto had nothing to decide, which takes two optimizers whose losses vary with the seed"
        )
    of = {verdict: [one for one in optimizers if one.verdict == verdict] for verdict in (DIFFERENT, ALIKE, OPEN)}
    said = (
        f"{workload}, {num_seeds} seeds at most: {len(optimizers) - len(of[OPEN])} of {len(optimizers)} comparisons of"
        f" optimizers are decided, {len(of[DIFFERENT])} as different by more than {100 * delta:g} % of the loss,"
        f" {len(of[ALIKE])} as not"
    )
    said += f" ({_named(of[ALIKE])})" if of[ALIKE] else ""
    return said + (f"; open at {stopped}: {_named(of[OPEN])}" if of[OPEN] else "")
