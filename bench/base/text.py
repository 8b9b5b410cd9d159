"""Small pieces of text: first lines of messages, warnings."""

from __future__ import annotations

import sys
import warnings
from typing import TextIO


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Say what a loader warns of in a line of ours; all else as Python does."""
    if category is UserWarning and str(message).startswith("data"):
        print(f"bench: {message}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def first_line(error: BaseException) -> str:
    """What an error says, for a sentence: its first line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else "(no message)"
