"""Print what people read: control characters made visible, whatever the streams can take."""

from __future__ import annotations

import os
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TextIO

_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction in which a terminal shows the others."""


def printable(text: str) -> str:
    r"""Return a text with control characters, but for line breaks and tabs, as escapes: names from files may hold any.

    >>> printable("adam\x1b[2J")
    'adam\\x1b[2J'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if _is_control(c) else c for c in text)


def _is_control(character: str) -> bool:
    if character in "\n\t":
        return False
    return unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS


def _escaped(character: str) -> str:
    return (
        character.encode("ascii", "backslashreplace").decode() if ord(character) > 127 else f"\\x{ord(character):02x}"
    )


def say(text: str = "", file: TextIO | None = None, end: str = "\n") -> None:
    """Print a text. Where nobody can read it, because the disk is full or the reader is gone, go on without.

    Args:
        text: What to print.
        file: Standard output by default.
        end: What follows it.

    Raises:
        BrokenPipeError: Who read standard output has gone, as `head` does.
    """
    stream = sys.stdout if file is None else file
    if stream is None:
        return
    try:
        stream.write(printable(text) + end)
        stream.flush()
    except BrokenPipeError:
        if stream is sys.stdout:
            raise
    except (OSError, ValueError) as error:
        _silence(stream)
        if stream is sys.stdout:
            reason = getattr(error, "strerror", None) or error
            say(f"bench: standard output cannot be written ({reason}); results are recorded all the same", sys.stderr)


def _silence(stream: TextIO) -> None:
    """Send to nowhere what a stream still holds and what comes, so that Python's exit has nothing to fail at."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def prepare_streams() -> None:
    """Have standard output and error take any text: escapes where the encoding lacks a character, nothing where they are closed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            with suppress(OSError, ValueError):  # some streams cannot be changed
                stream.reconfigure(errors="backslashreplace")
