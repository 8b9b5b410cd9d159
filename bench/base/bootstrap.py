"""Begin and end a command: streams that take any text, our own packages before those of the current folder, signals."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from bench.base.console import prepare_streams, say
from bench.base.errors import INTERRUPTED, REFUSED


def begin() -> None:
    """Prepare the streams, and put our packages in front of what lies in the current folder.

    `python -m bench` puts the current folder first on `sys.path`, where a person's own `models/`
    would shadow ours. It goes last, so that a person's own modules are still found.

    Raises:
        SystemExit: The current folder is gone.
    """
    prepare_streams()
    try:
        here = str(Path.cwd())
    except OSError as error:
        say(
            f"bench: the current folder must exist, got one that is gone ({error.strerror}); change to another",
            sys.stderr,
        )
        sys.exit(REFUSED)
    root = Path(__file__).resolve().parents[2]
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    if (root / "pyproject.toml").is_file():
        sys.path.insert(0, str(root))
    sys.path.append(here)


def carry_out(name: str, main: Callable[[], int]) -> int:
    """Begin a command and carry it out. Ctrl-C, SIGTERM and SIGHUP end it with one sentence.

    Args:
        name: The command as it stands before what it says.
        main: Does it; returns the exit status. Imports what it needs itself, so that an interrupt then is one, too.

    Returns:
        The exit status.
    """
    sys.unraisablehook = _raise_again
    try:
        begin()
        for ends in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(ends) != signal.SIG_IGN:  # as under nohup
                signal.signal(ends, signal.default_int_handler)
        return main()
    except BrokenPipeError:  # who read what is printed has gone, as `head` does
        return 1
    except KeyboardInterrupt:
        say(f"{name}: interrupted", sys.stderr)
        return INTERRUPTED


AGAIN_AFTER_S = 0.05


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """Raise an interrupt once more where Python has swallowed it, as it does in `__del__` and in callbacks of C."""
    if lost.exc_type is KeyboardInterrupt and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_AFTER_S)
    else:
        sys.__unraisablehook__(lost)


def end_with(name: str, main: Callable[[], int]) -> NoReturn:
    """Carry out a command, run the exit handlers, and end the process at once.

    To take torch and its compiler apart, piece by piece, takes Python a second.
    """
    status = carry_out(name, main)
    for ends in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(ends, signal.SIG_IGN)  # it is at its end
    threading._shutdown()  # type: ignore[attr-defined]  # as Python does: threads first, then exit handlers
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody may read on
            if stream is not None:  # closed from the start
                stream.flush()
    os._exit(status)
