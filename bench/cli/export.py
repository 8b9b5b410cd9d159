"""The command `python -m bench.export`: a study for the trackers that people already use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.base.console import say
from bench.base.errors import OK, REFUSED, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.export",
        description="Write the curves, diagnostics, settings and results of a study for a tracker. Exporting again replaces what"
        " was exported before.",
    )
    parser.add_argument("study", type=Path, help="folder of the study, such as results/digits-mlp")
    parser.add_argument("--to", choices=["tensorboard"], required=True, help="the tracker")
    parser.add_argument("--out", type=Path, help="folder to write into (<tracker>/<study>)")
    given = parser.parse_args(arguments)
    from bench import tables
    from bench.trackers import tensorboard
    from bench.trackers.mapping import tracked_runs

    out = given.out or Path(given.to) / given.study.resolve().name
    try:
        study = tables.load(given.study)
        num = tensorboard.write(tracked_runs(study, tables.load_side(given.study, "diagnostics")), out)
    except (UserError, FileNotFoundError) as error:
        say(f"bench.export: {error}", sys.stderr)
        return REFUSED
    except OSError as error:
        say(f"bench.export: --out must be a folder that can be written, got {out} ({error.strerror})", sys.stderr)
        return REFUSED
    for problem in study.problems:
        say(f"bench.export: {problem}", sys.stderr)
    say(f"{num} runs: {out}; tensorboard --logdir {out} shows them")
    return OK
