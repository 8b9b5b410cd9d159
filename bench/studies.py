"""`python -m bench.studies`: list, show, rename and remove studies."""

from __future__ import annotations

import sys

from bench.base.bootstrap import begin

if __name__ == "__main__":
    begin()
    from bench.cli.studies import main

    sys.exit(main())
