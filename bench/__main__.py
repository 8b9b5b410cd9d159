"""`python -m bench`, and the console script `optbench`."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


def command() -> NoReturn:
    """Carry out the command line and leave: what is to be done at exit, then at once.

    To take torch and its compiler apart, piece by piece, takes Python a second.
    """
    status = main()
    threading._shutdown()  # type: ignore[attr-defined]  # as Python does: threads first, then exit handlers
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody may read on
            if stream is not None:  # closed from the start
                stream.flush()
    os._exit(status)


def main() -> int:
    """Put our packages in front, then carry out the command line; return the exit status."""
    try:
        find_packages()
        from bench.app import main as app_main

        return app_main()
    except BrokenPipeError:  # who read what is printed has gone, as `head` does
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def find_packages() -> None:
    """Make our packages win over folders of the same name where the command is given.

    `python -m bench` puts the current folder first on `sys.path`, where a person's own `models/`
    would shadow ours. It goes last, so that a person's own modules are still found.
    """
    here, root = str(Path.cwd()), Path(__file__).resolve().parent.parent
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    if (root / "pyproject.toml").is_file():
        sys.path.insert(0, str(root))
    sys.path.append(here)


if __name__ == "__main__":
    command()
