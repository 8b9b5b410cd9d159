"""What a command concluded, as JSON for scripts: `--json`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from bench.analysis.leaderboard import board_of
from bench.analysis.section import SectionAnalysis
from bench.analysis.step_costs import rule_and_implementation, step_costs
from bench.report.study.leaderboard import headline
from bench.report.study.next_command import doubts, next_command


def as_json(value: Any) -> str:
    """Return numbers, texts, tables and what holds them as JSON.

    A table is a list of its rows. What is missing, or infinite as a limit that does not exist, is null.

    >>> as_json({"low": math.inf, "table": pd.DataFrame({"a": [1, 2]})})
    '{"low": null, "table": [{"a": 1}, {"a": 2}]}'
    """
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, bool | int | float | str) else str(value)


def sections_summary(analyses: Iterable[SectionAnalysis]) -> list[dict[str, Any]]:
    """Return what each section says: its headline, leaderboard, target, doubts and the next command to type.

    Args:
        analyses: Of the sections of a study.
    """
    said = []
    for found in analyses:
        section = found.section
        board = board_of(found)
        one: dict[str, Any] = {"section": section.title, "headline": headline(found, board), "tuned": section.tuned}
        if board is not None:
            suggestion = next_command(found, board)
            one |= {
                "leaderboard": board.rows,
                "best": board.best,
                "target": found.target,
                "comparisons": found.pairs,
                "doubts": list(doubts(found, board)),
                "next": None if suggestion is None else {"reason": suggestion.reason, "command": suggestion.command},
            }
        said.append(one)
    return said


def step_costs_summary(rows: pd.DataFrame) -> dict[str, Any]:
    """Return what a session of step costs says: each optimizer's cost, and what is due to rule and implementation.

    Args:
        rows: Rows of the side table `step_costs`, of one session.
    """
    return {
        "workload": rows["workload"].iloc[0],
        "device": rows["device"].iloc[0],
        "step_costs": step_costs(rows),
        "comparisons": rule_and_implementation(rows),
    }
