"""`python -m bench.workloads`: list the named workloads and try which can run on this machine."""

from __future__ import annotations

import sys

from bench.base.bootstrap import begin

if __name__ == "__main__":
    begin()
    from bench.cli.workloads import main

    sys.exit(main())
