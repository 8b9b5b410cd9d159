"""Runs in Trackio: a project for each study, in databases on this machine."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.trackers.mapping import Point, TrackedRun


class Tracker:
    """A folder of Trackio's databases.

    Args:
        folder: Of them.

    Raises:
        OSError: It cannot be written.
        RuntimeError: Trackio works in another folder already: it takes one for each process.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        os.environ["TRACKIO_DIR"] = str(self._folder)  # read when it is imported
        from trackio import utils
        from trackio.sqlite_storage import SQLiteStorage

        if self._folder != utils.TRACKIO_DIR:
            raise RuntimeError(f"Trackio works in {utils.TRACKIO_DIR} already, and not in {folder}")
        self._storage = SQLiteStorage
        self.where = f"TRACKIO_DIR={folder} trackio show shows them"

    def begin(self, run: TrackedRun) -> _RunLog:
        """See `bench.trackers.base.Tracker`."""
        self._storage.delete_run(run.study, run.name)
        return _RunLog(self._storage, run)

    def add_figures(self, study: str, figures: Sequence[Path]) -> None:
        """Copy the figures beside the database: Trackio shows images of runs that are under way only."""
        folder = self._folder / "figures" / study
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for figure in figures:
            shutil.copy(figure, folder)


class _RunLog:
    def __init__(self, storage: Any, run: TrackedRun) -> None:
        self._storage, self._run, self._last = storage, run, (0, run.started)

    def add(self, points: Sequence[Point]) -> None:
        """See `bench.trackers.base.RunLog`."""
        metrics, steps, times = [], [], []
        for step, same in groupby(points, key=lambda point: point[0]):
            together = list(same)
            metrics.append({tag: value for _, _, tag, value in together})
            steps.append(step)
            times.append(together[-1][1])
        self._write(metrics, steps, times)

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """See `bench.trackers.base.RunLog`."""
        self._write([dict(results)], [self._last[0]], [self._last[1]], {"status": status})

    def _write(
        self,
        metrics: list[dict[str, float]],
        steps: list[int],
        times: list[float],
        more: Mapping[str, Any] | None = None,
    ) -> None:
        if not metrics:
            return
        self._last = steps[-1], times[-1]
        stamps = [datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat() for at in times]
        config = {**self._run.settings, **(more or {})}
        self._storage.bulk_log(self._run.study, self._run.name, metrics, steps, stamps, config)
