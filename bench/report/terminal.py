"""What the commands print."""

from __future__ import annotations

import textwrap

import pandas as pd

from bench.analysis.section import analyses
from bench.analysis.step_costs import baseline_of, rule_and_implementation, step_costs
from bench.report.formatting import aligned_table
from bench.report.study.sentences import absent_words, budget_words, smallest_difference_words, verdict
from bench.report.study.tables import (
    readable_memory,
    readable_parts,
    readable_step_costs,
    readable_summary,
    readable_tuned,
)


def summary_text(runs: pd.DataFrame, memory: pd.DataFrame) -> str:
    """Return the summary of a study for a terminal.

    Args:
        runs: The table `runs`.
        memory: The side table `memory`.
    """
    parts = []
    for found in analyses(runs, memory):
        section = found.section
        if section.predicted:
            body = "\n".join(aligned_table(readable_memory(found.memory_by_part)))
            parts.append(f"{section.title}\n{body}\n{textwrap.fill(verdict(found), 100)}")
            continue
        tables = [readable_summary(found.summary)] if len(section.runs) else []
        said = [verdict(found)]
        if section.tuned:
            tables += [readable_tuned(found)] if len(section.runs) else []
            said += budget_words(found)
        bodies = ["\n".join(aligned_table(table)) for table in tables]
        parts.append("\n".join([section.title, *bodies, *(textwrap.fill(sentence, 100) for sentence in said)]))
    return "\n\n".join(parts)


def step_cost_text(rows: pd.DataFrame) -> str:
    """Return the step costs of one session for a terminal.

    Args:
        rows: Rows of the side table `step_costs`, of one session.
    """
    costs = step_costs(rows)
    lines = [f"One optimizer step: {rows['workload'].iloc[0]}, {rows['device'].iloc[0]}"]
    if (costs["status"] == "ok").any():
        lines += aligned_table(readable_step_costs(costs))
    parts = rule_and_implementation(rows)
    for kind, title in (
        ("rule", f"Update rule: step time relative to {baseline_of(rows)} in the same implementation"),
        ("implementation", "Implementation: step time of the for-loop relative to the same optimizer in"),
    ):
        table = readable_parts(parts, kind)
        if len(table):
            lines += ["", title, *aligned_table(table)]
    words = [smallest_difference_words(costs), *absent_words(costs)]
    return "\n".join([*lines, "", *(textwrap.fill(sentence, 110) for sentence in words if sentence)])
