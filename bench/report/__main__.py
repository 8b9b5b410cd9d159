"""`python -m bench.report results/<study>`: a report from tables, at any time."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.base.bootstrap import end_with
from bench.base.console import say
from bench.base.errors import OK, REFUSED, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report that the command line asks for; return the exit status."""
    given = _parser().parse_args(arguments)
    from bench import tables

    if given.study is None:
        from bench.report.terminal import studies_text
        from bench.tables.studies import studies

        say(studies_text(list(studies(Path("results"))), Path("results")))
        return OK
    report_dir = given.out or Path("reports") / given.study.resolve().name
    try:
        study = tables.load(given.study)
        from bench.analysis.goals import Goal
        from bench.analysis.study import StudyAnalysis
        from bench.report.study.render import write_report

        if given.target is not None and not math.isfinite(given.target):
            raise UserError(f"--target must be a finite number, got {given.target}; give a loss")
        goal = Goal(given.target, given.baseline)
        found = StudyAnalysis(study, given.study, given.where, given.mix_environments, goal)
        problems = write_report(found, report_dir, given.export, given.style)
    except (UserError, FileNotFoundError) as error:
        say(f"bench.report: {error}", sys.stderr)
        return REFUSED
    except OSError as error:
        places = f"{report_dir}{f' and {given.export}' if given.export else ''}"
        option = "--out and --export must be folders" if given.export else "--out must be a folder"
        say(f"bench.report: {option} that can be written, got {places} ({error.strerror})", sys.stderr)
        return REFUSED
    for problem in problems:
        say(f"bench.report: {problem}", sys.stderr)
    page = report_dir / "index.html"
    if given.json:
        from bench.report.as_json import as_json, sections_summary

        said = {"study": str(given.study), "report": str(page), "sections": sections_summary(found.analyses)}
        say(as_json(said | {"problems": problems, "exit_status": OK}))
    else:
        from bench.report.terminal import summary_text

        say(f"{summary_text(found.analyses, str(given.study), show_all=given.all)}\n")
        say(f"report: {page}")
        if given.export:
            say(f"figures and tables: {given.export}{os.sep}")
    if given.open:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            say(f"bench.report: no browser could be started; open {page} in one", sys.stderr)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description="Write the report of a study.")
    parser.add_argument(
        "study",
        nargs="?",
        type=Path,
        help="folder of the study, such as results/digits-mlp; none: list those there are",
    )
    parser.add_argument("--out", type=Path, help="folder of the report (reports/<study>)")
    parser.add_argument(
        "--where", help="which runs to show, a condition on the columns: \"optimizer != 'sgd' and lr > 0.01\""
    )
    parser.add_argument(
        "--mix-environments", action="store_true", help="compare runs of different machines or versions"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--target", type=float, help="validation loss of steps and time to target")
    chosen.add_argument("--baseline", help="the optimizer whose median final loss is the target")
    printed = parser.add_mutually_exclusive_group()
    printed.add_argument("--all", action="store_true", help="print every setting, beside the best of each optimizer")
    printed.add_argument(
        "--json", action="store_true", help="print the leaderboards and comparisons as JSON, for scripts"
    )
    parser.add_argument(
        "--export",
        type=Path,
        metavar="DIR",
        help="write figures as SVG, PDF and PNG, tables as CSV, Markdown and LaTeX",
    )
    parser.add_argument(
        "--style", choices=("paper", "slides"), default="paper", help="size of exported figures (paper)"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    return parser


if __name__ == "__main__":
    end_with("bench.report", main)
