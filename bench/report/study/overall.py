"""What the report shows of several workloads together: their leaderboard and the performance profile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from bench.analysis.overall import comparable, overall_board
from bench.analysis.profiles import leave_one_out, performance_profile, profile_score, times_of
from bench.analysis.section import SectionAnalysis
from bench.plots.comparisons import profile_figure
from bench.report.document import Block
from bench.report.sheet import Sheet
from bench.report.study import findings
from bench.report.study.findings import Answer
from bench.report.study.leaderboard import overall_headline, readable_overall
from bench.report.study.page import Page

TITLE = "All workloads together"


def overall_page(analyses: Sequence[SectionAnalysis], sheet: Sheet) -> Page | None:
    """Return the page of several workloads together; None where fewer than two can be put together.

    Args:
        analyses: The numbers of the sections of the report.
        sheet: Where figures and tables go.

    Raises:
        OSError: A file cannot be written.
    """
    together = comparable(analyses)
    board = overall_board(together)
    answer, block = profile_block(together, sheet) if together else (None, None)
    if board.empty and block is None:
        return None
    blocks = [] if board.empty else [board_block(sheet.write("leaderboard", board))]
    return Page(
        title=TITLE,
        anchor=sheet.anchor(TITLE),
        headline="" if board.empty else overall_headline(board),
        board=None,
        answers=[answer] if answer is not None else [],
        facts=[],
        notes=[],
        blocks=sheet.anchored([*blocks, *([block] if block is not None else [])]),
        leads=True,
    )


def board_block(board: pd.DataFrame) -> Block:
    """Return the leaderboard over workloads as a block."""
    note = (
        "Mean rank over the workloads; optimizers that are not distinguishable share a rank, and one that did not learn or"
        " diverged has the last. Losses: geometric mean of the ratios, with its 95% interval over workloads (Student's t)."
    )
    return Block("overall", "Leaderboard over all workloads", readable_overall(board), [note])


def profile_block(together: Sequence[SectionAnalysis], sheet: Sheet) -> tuple[Answer | None, Block | None]:
    """Return the performance profile of several workloads, and what it says; nothing where the targets give none.

    By time where all step times are known, else by steps.

    Args:
        together: What `comparable` gave.
        sheet: Where figures and tables go.

    Raises:
        OSError: A file cannot be written.
    """
    steps, seconds = times_of(together), times_of(together, in_seconds=True)
    times, unit = (seconds, "time") if seconds.shape[1] == steps.shape[1] else (steps, "steps")
    times = times.loc[:, ~(times <= 0).any()]
    if min(times.shape) < 2:
        return None, None
    sheet = replace(sheet, setting="; ".join(dict.fromkeys(findings.setting(found) for found in together)))
    profile = sheet.write("profile", performance_profile(times))
    scores = profile_score(times).sort_values(ascending=False, kind="stable")
    without = leave_one_out(times)
    sheet.write("leave-one-out", without.rename_axis("optimizer").reset_index())
    readable = pd.DataFrame(
        {
            "optimizer": [str(name) for name in scores.index],
            "score": [f"{value:.3f}" for value in scores],
            **{
                f"without {out}": ["—" if pd.isna(v) else f"{v:.3f}" for v in without.loc[scores.index, out]]
                for out in (scores.index if len(scores) > 2 else ())
            },
        }
    )
    caption = (
        f"Performance profiles over {times.shape[1]} workloads: the share of them on which an optimizer needs at most τ times the"
        f" {unit} of the fastest to reach that workload's target. Lines that coincide are drawn slightly apart."
    )
    pictures = sheet.pictures(("profile", caption, profile_figure(profile, sheet.palette)))
    note = _profile_note(unit, len(scores))
    block = Block("profile", "Performance over all workloads", readable, [note], pictures)
    return findings.overall(times, unit), block


def _profile_note(unit: str, num_optimizers: int) -> str:
    by = (
        "time (steps × separately measured step time)"
        if unit == "time"
        else "steps; time is not used, because step times were not measured for all of them"
    )
    note = (
        f"Mean height of the profile from 1 to 4 times the fastest (Dolan and Moré 2002), by {by}; median over seeds. Never"
        " reaching the target counts as never within a factor of 4."
    )
    if num_optimizers > 2:
        note += (
            " A profile compares with the best optimizer that takes part, so each of the other columns leaves one out."
        )
    return note
