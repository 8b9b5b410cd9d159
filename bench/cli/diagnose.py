"""The command `python -m bench.diagnose`: what is wrong with the runs of a study, and what to try."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.base.console import say
from bench.base.errors import OK, REFUSED, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.diagnose",
        description="Say what is wrong with the runs of a study, and what to try. More is seen where runs recorded"
        " diagnostics (diagnostics=light or full).",
    )
    parser.add_argument("study", type=Path, help="folder of the study, such as results/digits-mlp")
    parser.add_argument("--run", metavar="ID", help="one run only")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON, for scripts")
    given = parser.parse_args(arguments)
    from bench import tables
    from bench.analysis.diagnosis import diagnose, grouped
    from bench.analysis.study import StudyAnalysis

    try:
        study = tables.load(given.study)
        if given.run is not None and given.run not in set(study.runs["run_id"]):
            raise UserError(f"--run must be the run_id of a run of {given.study}, got {given.run}; see its runs.csv")
        analyses = StudyAnalysis(study, given.study).analyses
    except (UserError, FileNotFoundError) as error:
        say(f"bench.diagnose: {error}", sys.stderr)
        return REFUSED
    for problem in study.problems:
        say(f"bench.diagnose: {problem}", sys.stderr)
    said = []
    for found in analyses:
        runs = found.section.runs
        chosen = runs if given.run is None else runs[runs["run_id"] == given.run]
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
