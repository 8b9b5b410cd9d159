"""Show runs in trackers while they go, after the clock; a tracker that fails, or hangs, never costs a run."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from bench.base.console import say
from bench.base.errors import UserError
from bench.base.text import first_line
from bench.config.loggers import LoggerConfig
from bench.trackers.base import RunLog, Tracker, import_tracker, open_tracker
from bench.trackers.mapping import tag_of_curve, tag_of_diagnostic, tracked

EVERY_S = 1.0
"""Seconds of a run between two times that its points are sent."""


LIMIT_S = 15.0
"""Seconds after which a tracker that does not answer is given up."""


Returned = TypeVar("Returned")

_opened: dict[tuple[str, str], Tracker] = {}
_lost: set[str] = set()


def trackers_of(logger: LoggerConfig) -> dict[str, Tracker]:
    """Return the trackers chosen, each opened once a process; those that failed are left out.

    Raises:
        UserError: One is not installed.
    """
    found = {}
    for name, options in logger.chosen().items():
        key = name, json.dumps(options, sort_keys=True)
        if name not in _lost and key not in _opened:
            import_tracker(name)  # takes seconds, of which the tracker's own limit does not count any
            for tracker in _within_limit(name, open_tracker, name, options):
                _opened[key] = tracker
        if name not in _lost:
            found[name] = _opened[key]
    return found


def send_figures(logger: LoggerConfig, study: str, figures: Sequence[Path]) -> list[str]:
    """Give the figures of a report to the trackers chosen; return a sentence for each on how to look at it."""
    trackers = trackers_of(logger)
    if figures:
        for name, tracker in trackers.items():
            _within_limit(name, tracker.add_figures, study, figures)
    return [f"{name}: {tracker.where}" for name, tracker in trackers_of(logger).items()]


class LiveLog:
    """A run in the trackers chosen.

    Args:
        logger: The trackers.
        planned: Its row of `runs`, as far as it is known before the start.
    """

    def __init__(self, logger: LoggerConfig, planned: Mapping[str, Any]) -> None:
        self._logs: dict[str, RunLog] = {}
        self._num_points = self._num_recorded = 0
        self._sent_at = time.perf_counter()
        trackers = trackers_of(logger)
        if not trackers:
            return
        self._run = tracked(planned, planned["study"])
        for name, tracker in trackers.items():
            for log in _within_limit(name, tracker.begin, self._run):
                self._logs[name] = log

    def update(
        self,
        points: Sequence[tuple[int, float, str, str, float, float]],
        recorded: Sequence[tuple[int, str, str, float]],
        at_once: bool = False,
    ) -> None:
        """Send what is new since the last time, unless that was just now.

        Args:
            points: All points of the run so far, as `bench.training.trace.Trace` holds them.
            recorded: All its diagnostics so far, as `bench.training.diagnostics.recorder.Recorder` holds them.
            at_once: Send it in any case.
        """
        if not self._logs or (not at_once and time.perf_counter() - self._sent_at < EVERY_S):
            return
        new, new_recorded = points[self._num_points :], recorded[self._num_recorded :]
        self._num_points, self._num_recorded = len(points), len(recorded)
        started, seconds = self._run.started, {step: at for step, *_, at in new}  # diagnostics are taken at stops
        sent = [(step, started + at, tag_of_curve(split, metric), value) for step, _, split, metric, value, at in new]
        sent += [
            (step, started + seconds.get(step, 0.0), tag_of_diagnostic(name, layer), value)
            for step, layer, name, value in new_recorded
        ]
        sent.sort(key=lambda point: point[0])
        self._each(lambda log: log.add(sent))
        self._sent_at = time.perf_counter()

    def end(self, row: Mapping[str, Any]) -> None:
        """Close the run.

        Args:
            row: Of `runs`, complete.
        """
        if self._logs:
            ended = tracked(row, self._run.study)
            self._each(lambda log: log.end(ended.status, ended.results))
            self._logs.clear()

    def _each(self, call: Callable[[RunLog], None]) -> None:
        """Call each tracker that still goes along."""
        for name, log in list(self._logs.items()):
            if not _within_limit(name, call, log):
                del self._logs[name]


def _within_limit(name: str, call: Callable[..., Returned], *arguments: Any) -> list[Returned]:
    """Return a list of what a call to a tracker returns; an empty one where it fails or takes too long.

    It is made in a thread of its own, which is waited for: nothing else runs meanwhile. A tracker that fails is left out of
    this process from then on, and a sentence says so.

    Raises:
        UserError: The tracker is not installed.
    """
    returned: list[Returned] = []
    failed: list[BaseException] = []

    def carry_out() -> None:
        try:
            returned.append(call(*arguments))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=carry_out, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    if failed and isinstance(failed[0], UserError):
        raise failed[0]
    if not returned:
        why = f"{type(failed[0]).__name__}: {first_line(failed[0])}" if failed else f"no answer within {LIMIT_S:g} s"
        _lost.add(name)
        say(f"bench: logger={name}: {why}; training goes on without it", sys.stderr)
    return returned
