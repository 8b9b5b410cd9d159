"""Show the sweeps that a ledger needs as one, with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from bench.base.console import say
from bench.base.text import duration
from bench.claims.needs import WHY, PlannedSweep


class LedgerProgress:
    """Shows all sweeps of a ledger as one; see `bench.execution.progress.ProgressReporter`.

    Args:
        sweeps: The sweeps to be carried out.
        n_jobs: Runs side by side where that is allowed.
        more_s: Seconds of what comes after the sweeps.
    """

    def __init__(self, sweeps: Sequence[PlannedSweep], n_jobs: int, more_s: float) -> None:
        from tqdm import tqdm

        self._num_sweeps, self._n_jobs = len(sweeps), n_jobs
        self._left_s = sum(sweep.wall_s(n_jobs) for sweep in sweeps) + more_s
        self._expected_s = self._made_s = 0.0  # of runs that were made, not found
        self._last = time.monotonic()
        self._each_s = 0.0
        self._bar = tqdm(
            total=sum(sweep.num_runs for sweep in sweeps),
            unit="run",
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        )

    def begin(self, number: int, sweep: PlannedSweep) -> None:
        """Announce a sweep.

        Args:
            number: Its number, from 1.
            sweep: Its runs.
        """
        self._each_s = sweep.wall_s(self._n_jobs) / sweep.num_runs
        what = f"{sweep.workload}, {WHY[sweep.at]}: {', '.join(sweep.sides)} ({sweep.num_runs} runs)"
        line = f"[{number}/{self._num_sweeps}] {what}; {self._left()}"
        if self._bar.disable:
            say(line, sys.stderr)
        else:
            self._bar.write(line, file=sys.stderr)

    def _left(self) -> str:
        """Return the time left, from the times that runs were expected to take and took."""
        pace = self._made_s / self._expected_s if self._expected_s > 5 else 1.0
        return f"about {duration(self._left_s * pace)} left"

    def start(self, label: str) -> Callable[[int, int, float], None]:
        """Show nothing of single steps."""
        return lambda step, num_steps, loss: None

    def end(self, label: str, outcome: str) -> None:
        """Count a run that ended or existed already."""
        self._left_s = max(0.0, self._left_s - self._each_s)
        now, before = time.monotonic(), self._last
        self._last = now
        if not outcome.startswith("exists already"):
            self._expected_s += self._each_s
            self._made_s += now - before
        self._bar.set_description(self._left(), refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Keep the bar: a sweep is over, the next may follow."""
        self._bar.refresh()

    def finish(self) -> None:
        """Remove the bar."""
        self._bar.close()
