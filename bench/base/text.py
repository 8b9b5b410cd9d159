"""Small pieces of text: errors on one line, durations, warnings."""

from __future__ import annotations

import sys
import warnings
from typing import TextIO

NO_MESSAGE = "(no message)"


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print the warning of a data loader in one line, any other as Python does."""
    if category is UserWarning and str(message).startswith("data"):
        print(f"bench: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else NO_MESSAGE


def one_line(error: BaseException) -> str:
    """Return the whole message of an error, on one line."""
    return " ".join(str(error).split()) or NO_MESSAGE


def duration(seconds: float) -> str:
    """Return a duration to plan by, such as "40 s", "12 min" or "3.5 h".

    Args:
        seconds: At least 0, finite.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
