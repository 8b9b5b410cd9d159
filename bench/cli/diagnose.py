"""The command `python -m bench.diagnose`: what is wrong with the runs of a study, and what to try."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench.base.console import say
from bench.base.errors import OK, REFUSED, UserError

if TYPE_CHECKING:
    from bench.tables.frames import Study


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.diagnose",
        description="Say what is wrong with the runs of a study, and what to try. More is seen where runs recorded"
        " diagnostics (diagnostics=light or full).",
    )
    parser.add_argument("study", type=Path, help="folder of the study, such as results/digits-mlp")
    parser.add_argument(
        "--run", metavar="ID", nargs="+", default=[], help="one run only, or two to see them side by side"
    )
    parser.add_argument(
        "--page", type=Path, nargs="?", const=Path(), metavar="DIR",
        help="write a page of these runs: curves with diagnostics beneath, layers, the loss around the weights (reports/<study>-<run>)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for scripts")
    given = parser.parse_args(arguments)
    from bench import tables
    from bench.analysis.diagnosis import diagnose, grouped
    from bench.analysis.study import StudyAnalysis

    try:
        study = tables.load(given.study)
        for run in given.run:
            if run not in set(study.runs["run_id"]):
                raise UserError(f"--run must be the run_id of a run of {given.study}, got {run}; see its runs.csv")
        if given.page is not None:
            return _write_page(study, given.study, given.run, given.page)
        analyses = StudyAnalysis(study, given.study).analyses
    except (UserError, FileNotFoundError) as error:
        say(f"bench.diagnose: {error}", sys.stderr)
        return REFUSED
    for problem in study.problems:
        say(f"bench.diagnose: {problem}", sys.stderr)
    said = []
    for found in analyses:
        runs = found.section.runs
        chosen = runs[runs["run_id"].isin(given.run)] if given.run else runs
        findings = diagnose(chosen, study.curves, found.recorded)
        said.append((found.section.title, found.is_recorded, findings, grouped(findings, runs)))
    if given.json:
        from bench.report.as_json import as_json

        listed = [{"section": title, **asdict(each)} for title, _, findings, _ in said for each in findings]
        say(as_json({"study": str(given.study), "findings": listed, "exit_status": OK}))
        return OK
    from bench.report.terminal import findings_text

    say("\n\n".join(findings_text(title, groups, is_recorded) for title, is_recorded, _, groups in said))
    return OK


def _write_page(study: Study, study_dir: Path, runs: Sequence[str], page_dir: Path) -> int:
    """Write the page of one run or two, and say where it is; return the exit status.

    Raises:
        UserError: No run was named, or too many, or the folder cannot hold a page.
    """
    from bench.report.run_page import write_run_page

    if not runs:
        raise UserError(
            "--page must be given with --run and the run_id of a run, got none; see the runs.csv of the study"
        )
    if page_dir == Path():
        page_dir = Path("reports") / "-".join([study_dir.resolve().name, *runs])
    command = shlex.join(["python", "-m", "bench.diagnose", str(study_dir), "--run", *runs, "--page", str(page_dir)])
    try:
        page = write_run_page(study, study_dir, runs, page_dir, command)
    except OSError as error:
        raise UserError(f"--page must be a folder that can be written, got {page_dir} ({error.strerror})") from error
    say(f"page: {page}")
    return OK
