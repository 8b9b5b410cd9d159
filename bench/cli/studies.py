"""The command `python -m bench.studies`: list, show, rename and remove studies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.base.console import say
from bench.base.errors import OK, REFUSED, UserError
from bench.base.text import size_text
from bench.tables.studies import remove_study, rename_study, studies, study_named

HELP = """\
python -m bench.studies                    list them
python -m bench.studies show NAME          what a study says
python -m bench.studies rename NAME NEW    rename it, and its report
python -m bench.studies rm NAME [NAME ...] remove them, and their reports, after asking"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.studies",
        description="List, show, rename and remove studies.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", nargs="?", default="list", choices=["list", "show", "rename", "rm"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a study, such as digits-mlp")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="where the studies are (results)")
    parser.add_argument("--reports-dir", type=Path, default=Path("reports"), help="where their reports are (reports)")
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    given = parser.parse_args(arguments)
    expected = {"list": "no name", "show": "one name", "rename": "a name and a new one", "rm": "at least one name"}
    counts = {"list": range(1), "show": range(1, 2), "rename": range(2, 3), "rm": range(1, 10**6)}
    try:
        if len(given.names) not in counts[given.action]:
            raise UserError(
                f"{given.action} must be given {expected[given.action]}, got {len(given.names)}; see --help"
            )
        {"list": _list, "show": _show, "rename": _rename, "rm": _remove}[given.action](given)
    except UserError as error:
        say(f"bench.studies: {error}", sys.stderr)
        return REFUSED
    except OSError as error:
        say(f"bench.studies: the study must be in a folder that can be read and written ({error})", sys.stderr)
        return REFUSED
    return OK


def _list(given: argparse.Namespace) -> None:
    from bench.report.terminal import studies_text

    say(studies_text(list(studies(given.results_dir)), given.results_dir))


def _show(given: argparse.Namespace) -> None:
    path = study_named(given.results_dir, given.names[0])
    from bench import tables
    from bench.analysis.study import StudyAnalysis
    from bench.report.terminal import summary_text

    found = StudyAnalysis(tables.load(path), path)
    for problem in found.study.problems:
        say(f"bench.studies: {problem}", sys.stderr)
    say(summary_text(found.analyses, str(path)))


def _rename(given: argparse.Namespace) -> None:
    name, new = given.names
    target = rename_study(study_named(given.results_dir, name), new)
    said = f"{given.results_dir / name} is now {target}"
    report = given.reports_dir / name
    if report.is_dir() and not report.is_symlink() and not (given.reports_dir / new).exists():
        report.rename(given.reports_dir / new)
        said += f", {report} is {given.reports_dir / new}"
    say(said)


def _remove(given: argparse.Namespace) -> None:
    paths = [study_named(given.results_dir, name) for name in dict.fromkeys(given.names)]
    known = {study.path.name: study for study in studies(given.results_dir)}
    for path in paths:
        study = known[path.name]
        if not given.yes and not _agreed(
            f"Remove {path} ({study.num_runs:,} runs, {size_text(study.num_bytes)})? [y/N] "
        ):
            say(f"{path} was kept")
            continue
        remove_study(path)
        say(f"{path} was removed")
        _remove_report(given.reports_dir / path.name)


def _remove_report(path: Path) -> None:
    """Remove the files of a report, and its folder if nothing else is in it."""
    from bench.report.folder import remove_report

    if remove_report(path):
        say(f"{path} was removed" if not path.exists() else f"the report in {path} was removed, other files stay")


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError(
            "--yes must be given where nobody can be asked, got no terminal; add it to remove without asking"
        )
    return input(question).strip().lower() in ("y", "yes")
