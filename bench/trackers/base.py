"""What every tracker does, and which there are."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from bench.base.errors import UserError
from bench.trackers.mapping import Point, TrackedRun


class RunLog(Protocol):
    """A run in a tracker, from its beginning to its end."""

    def add(self, points: Sequence[Point]) -> None:
        """Add points, in the order of their steps."""

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """Record how the run ended and what it came to, and close it."""


class Tracker(Protocol):
    """A place where people follow their runs."""

    where: str
    """How to look at it: a sentence's end, such as "tensorboard --logdir tensorboard shows them"."""

    def begin(self, run: TrackedRun) -> RunLog:
        """Begin a run, without its points, in place of an earlier one of the same name."""

    def add_figures(self, study: str, figures: Sequence[Path]) -> None:
        """Keep the figures of a study's report, PNG files, in place of those kept before."""


def import_tracker(name: str) -> Callable[..., Tracker]:
    """Return the class `Tracker` of `bench/trackers/<name>.py`.

    Raises:
        UserError: Its package is not installed.
    """
    try:
        module = importlib.import_module(f"bench.trackers.{name}")
    except ImportError as error:
        raise UserError(
            f"logger must be a tracker that is installed, got {name} ({error}); pip install 'optbench[{name}]'"
        ) from None
    made: Callable[..., Tracker] = module.Tracker
    return made


def open_tracker(name: str, options: Mapping[str, Any]) -> Tracker:
    """Return a tracker.

    Args:
        name: Of it, a field of `bench.config.loggers.LoggerConfig`.
        options: Its settings.

    Raises:
        UserError: Its package is not installed.
        Exception: What its package raises where it cannot be reached or written.
    """
    return import_tracker(name)(**options)


def send(tracker: Tracker, runs: Iterable[TrackedRun]) -> int:
    """Give a tracker whole runs; return how many."""
    num = 0
    for run in runs:
        log = tracker.begin(run)
        log.add(run.points)
        log.end(run.status, run.results)
        num += 1
    return num
