"""Make the bench's own packages win over folders of the same name in the current folder."""

from __future__ import annotations

import sys
from pathlib import Path


def find_packages() -> None:
    """Put our packages in front of what lies in the current folder.

    `python -m bench` puts the current folder first on `sys.path`, where a person's own `models/`
    would shadow ours. It goes last, so that a person's own modules are still found.
    """
    here, root = str(Path.cwd()), Path(__file__).resolve().parents[2]
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    if (root / "pyproject.toml").is_file():
        sys.path.insert(0, str(root))
    sys.path.append(here)
