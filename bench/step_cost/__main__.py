"""`python -m bench.step_cost`: what one step of each optimizer costs, timed in fresh processes."""

from __future__ import annotations

import sys

from bench.base.bootstrap import begin

if __name__ == "__main__":
    begin()
    from bench.step_cost.measurement import main

    sys.exit(main())
