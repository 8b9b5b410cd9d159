"""What a person sees while runs go: bars on a terminal, a quiet line a run elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from tqdm import tqdm


class ProgressReporter(Protocol):
    """Who is told of runs."""

    def start(self, label: str) -> Callable[[int, int, float], None]:
        """A run begins; what comes back is told (step, steps in all, training loss)."""

    def end(self, label: str, outcome: str) -> None:
        """A run ended, or was found done."""

    def close(self) -> None:
        """The sweep is over."""


class ForwardingProgress:
    """Hands on how runs end, for another process to show.

    Args:
        end: Called with label and outcome of each.
    """

    def __init__(self, end: Callable[[str, str], None]) -> None:
        self.end = end

    def start(self, label: str) -> Callable[[int, int, float], None]:
        """A run begins, of which nothing is handed on."""
        return lambda step, num_steps, loss: None

    def close(self) -> None:
        """Nothing is held."""


_overall: ProgressReporter | None = None


@contextmanager
def overall(shown: ProgressReporter) -> Iterator[None]:
    """Have every sweep within tell this one, in place of a progress of its own."""
    global _overall
    _overall = shown
    try:
        yield
    finally:
        _overall = None


def progress(num_runs: int) -> ProgressReporter:
    """Who is told of the runs of a sweep."""
    return Progress(num_runs) if _overall is None else _overall


class Progress:
    """Shows the sweep (runs) and the run (steps, loss, time left) on standard error."""

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
        """A run begins; the function that comes back is told (step, steps in all, training loss)."""
        if not self._bars:
            return lambda step, num_steps, loss: None
        self._run = self._bar(0, label, "step", position=1)

        def tell(step: int, num_steps: int, loss: float) -> None:
            self._run.total = num_steps
            self._run.set_postfix(loss=f"{loss:.4g}", refresh=False)
            self._run.update(step - self._run.n)

        return tell

    def end(self, label: str, outcome: str) -> None:
        """A run ended, or was found done: `outcome` says how."""
        self._num_seen += 1
        line = f"[{self._num_seen}/{self._num_runs}] {label}: {outcome}"
        if self._run is not None:
            self._run.close()
            self._run = None
        if self._sweep is not None:
            self._sweep.update()
            self._sweep.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bars away."""
        for bar in (self._run, self._sweep):
            if bar is not None:
                bar.close()
