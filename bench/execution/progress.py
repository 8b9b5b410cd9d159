"""Show runs as they go: bars on a terminal, a line for each run elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Protocol

from tqdm import tqdm

from bench.base.console import printable, say


class ProgressReporter(Protocol):
    """Shows the runs of one or several sweeps."""

    def start(self, label: str) -> Callable[[int, int, float], None]:
        """Show that a run begins; return the function to call with (step, number of steps, training loss)."""

    def end(self, label: str, outcome: str) -> None:
        """Show how a run ended, or that it existed already."""

    def close(self) -> None:
        """Show that the sweep is over."""


class ForwardingProgress:
    """Passes on how runs end, for another process to show.

    Args:
        end: Called with label and outcome of each run.
    """

    def __init__(self, end: Callable[[str, str], None]) -> None:
        self.end = end

    def start(self, label: str) -> Callable[[int, int, float], None]:
        """Pass on nothing of single steps."""
        return lambda step, num_steps, loss: None

    def close(self) -> None:
        """Do nothing; there is nothing to release."""


class Progress:
    """Shows a sweep (runs done) and its present run (steps, loss, time left) on standard error.

    Args:
        num_runs: Runs of the sweep.
    """

    def __init__(self, num_runs: int) -> None:
        self._num_runs = num_runs
        self._num_seen = 0
        self._bars = sys.stderr.isatty()
        self._sweep = self._bar(num_runs, "sweep", "run", position=0) if self._bars else None
        self._run: Any = None

    @staticmethod
    def _bar(total: int, label: str, unit: str, position: int) -> Any:
        return tqdm(total=total, desc=label, unit=unit, position=position, leave=False, dynamic_ncols=True)

    def start(self, label: str) -> Callable[[int, int, float], None]:
        """Begin the bar of a run; return the function to call with (step, number of steps, training loss)."""
        if not self._bars:
            return lambda step, num_steps, loss: None
        self._run = self._bar(0, printable(label), "step", position=1)

        def on_progress(step: int, num_steps: int, loss: float) -> None:
            self._run.total = num_steps
            self._run.set_postfix(loss=f"{loss:.4g}", refresh=False)
            self._run.update(step - self._run.n)

        return on_progress

    def end(self, label: str, outcome: str) -> None:
        """Print a line on how a run ended, and count it."""
        self._num_seen += 1
        line = f"[{self._num_seen}/{self._num_runs}] {label}: {outcome}"
        if self._run is not None:
            self._run.close()
            self._run = None
        if self._sweep is not None:
            self._sweep.update()
            self._sweep.write(printable(line), file=sys.stderr)
        else:
            say(line, sys.stderr)

    def close(self) -> None:
        """Remove the bars."""
        for bar in (self._run, self._sweep):
            if bar is not None:
                bar.close()
