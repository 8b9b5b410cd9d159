"""What a person can mend, as an exception of its own, and the exit statuses of the commands."""

from __future__ import annotations

OK, NOT_ALL_OK, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: every run ok or skipped; some run was not; the command was refused; Ctrl-C."""


class Refused(Exception):
    """The command cannot be carried out; the text is the sentence for the person who gave it."""


class Mistake(ValueError):
    """What was typed cannot be carried out; the text is the sentence for the person who typed it."""
