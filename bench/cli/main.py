"""The command `python -m bench`: from a command line to runs, tables and a report."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from bench.base.console import say
from bench.base.errors import INTERRUPTED, NOT_ALL_OK, OK, REFUSED, UserError
from bench.base.text import show_warning
from bench.base.version import __version__
from bench.compose.command_line import MULTIRUN, run_command_line
from bench.execution.launchers.forkserver import prepare_pool
from bench.execution.session import Session, remove_empty, writing
from bench.sweep.launch import hydra_job

SHOW_ALL = "--all"
"""Flag that shows every setting, beside Hydra's own."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command `python -m bench`.

    Args:
        arguments: The command line; by default that of this process.

    Returns:
        The exit status.
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    show_all = SHOW_ALL in typed
    typed = [argument for argument in typed if argument != SHOW_ALL]
    if "--version" in typed:
        say(f"optbench {__version__}")
        return OK
    warnings.showwarning = show_warning
    session = Session(is_sweep=any(flag in typed for flag in MULTIRUN))
    if "launcher=pool" in typed and session.is_sweep:
        prepare_pool()
    try:
        session.refusal = run_command_line("config", hydra_job(session), typed)
    except KeyboardInterrupt:
        session.interrupted = True
    finally:
        if session.pool is not None:
            session.pool.close()
    status = OK
    try:
        status = _finish(session, show_all)
    except KeyboardInterrupt:
        session.interrupted = True
    except UserError as error:
        session.refusal = session.refusal or str(error)
    if session.interrupted:
        say("bench: interrupted; finished runs are saved, run the same command again to resume", sys.stderr)
        return INTERRUPTED
    if session.refusal:
        say(f"bench: {session.refusal}", sys.stderr)
        return REFUSED
    return status


def _finish(session: Session, show_all: bool) -> int:
    """Build the tables of every study touched, print what came out, and write the reports."""
    if not session.configs:
        return OK
    if session.refusal and not session.rows:
        for study_dir in session.configs:
            remove_empty(study_dir)
        return REFUSED
    from bench import tables
    from bench.analysis.study import StudyAnalysis
    from bench.report.terminal import summary_text

    for study_dir, config in session.configs.items():
        with writing(study_dir):
            study = tables.build(study_dir)
        for problem in study.problems:
            say(f"bench: {problem}", sys.stderr)
        if study.runs.empty:
            continue
        found = StudyAnalysis(study, study_dir)
        say(f"\n{summary_text(found.analyses, str(study_dir), session.rows, show_all)}\n")
        say(f"tables: {study_dir}{os.sep}")
        if config.report and not (session.interrupted or session.refusal):
            from bench.report.study.render import write_report

            report_dir = Path(config.reports_dir) / config.study
            with writing(report_dir, "reports_dir"):
                problems = write_report(found, report_dir)
            for problem in set(problems) - set(study.problems):
                say(f"bench: {problem}", sys.stderr)
            say(f"report: {report_dir / 'index.html'}")
    ran = {f"{row['cell_id']}-{row['environment_id']}": row for row in session.rows.values() if row["status"] == "ok"}
    for part, why in session.no_memory.items():
        if part in ran:
            say(f"bench: peak memory of {ran[part]['optimizer']} was not measured: {why}", sys.stderr)
    for sentence in (*session.notes, *session.lost):
        say(f"bench: {sentence}", sys.stderr)
    if session.num_found:
        say(f"{session.num_found} of these runs existed already and were not repeated (force=true repeats them).")
    if session.num_elsewhere:
        say(f"{session.num_elsewhere} runs were left to another process that is working on them.")
    fine = all(row["status"] in ("ok", "skipped", "pruned") for row in session.rows.values())
    return OK if fine and not session.lost else NOT_ALL_OK
