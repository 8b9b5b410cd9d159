"""Read the tables that claims are judged by, and write those that are published."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench.base.console import say
from bench.claims.effects.evidence import RATES, Evidence

if TYPE_CHECKING:
    import pandas as pd


TABLES = ("runs", "curves", "step_costs", "claim_runs", "facts")
"""What judging needs, and what is published."""


def tables_of(folder: Path) -> tuple[Evidence, pd.DataFrame]:
    """Return the tables of a study by which claims are judged, and its side table `facts`.

    Raises:
        FileNotFoundError: There is no such study.
    """
    from bench import tables

    study = tables.load(folder)
    costs, claim_runs, facts = (tables.load_side(folder, name) for name in ("step_costs", "claim_runs", "facts"))
    for problem in (*study.problems, *costs.attrs["problems"], *claim_runs.attrs["problems"], *facts.attrs["problems"]):
        say(f"bench.reproduce: {problem}", sys.stderr)
    return Evidence(study.runs, study.curves, costs, claim_runs), facts


def publish(folder: Path, evidence: Evidence, facts: pd.DataFrame) -> None:
    """Write only the tables and rows that judging needs, in as few bytes as possible.

    Runs that no claim is judged by are left out, and so are curves of runs at every learning rate, and what tells of the
    machine but not of its measurements: its name, paths, the state of a checkout. Curves are kept to single precision.

    Args:
        folder: Where to.
        evidence: The tables.
        facts: Side table `facts`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bench import tables

    claimed = evidence.claim_runs
    runs = evidence.runs[evidence.runs["run_id"].isin(claimed["run_id"])]
    runs = runs.assign(hostname=None, git_commit=None, command=None)
    runs["data_options"] = runs["data_options"].map(_without_paths)
    drawn = claimed[claimed["at"] != RATES]
    curves = evidence.curves[evidence.curves["run_id"].isin(drawn["run_id"]) & (evidence.curves["split"] != "test")]
    curves = curves.astype({"value": "float32", "train_time_s": "float32"})
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in zip(
        TABLES, (runs, curves, evidence.step_costs.assign(command=None), claimed, facts), strict=True
    ):
        made = pa.Table.from_pandas(table.reset_index(drop=True), preserve_index=False)
        made = made.replace_schema_metadata({b"schema_version": str(tables.SCHEMA_VERSION).encode()})
        pq.write_table(made, folder / f"{name}.parquet", compression="zstd", compression_level=19)


def _without_paths(options: str) -> str:
    """Return the arguments of a data set without the places of its files."""
    kept = {key: value for key, value in json.loads(options).items() if key not in ("root", "path")}
    return json.dumps(kept, sort_keys=True)
