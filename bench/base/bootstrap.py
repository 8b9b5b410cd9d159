"""Begin a command: streams that take any text, and the bench's own packages before those of the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.base.console import prepare_streams, say
from bench.base.errors import REFUSED


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
