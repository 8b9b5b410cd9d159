"""The folder of a report, replaced as a whole."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.base.errors import UserError
from bench.base.files import replacing_folder, sweep_aside

LIST = ".report"
"""File of a report that names its files, a line each."""


_BEFORE_LISTS = re.compile(
    r"index\.html|report(\.zh)?\.md|(comparisons|verdicts)\.csv"
    r"|figures/(claim-.*|(\d+-)?(loss-step|loss-epoch|loss-time|accuracy|gap|trajectory|targets|time|memory|grad-norm|update-ratio"
    r"|distance|grad-norm-first|grad-norm-last|pareto|defaults|best-of-k|sensitivity|status|profile|step-cost|training-step))\.(svg|png)"
    r"|tables/((\d+-)?(summary|comparisons|targets|target-comparisons|defaults|tuning|best-of-k|sensitivity|profile|leave-one-out"
    r"|step-costs|rule-and-implementation)|runs|curves|memory|trajectories)\.csv"
)
"""Files of reports that were written before reports listed them."""


@contextmanager
def report_folder(report_dir: Path) -> Iterator[Path]:
    """Write a report aside, and put it in the place of the old one once it is complete; other files there are kept.

    Args:
        report_dir: Where the report goes; a symbolic link stands for the folder that it points to.

    Yields:
        An empty folder to write into, with figures/ and tables/.

    Raises:
        UserError: It is the current folder or one above it, or no folder.
        OSError: It cannot be written.
    """
    place = Path(os.path.realpath(report_dir))
    if Path.cwd().is_relative_to(place) or (place.exists() and not place.is_dir()):
        raise UserError(
            f"the report must go into a folder of its own, got {report_dir}; choose another, such as {Path('reports') / 'mine'}"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep_aside(place.parent)
    with replacing_folder(place) as aside:
        for name in ("figures", "tables"):
            (aside / name).mkdir()
        yield aside
        written = sorted(str(path.relative_to(aside)) for path in aside.rglob("*") if path.is_file())
        (aside / LIST).write_text("".join(f"{name}\n" for name in written))
        _keep_others(place, aside)


def _keep_others(old: Path, new: Path) -> None:
    """Link the files of a folder that no report wrote into the folder that takes its place, and make its folders."""
    try:
        listed = set((old / LIST).read_text().splitlines()) | {LIST}
    except (OSError, ValueError):
        listed = set()
    for folder, folders, names in os.walk(old):
        for name in folders:
            (new / Path(folder, name).relative_to(old)).mkdir(exist_ok=True)
        for name in names:
            inside = Path(folder, name).relative_to(old)
            ours = str(inside) in listed if listed else _BEFORE_LISTS.fullmatch(str(inside))
            if not ours and not (new / inside).exists():
                os.link(old / inside, new / inside, follow_symlinks=False)
