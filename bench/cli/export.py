"""The command `python -m bench.export`: a study for the trackers that people already use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.base.console import say
from bench.base.errors import OK, REFUSED, UserError
from bench.base.text import first_line
from bench.config.loggers import TRACKERS

BENEATH = ("alembic", "requests", "sqlalchemy", "sqlite3", "urllib3")
"""Packages beneath the trackers, whose errors say that a place cannot be reached or written."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.export",
        description="Write the curves, diagnostics, settings, results and figures of a study for a tracker. Exporting again"
        " replaces what was exported before.",
    )
    parser.add_argument("study", type=Path, help="folder of the study, such as results/digits-mlp")
    parser.add_argument("--to", choices=TRACKERS, required=True, help="the tracker")
    parser.add_argument(
        "--out", help="folder to write into (the name of the tracker); of mlflow the store (sqlite:///mlflow.db)"
    )
    parser.add_argument("--report", type=Path, help="folder of the report whose figures go along (reports/<study>)")
    given = parser.parse_args(arguments)
    from bench import tables
    from bench.trackers.base import open_tracker, send
    from bench.trackers.mapping import tracked_runs

    key = "uri" if given.to == "mlflow" else "folder"
    name = given.study.resolve().name
    try:
        study = tables.load(given.study)
        tracker = open_tracker(given.to, {key: given.out or ("sqlite:///mlflow.db" if key == "uri" else given.to)})
        num = send(tracker, tracked_runs(study, tables.load_side(given.study, "diagnostics"), name))
        figures = sorted((given.report or Path("reports") / name).rglob("*.png"))
        if figures:
            tracker.add_figures(name, figures)
    except (UserError, FileNotFoundError) as error:
        say(f"bench.export: {error}", sys.stderr)
        return REFUSED
    except OSError as error:
        say(
            f"bench.export: --out must be a place that can be written, got {given.out or given.to} ({error.strerror})",
            sys.stderr,
        )
        return REFUSED
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in (given.to, *BENEATH):
            raise
        where = given.out or given.to
        say(
            f"bench.export: --out must be a place that {given.to} can write, got {where} ({first_line(error)})",
            sys.stderr,
        )
        return REFUSED
    for problem in study.problems:
        say(f"bench.export: {problem}", sys.stderr)
    say(f"{num} runs and {len(figures)} figures written; {tracker.where}")
    return OK
