"""Runs as event files of TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from bench.base.files import remove_folder
from bench.trackers.mapping import Point, TrackedRun


class Tracker:
    """Event files, a folder for each run.

    Args:
        folder: The studies' folders lie in it.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.where = f"tensorboard --logdir {folder} shows them"

    def begin(self, run: TrackedRun) -> _RunLog:
        """See `bench.trackers.base.Tracker`."""
        return _RunLog(self._new_writer(run.study, run.name), run)

    def add_figures(self, study: str, figures: Sequence[Path]) -> None:
        """See `bench.trackers.base.Tracker`."""
        from matplotlib.image import imread

        with self._new_writer(study, "report") as writer:
            for figure in figures:
                writer.add_image(figure.stem, imread(figure), dataformats="HWC")

    def _new_writer(self, study: str, name: str) -> SummaryWriter:
        folder = self._folder / study / name
        remove_folder(folder)
        return SummaryWriter(str(folder))


class _RunLog:
    def __init__(self, writer: SummaryWriter, run: TrackedRun) -> None:
        self._writer, self._run = writer, run

    def add(self, points: Sequence[Point]) -> None:
        """See `bench.trackers.base.RunLog`."""
        for step, at, tag, value in points:
            self._writer.add_scalar(tag, value, step, walltime=at)
        self._writer.flush()

    def end(self, status: str, results: Mapping[str, float]) -> None:
        """See `bench.trackers.base.RunLog`."""
        self._writer.add_text("status", status)
        self._writer.add_hparams(self._run.settings, dict(results), run_name=".")
        self._writer.close()
