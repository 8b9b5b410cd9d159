"""`python -m bench`, and the console script `optbench`."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import NoReturn


def command() -> NoReturn:
    """Carry out the command line, run the exit handlers, and end the process at once.

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
    """Put the bench's packages first on the import path, then carry out the command line; return the exit status."""
    try:
        from bench.base.bootstrap import begin

        begin()
        from bench.cli.main import main as command_main

        return command_main()
    except BrokenPipeError:  # who read what is printed has gone, as `head` does
        return 1
    except KeyboardInterrupt:
        from bench.base.console import say

        say("bench: interrupted", sys.stderr)
        return 130


if __name__ == "__main__":
    command()
