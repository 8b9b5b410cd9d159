"""`python -m bench.workloads`: list the named workloads and try which can run on this machine."""

from __future__ import annotations

import sys

from bench.base.bootstrap import find_packages

if __name__ == "__main__":
    find_packages()
    from bench.cli.workloads import main

    sys.exit(main())
