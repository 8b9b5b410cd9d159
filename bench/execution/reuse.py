"""Decide which runs exist with all that is asked of them, and so need not be made again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import tables
from bench.base.diagnostics import DIAGNOSTIC_NAMES, LANDSCAPE
from bench.config.schema import Config


def reusable_row(config: Config, run_id: str) -> dict[str, Any] | None:
    """Return the row of a run that need not be made again, or None.

    A run is made again if `force` is set, if it was interrupted or failed, if it hit a time limit lower than the
    present one, or if it left less than is asked for now: metrics or diagnostics on request, or the best weights.

    Args:
        config: The cell.
        run_id: Which of its runs.
    """
    row = None if config.force else tables.find(config.study_dir, run_id)
    if row is not None and row["status"] == "timeout":
        limit, before = config.train.time_limit_s, row["time_limit_s"]
        return row if limit is not None and limit <= before else None
    if row is not None and row["status"] == "ok" and row["stage"] != "predicted" and not _has_all(config, row):
        return None
    return row


def keep_what_exists(config: Config, run_id: str) -> Config:
    """Return the cell, asking for at least what an existing run left, since the new run takes its place."""
    row = tables.find(config.study_dir, run_id)
    if row is None:
        return config
    train = config.train.model_copy(update={"save_best": config.train.save_best or _has_best_weights(config, run_id)})
    metrics = sorted({*config.metrics, *_names(row, "metrics")})
    asked = config.diagnostics.asked | _names(row, "diagnostics")
    record = [name for name in DIAGNOSTIC_NAMES if name in asked]
    diagnostics = config.diagnostics.model_copy(update={"record": record, "landscape": LANDSCAPE in asked})
    return config.model_copy(update={"train": train, "metrics": metrics, "diagnostics": diagnostics})


def _has_all(config: Config, row: Mapping[str, Any]) -> bool:
    wants_weights = config.train.save_best
    has_records = set(config.metrics) <= _names(row, "metrics") and config.diagnostics.asked <= _names(
        row, "diagnostics"
    )
    return has_records and (not wants_weights or _has_best_weights(config, row["run_id"]))


def _has_best_weights(config: Config, run_id: str) -> bool:
    return (tables.run_folder(config.study_dir, run_id) / "best.pt").is_file()


def _names(row: Mapping[str, Any], column: str) -> set[str]:
    """Return the metrics or diagnostics on request that a run recorded."""
    return set(filter(None, (row.get(column) or "").split(",")))
