"""Small pieces of text: errors on one line, durations, warnings."""

from __future__ import annotations

import difflib
import sys
import warnings
from collections.abc import Iterable
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


def shortened(text: str, most: int = 300) -> str:
    """Return a text with its middle left out where it has more characters than these."""
    half = most // 2 - 3
    return text if len(text) <= most else f"{text[:half]} […] {text[-half:]}"


def guess(wrong: str, known: Iterable[str], template: str = "{}") -> str:
    """Return a question that names what was probably meant, with a space after it; empty where nothing is close.

    Args:
        wrong: What was typed.
        known: What could have been meant; of dotted keys, one with the same last part counts as close.
        template: How the answer is shown, such as "optimizer={}".

    >>> guess("lr", ["study", "optimizer.lr"]), guess("adamm", ["sgd", "adam"], "optimizer={}"), guess("x", ["study"])
    ('did you mean optimizer.lr? ', 'did you mean optimizer=adam? ', '')
    """
    names = list(known)
    last_parts = {name.rpartition(".")[2]: name for name in reversed(names)}
    last = wrong.rpartition(".")[2]
    same = [name for name in names if "." in name and name.rpartition(".")[2] == last]
    close = difflib.get_close_matches(last, list(last_parts), n=1, cutoff=0.7)
    found = same[:1] or [last_parts[part] for part in close]
    return f"did you mean {template.format(found[0])}? " if found else ""


def size_text(num_bytes: int) -> str:
    """Return a size in the largest unit that it fills.

    >>> size_text(512), size_text(20_480), size_text(3 * 2**20)
    ('512 B', '20.0 KiB', '3.0 MiB')
    """
    size, units = float(num_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{num_bytes} B" if units[0] == "B" else f"{size:.1f} {units[0]}"


def duration(seconds: float) -> str:
    """Return a duration to plan by, such as "40 s", "12 min", "3.5 h", "9 days" or "3,000 years".

    Args:
        seconds: At least 0, finite.
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    days = seconds / 86_400
    if days < 5:
        return f"{seconds / 3600:.1f} h"
    return f"{days:,.0f} days" if days < 1000 else f"{days / 365.25:,.0f} years"
