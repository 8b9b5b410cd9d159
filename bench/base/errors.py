"""What a person can mend, as an exception of its own, and the exit statuses of the commands."""

from __future__ import annotations

OK, NOT_ALL_OK, REFUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses: every run ok or skipped; some run was not; the command was refused; Ctrl-C."""


class UserError(Exception):
    """What a person asked for cannot be carried out; the text is one sentence that says why and what to do.

    It is apart from `ValueError` and its kin, so that a fault of the bench never reads as the person's mistake:
    commands print a `UserError` as it stands, and let any other exception end in its traceback.
    """
