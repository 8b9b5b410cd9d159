"""The command `python -m bench`: from a command line to runs, tables and a report."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.base.console import say
from bench.base.errors import INTERRUPTED, NOT_ALL_OK, OK, REFUSED, UserError
from bench.base.text import show_warning
from bench.base.version import __version__
from bench.compose.command_line import JSON, MULTIRUN, run_command_line
from bench.compose.help import HELP, say_help
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
    show_all, as_json = SHOW_ALL in typed, JSON in typed
    typed = [argument for argument in typed if argument not in (SHOW_ALL, JSON)]
    if "--version" in typed:
        say(f"optbench {__version__}")
        return OK
    if set(HELP) & set(typed):
        return say_help("bench", "config", typed)
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
    status, studies = OK, list[dict[str, Any]]()
    try:
        for finished in _finish(session, as_json, show_all):
            studies.append(finished)
        status = _status(session, as_json)
    except KeyboardInterrupt:
        session.interrupted = True
    except UserError as error:
        session.refusal = session.refusal or str(error)
    if session.interrupted:
        say("bench: interrupted; finished runs are saved, run the same command again to resume", sys.stderr)
        status = INTERRUPTED
    elif session.refusal:
        say(f"bench: {session.refusal}", sys.stderr)
        status = REFUSED
    if as_json:
        from bench.report.as_json import as_json as json_of

        say(json_of({"studies": studies, "exit_status": status}))
    return status


def _finish(session: Session, as_json: bool, show_all: bool) -> Iterator[dict[str, Any]]:
    """Build the tables of every study touched, print what came out, and write the reports; yield what each study says.

    Args:
        session: What the command did.
        as_json: Whether it is printed as JSON in the end, and nothing before.
        show_all: Whether every setting is printed.
    """
    if session.refusal and not session.rows:
        for study_dir in session.configs:
            remove_empty(study_dir)
        return
    if not session.configs:
        return
    from bench import tables
    from bench.analysis.study import StudyAnalysis
    from bench.report.as_json import sections_summary
    from bench.report.terminal import summary_text

    for study_dir, config in session.configs.items():
        with writing(study_dir):
            study = tables.build(study_dir)
        for problem in study.problems:
            say(f"bench: {problem}", sys.stderr)
        if study.runs.empty:
            continue
        found = StudyAnalysis(study, study_dir)
        page = None
        if not as_json:
            say(f"\n{summary_text(found.analyses, str(study_dir), session.rows, show_all)}\n")
            say(f"tables: {study_dir}{os.sep}")
        if config.report and not (session.interrupted or session.refusal):
            from bench.report.study.render import write_report

            report_dir = Path(config.reports_dir) / config.study
            with writing(report_dir, "reports_dir"):
                problems = write_report(found, report_dir)
            for problem in set(problems) - set(study.problems):
                say(f"bench: {problem}", sys.stderr)
            page = str(report_dir / "index.html")
            if not as_json:
                say(f"report: {page}")
        if config.logger.chosen():
            from bench.execution.live_log import send_figures

            figures = sorted(report_dir.rglob("*.png")) if page else []
            for sentence in send_figures(config.logger, config.study, figures):
                say(sentence, sys.stderr if as_json else None)
        sections = sections_summary(found.analyses) if as_json else []
        yield {"study": str(study_dir), "report": page, "problems": study.problems, "sections": sections}


def _status(session: Session, as_json: bool) -> int:
    """Say what else there is to say of the runs of this command, and return its exit status."""
    ran = {f"{row['cell_id']}-{row['environment_id']}": row for row in session.rows.values() if row["status"] == "ok"}
    for part, why in session.no_memory.items():
        if part in ran:
            say(f"bench: peak memory of {ran[part]['optimizer']} was not measured: {why}", sys.stderr)
    for sentence in (*session.notes, *session.lost):
        say(f"bench: {sentence}", sys.stderr)
    if session.num_found and not as_json:
        say(f"{session.num_found} of these runs existed already and were not repeated (force=true repeats them).")
    if session.num_elsewhere and not as_json:
        say(f"{session.num_elsewhere} runs were left to another process that is working on them.")
    fine = all(row["status"] in ("ok", "skipped", "pruned") for row in session.rows.values())
    return OK if fine and not session.lost else NOT_ALL_OK
