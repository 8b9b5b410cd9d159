"""`python -m bench.workloads`: what there is to train on, and what of it can run here now."""

from __future__ import annotations

import sys

from bench.base.bootstrap import find_packages

if __name__ == "__main__":
    find_packages()
    from bench.cli.workloads import main

    sys.exit(main())
