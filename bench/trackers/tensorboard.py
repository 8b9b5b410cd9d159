"""Studies as event files of TensorBoard: `tensorboard --logdir FOLDER`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.base.errors import UserError
from bench.base.files import replacing_folder
from bench.trackers.mapping import TrackedRun


def write(runs: Iterable[TrackedRun], folder: Path) -> int:
    """Write each run into a folder of its own, in place of what an earlier export wrote; return how many.

    Args:
        runs: What `tracked_runs` gave.
        folder: Of the study; a run's is named by its run_id.

    Raises:
        UserError: TensorBoard is not installed.
        OSError: A folder cannot be written.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--to must be a tracker that is installed, got tensorboard; pip install 'optbench[tensorboard]'"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    num = 0
    for run in runs:
        with (
            replacing_folder(folder / run.name) as aside,
            SummaryWriter(str(aside)) as writer,
        ):
            for step, at, tag, value in run.points:
                writer.add_scalar(tag, value, step, walltime=at)
            writer.add_text("status", run.status)
            results = {f"result/{name}": value for name, value in run.results.items()}
            writer.add_hparams(run.settings, results, run_name=".")
        num += 1
    return num
