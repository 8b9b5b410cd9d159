"""`python -m bench`, and the console script `optbench`."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Put our packages in front, then carry out the command line; return the exit status."""
    try:
        find_packages()
        from bench.app import main as app_main

        return app_main()
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130


def find_packages() -> None:
    """Make our packages win over folders of the same name where the command is given.

    `python -m bench` puts the current folder first on `sys.path`, where a person's own `models/`
    would shadow ours. It goes last, so that a person's own modules are still found.
    """
    here, root = str(Path.cwd()), Path(__file__).resolve().parent.parent
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    if (root / "pyproject.toml").is_file():
        sys.path.insert(0, str(root))
    sys.path.append(here)


if __name__ == "__main__":
    sys.exit(main())
