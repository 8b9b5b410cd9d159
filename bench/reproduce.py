"""`python -m bench.reproduce`: run what the claims of a ledger need, judge each, and write the report."""

from __future__ import annotations

import sys

from bench.base.bootstrap import begin

if __name__ == "__main__":
    begin()
    from bench.cli.reproduce import main

    sys.exit(main())
