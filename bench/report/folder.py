"""The folder of a report, replaced as a whole."""

from __future__ import annotations

import os
import re
import shutil
import stat
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
        UserError: It is the current folder or one above it, no folder, or holds a file of the reader's own that has the name of
            one of the report.
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
        if place.is_dir():
            _keep_others(place, aside)


def remove_report(folder: Path) -> bool:
    """Remove what reports wrote into a folder, and its folders where nothing else is left; return whether there was a report."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    written = _written_by_reports(folder)
    for name in written:
        path = folder / name
        if path.resolve().is_relative_to(folder.resolve()):
            path.unlink(missing_ok=True)
    for path in (folder / "figures", folder / "tables", folder):
        if written and path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    return bool(written)


def _keep_others(old: Path, new: Path) -> None:
    """Put what no report wrote into the folder that takes the place of another: files, links and folders, with their modes.

    Raises:
        UserError: A file of the new report has the name of one of these.
        OSError: A file cannot be kept.
    """
    own = _written_by_reports(old)
    for folder, folders, names in os.walk(old):
        for name in folders + names:
            path = Path(folder, name)
            inside = path.relative_to(old)
            target = new / inside
            is_folder = name in folders and not path.is_symlink()
            if os.path.lexists(target) and not (is_folder and target.is_dir()) and str(inside) not in own:
                raise UserError(
                    f"the report would replace {path}, which no report wrote; move that file, or choose another folder"
                )
            if is_folder:
                target.mkdir(exist_ok=True)
                shutil.copymode(path, target)
            elif str(inside) not in own:
                _keep(path, target)
    shutil.copymode(old, new)


def _written_by_reports(folder: Path) -> set[str]:
    """Return the names of the files in a folder that an earlier report wrote."""
    try:
        return {*(folder / LIST).read_text().splitlines(), LIST}
    except (OSError, ValueError):
        pass
    if not all((folder / name).is_file() for name in ("index.html", "report.md")):
        return set()  # a folder of the reader's own
    inside = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return {name for name in inside if _BEFORE_LISTS.fullmatch(name)}


def _keep(path: Path, target: Path) -> None:
    """Make a file, or a symbolic link, appear at another place too; copy it where the file system knows no hard links.

    Raises:
        OSError: It cannot be linked nor copied.
    """
    if path.is_symlink():
        target.symlink_to(path.readlink())
        return
    try:
        os.link(path, target)
    except OSError:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise
        shutil.copy2(path, target)
