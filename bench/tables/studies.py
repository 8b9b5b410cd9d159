"""The studies in a folder of results: what each holds, and how one is renamed or removed."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.base.errors import UserError
from bench.base.files import check_no_link, checked_name, open_regular, remove_folder
from bench.tables.columns import SIDE


@dataclass(frozen=True)
class StudyFolder:
    """What can be seen of a study without reading its tables.

    Attributes:
        path: Its folder.
        num_runs: Runs recorded in it.
        changed_at: When something in it changed last, in seconds since 1970.
        num_bytes: Size of its files.
    """

    path: Path
    num_runs: int
    changed_at: float
    num_bytes: int


def is_study(path: Path) -> bool:
    """Tell whether a folder holds runs or tables of runs; a symbolic link does not count."""
    return (
        path.is_dir()
        and not path.is_symlink()
        and any((path / name).exists() for name in ("runs", "runs.parquet", *SIDE))
    )


def studies(results_dir: Path) -> Iterator[StudyFolder]:
    """Yield the studies in a folder, the one that changed last first.

    Raises:
        OSError: The folder cannot be read.
    """
    found = [_seen(path) for path in results_dir.iterdir() if is_study(path)] if results_dir.is_dir() else []
    yield from sorted(found, key=lambda study: -study.changed_at)


def _seen(path: Path) -> StudyFolder:
    num_runs, changed_at, num_bytes = 0, 0.0, 0
    for folder, folders, names in os.walk(path):
        num_runs = len(folders) if Path(folder) == path / "runs" else num_runs
        for name in names:
            with suppress(OSError):
                found = Path(folder, name).lstat()
                changed_at, num_bytes = max(changed_at, found.st_mtime), num_bytes + found.st_size
    return StudyFolder(path, num_runs, changed_at or time.time(), num_bytes)


def study_named(results_dir: Path, name: str) -> Path:
    """Return the folder of a study.

    Raises:
        UserError: There is none of that name.
    """
    try:
        path = results_dir / checked_name(name)
    except ValueError:
        path = results_dir / "-"
    if not is_study(path):
        known = ", ".join(study.path.name for study in studies(results_dir)) or "none"
        raise UserError(f"the study must be one in {results_dir} ({known}), got {name!r:.80}; name one of these")
    return path


@contextmanager
def unused(study_dir: Path) -> Iterator[None]:
    """Hold a study while none of its runs is being worked on.

    Raises:
        UserError: A process is working on one of its runs.
        OSError: Its locks cannot be read.
    """
    check_no_link(study_dir / "inflight")
    held = []
    try:
        for path in sorted((study_dir / "inflight").glob("*.json")):
            held.append(descriptor := open_regular(path, os.O_RDWR))
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"the study must be at rest, got {study_dir}, in which a process works on run {path.stem}; wait for it or end it"
                ) from None
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)


def rename_study(study_dir: Path, name: str) -> Path:
    """Give a study another name; return its new folder.

    Raises:
        UserError: The name is no name, or taken; or the study is in use.
        OSError: It cannot be renamed.
    """
    try:
        target = study_dir.with_name(checked_name(name))
    except ValueError:
        raise UserError(
            f"the new name must be of letters, digits and _.+-, not beginning with a dot, got {name!r:.80}; choose another"
        ) from None
    if os.path.lexists(target):
        raise UserError(f"the new name must be free, got {name}, which {target} has; choose another")
    with unused(study_dir):
        study_dir.rename(target)
    return target


def remove_study(study_dir: Path) -> None:
    """Remove a study with all its runs.

    Raises:
        UserError: It is in use.
        OSError: It cannot be removed.
    """
    with unused(study_dir):
        remove_folder(study_dir)
    if study_dir.exists():
        raise OSError(f"{study_dir} could not be removed")
