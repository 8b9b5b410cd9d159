"""What the commands print."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.analysis.diagnosis import Group
from bench.analysis.leaderboard import board_of
from bench.analysis.overall import comparable, overall_board
from bench.analysis.section import SectionAnalysis
from bench.analysis.step_costs import baseline_of, rule_and_implementation, step_costs
from bench.base.text import size_text
from bench.report.formatting import aligned_table
from bench.report.study.diagnosis import finding_sentence, stands_out
from bench.report.study.leaderboard import DECIDING, headline, overall_headline, readable_leaderboard, readable_overall
from bench.report.study.next_command import doubts, next_command
from bench.report.study.sentences import absent_words, budget_words, smallest_difference_words
from bench.report.study.tables import (
    readable_memory,
    readable_parts,
    readable_step_costs,
    readable_summary,
    readable_tuned,
)
from bench.tables.studies import StudyFolder

MOST_COLUMNS = 100


def width() -> int:
    """Return how many columns to fill: those of the terminal, 100 at most, and 100 where there is none."""
    return max(40, min(MOST_COLUMNS, shutil.get_terminal_size((MOST_COLUMNS, 24)).columns))


def studies_text(found: Sequence[StudyFolder], results_dir: Path) -> str:
    """Return the list of studies for a terminal.

    Args:
        found: What `studies` gave.
        results_dir: Where they are.
    """
    if not found:
        return f"There is no study in {results_dir}; python -m bench optimizer=adam,sgd -m makes one."
    width = max(len("study"), *(len(study.path.name) for study in found))
    lines = [f"{'study':{width}}  {'runs':>6}  {'size':>9}  changed"]
    for study in found:
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.changed_at))
        lines.append(f"{study.path.name:{width}}  {study.num_runs:6,}  {size_text(study.num_bytes):>9}  {changed}")
    return "\n".join([*lines, "", "python -m bench.studies show NAME, or rm NAME to remove one"])


def summary_text(
    analyses: Iterable[SectionAnalysis],
    study: str = "STUDY",
    ran: Collection[str] | None = None,
    show_all: bool = False,
) -> str:
    """Return what a study says, for a terminal: the leaderboard of each section.

    Args:
        analyses: Of the sections of the study.
        study: Its folder, for the command that shows more.
        ran: The runs of the command at hand; sections without any of them come last, a line each. None: all sections
            are shown.
        show_all: Show every setting and the tuning, and every section.
    """
    known = list(analyses)
    tuned = {found.section.title.removesuffix(", tuned") for found in known if found.section.tuned}
    parts: list[str] = []
    shown: list[SectionAnalysis] = []
    others: list[str] = []
    for found in known:
        section = found.section
        own = pd.concat([section.runs, section.trials])["run_id"]
        of_command = ran is None or bool(own.isin(ran).any())
        if show_all or (of_command and section.title.removesuffix(", not tuned") not in tuned):
            parts.append(_section_text(found, study, show_all))
            shown.append(found)
        else:
            others.append(f"  {section.title} ({len(own)} runs)")
    board = overall_board(comparable(shown))
    if len(board):
        table = fitted(readable_overall(board), width())
        parts.insert(0, "\n".join(["All workloads together", overall_headline(board), "", *aligned_table(table)]))
    if others:
        parts.append("\n".join([f"Also in this study (python -m bench.report {study} --all):", *others]))
    return "\n\n".join(parts)


def _section_text(found: SectionAnalysis, study: str, show_all: bool) -> str:
    """Return the headline, the leaderboard, what to doubt of it and what to type next."""
    section, columns = found.section, width()
    board = board_of(found)
    lines = [section.title, *_wrapped(headline(found, board), columns)]
    if section.predicted:
        return "\n".join([*lines, "", *aligned_table(readable_memory(found.memory_by_part))])
    if board is not None:
        table = readable_leaderboard(board)
        lines += ["", *aligned_table(fitted(table, columns)), ""]
        lines += _wrapped(" ".join(doubts(found, board)), columns)
        lines += _wrapped(stands_out(found, study), columns)
        suggestion = next_command(found, board)
        if suggestion is not None:
            lines += [*_wrapped(f"Next: {suggestion.reason}{':' if suggestion.command else '.'}", columns)]
            lines += [f"  {suggestion.command}{suggestion.about}"] if suggestion.command else []
    if section.tuned and (show_all or board is None):
        lines += ["", *(aligned_table(readable_tuned(found)) if len(section.runs) else [])]
        lines += _wrapped(" ".join(budget_words(found)), columns)
    if show_all and len(section.runs):
        lines += ["", "All settings", *aligned_table(readable_summary(found.summary))]
    return "\n".join(lines)


def findings_text(title: str, groups: Sequence[Group], is_recorded: bool) -> str:
    """Return what stands out in the runs of a section, for a terminal.

    Args:
        title: Of the section.
        groups: What `grouped` gave of its findings.
        is_recorded: Whether its runs recorded diagnostics.
    """
    lines = [title]
    for group in groups:
        lines += ["", *(textwrap.wrap(finding_sentence(group), width(), subsequent_indent="  "))]
        lines += [f"  Try: {line}" for line in [group.first.advice] if line]
        lines += [f"    {group.command}"] if group.command else []
    if not groups:
        lines += ["", "Nothing stands out."]
    if not is_recorded:
        lines += ["", *_wrapped("Curves alone were looked at; runs with diagnostics=light or full say more.", width())]
    return "\n".join(lines)


def _wrapped(text: str, columns: int) -> list[str]:
    return textwrap.wrap(text, columns, break_on_hyphens=False, break_long_words=False)


def fitted(table: pd.DataFrame, columns: int) -> pd.DataFrame:
    """Return the columns of a leaderboard that fit into a width, those that decide first.

    Args:
        table: What `readable_leaderboard` gave.
        columns: The width in characters.
    """
    kept: list[str] = []
    order = sorted(table, key=lambda name: next((i for i, start in enumerate(DECIDING) if name.startswith(start)), 99))
    for name in order:
        chosen = [column for column in table if column in {*kept, name}]
        if max(len(line) for line in aligned_table(table[chosen])) <= columns:
            kept.append(name)
    return table[[name for name in table if name in kept]]


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
        ("training", f"Training step: its time relative to one with {baseline_of(rows)} in the same implementation"),
        ("rule", "Update rule alone, which is the limit of that for models whose passes cost nothing"),
        ("implementation", "Implementation: step time of the for-loop relative to the same optimizer in"),
    ):
        table = readable_parts(parts, kind)
        if len(table):
            lines += ["", title, *aligned_table(table)]
    words = [smallest_difference_words(costs), *absent_words(costs)]
    return "\n".join([*lines, "", *(textwrap.fill(sentence, 110) for sentence in words if sentence)])
