"""`python -m bench.report results/<study>`: a report from tables, at any time."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from bench.base.bootstrap import end_with
from bench.base.console import say
from bench.base.errors import UserError


def main() -> int:
    """Write the report that the command line asks for; return the exit status."""
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
    parser.add_argument("--all", action="store_true", help="print every setting, beside the best of each optimizer")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--target", type=float, help="validation loss of steps and time to target")
    chosen.add_argument("--baseline", help="the optimizer whose median final loss is the target")
    arguments = parser.parse_args()

    from bench import tables

    if arguments.study is None:
        from bench.report.terminal import studies_text
        from bench.tables.studies import studies

        say(studies_text(list(studies(Path("results"))), Path("results")))
        return 0
    report_dir = arguments.out or Path("reports") / arguments.study.resolve().name
    try:
        study = tables.load(arguments.study)
        from bench.analysis.goals import Goal
        from bench.analysis.study import StudyAnalysis
        from bench.report.study.render import write_report
        from bench.report.terminal import summary_text

        if arguments.target is not None and not math.isfinite(arguments.target):
            raise UserError(f"--target must be a finite number, got {arguments.target}; give a loss")
        goal = Goal(arguments.target, arguments.baseline)
        found = StudyAnalysis(study, arguments.study, arguments.where, arguments.mix_environments, goal)
        problems = write_report(found, report_dir)
    except (UserError, FileNotFoundError) as error:
        say(f"bench.report: {error}", sys.stderr)
        return 2
    except OSError as error:
        say(
            f"bench.report: --out must be a folder that can be written, got {report_dir} ({error.strerror})",
            sys.stderr,
        )
        return 2
    for problem in problems:
        say(f"bench.report: {problem}", sys.stderr)
    say(f"{summary_text(found.analyses, str(arguments.study), show_all=arguments.all)}\n")
    say(f"report: {report_dir / 'index.html'}")
    return 0


if __name__ == "__main__":
    end_with("bench.report", main)
