"""The command `python -m bench.compare`: compare two studies, with an exit status for CI."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import tables
from bench.analysis.study_diff import FAILURES, QUANTITIES, compare_studies
from bench.base.console import say
from bench.base.errors import UserError
from bench.base.files import replacing
from bench.report.study_diff import markdown, text

OK, WORSE, REFUSED = 0, 1, 2
"""Exit statuses: nothing got worse; something did; the command was refused."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description="Compare two studies of the same configurations. Exit status: 0 nothing got worse, 1 something did, 2 refused.",
    )
    parser.add_argument(
        "a", metavar="STUDY_A", type=Path, help="folder of the study before, such as results/digits-mlp"
    )
    parser.add_argument("b", metavar="STUDY_B", type=Path, help="folder of the study after, or of the other machine")
    parser.add_argument("--tolerance", default="0.05", help="relative increase that does not matter (0.05)")
    parser.add_argument(
        "--fail-on", default="loss,memory", help="what makes the exit status 1: loss,time,memory (loss,memory)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="write the comparison into this file: a page where its name ends with .html, else Markdown",
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON, for scripts")
    given = parser.parse_args(arguments)
    try:
        tolerance, fail_on = _tolerance(given.tolerance), _quantities(given.fail_on)
        studies = [tables.load(path) for path in (given.a, given.b)]
        found = compare_studies(studies[0], studies[1], tolerance)
        names = (str(given.a), str(given.b))
    except (UserError, FileNotFoundError) as error:
        say(f"bench.compare: {error}", sys.stderr)
        return REFUSED
    try:
        if given.out is not None:
            write = markdown
            if given.out.suffix == ".html":
                from bench.report.study_diff_page import html as write
            _write(given.out, write(found, names, tolerance, fail_on))
    except OSError as error:
        say(
            f"bench.compare: --out must be a file that can be written, got {given.out} ({error.strerror}); choose another",
            sys.stderr,
        )
        return REFUSED
    for problem in (problem for study in studies for problem in study.problems):
        say(f"bench.compare: {problem}", sys.stderr)
    table = found.comparisons
    status = WORSE if (table["quantity"].isin(fail_on) & table["verdict"].isin(FAILURES)).any() else OK
    if given.json:
        from bench.report.as_json import as_json

        say(as_json({"studies": names, "tolerance": tolerance, **vars(found), "exit_status": status}))
    else:
        say(text(found, names, tolerance, fail_on))
    return status


def _write(path: Path, said: str) -> None:
    """Write a text into a file that is replaced whole, or into a pipe or a terminal.

    Raises:
        OSError: It cannot be written.
    """
    if path.is_relative_to("/dev") or (path.exists() and not path.is_file()):
        path.write_text(said, encoding="utf-8")
        return
    with replacing(Path(os.path.realpath(path))) as file:
        file.write(said.encode())


def _tolerance(typed: str) -> float:
    try:
        value = float(typed)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise UserError(f"--tolerance must be a finite number of at least 0, got {typed}; 0.05 is 5 %")
    return value


def _quantities(typed: str) -> list[str]:
    names = [name for name in typed.split(",") if name]
    if unknown := [name for name in names if name not in QUANTITIES]:
        raise UserError(f"--fail-on must be a list of {', '.join(QUANTITIES)}, got {unknown[0]}; choose of these")
    return names
