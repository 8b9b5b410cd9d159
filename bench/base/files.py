"""Read files that may come from a stranger, and replace files and folders whole: no links, no pipes, nothing too large."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

MAX_JSON_BYTES = 64 * 2**20
"""Size above which a JSON file is not read."""


ABANDONED_S = 10.0
"""Seconds after which what was written aside, and is locked by no process, counts as left behind."""


_NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]{0,199}")


_ASIDE = re.compile(r"\..+\.[0-9a-f]{16}\.new")


class OddFile(OSError):
    """A file or folder that is not what it must be, such as a symbolic link or a pipe."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.strerror = f"{path.name} {reason}"


def checked_name(name: str) -> str:
    """Return a name that may be part of a path: letters, digits and "_.+-", not beginning with a dot.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a run, or a part of a table, must have a name of letters, digits and _.+-, got {name!r:.80}")
    return name


def check_no_link(path: Path) -> None:
    """Refuse a symbolic link where a file or folder of one's own must be.

    Raises:
        OddFile: It is one.
    """
    if path.is_symlink():
        raise OddFile(path, "is a symbolic link, which is not followed; replace it by what it points to")


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a regular file and return its descriptor; follow no link, wait for no pipe.

    Args:
        path: Where it is.
        flags: As of `os.open`.

    Raises:
        OddFile: It is something else.
        OSError: It cannot be opened.
    """
    check_no_link(path)
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OddFile(path, "is not a regular file")
    return descriptor


def open_bounded(path: Path, limit: int) -> IO[bytes]:
    """Open a regular file of at most that many bytes for reading.

    Raises:
        OddFile: It is larger, or no regular file.
        OSError: It cannot be opened.
    """
    file = os.fdopen(open_regular(path), "rb")
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        file.close()
        raise OddFile(path, f"has {size:,} bytes, more than the {limit:,} that are read")
    return file


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; NaN and Infinity are no JSON.

    Raises:
        OSError: It cannot be read, or is not a regular file of at most `MAX_JSON_BYTES`.
        ValueError: It is damaged, or nested too deep.
    """

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    with open_bounded(path, MAX_JSON_BYTES) as file:
        try:
            return json.loads(file.read(), parse_constant=refuse)
        except RecursionError:
            raise ValueError("it is nested too deep") from None


@contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file that does not exist yet, locked meanwhile, and sync it.

    Raises:
        FileExistsError: Something of that name exists.
        OSError: It cannot be written.
    """
    with os.fdopen(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file aside, sync it, and put it in the place of another; where writing fails, the other stays.

    Raises:
        OSError: It cannot be written.
    """
    check_no_link(path)
    aside = _aside(path)
    try:
        with new_file(aside) as file:
            yield file
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Fill a folder aside, and put it in the place of another; where that fails, or the process is killed, the other stays.

    Where the file system cannot exchange two folders in one step, there is a moment at which the other is called ".old-" and
    its name, and nothing has its name.

    Raises:
        OSError: It cannot be written.
    """
    check_no_link(path)
    aside, old = _aside(path), path.with_name(f".old-{path.name}")
    aside.mkdir()
    lock = os.open(aside, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield aside
        os.fsync(lock)
        if not path.exists():
            aside.rename(path)
        elif not _exchanged(aside, path):
            remove_folder(old)
            path.rename(old)
            aside.rename(path)
        sync_folder(path.parent)
    finally:
        remove_folder(aside)
        os.close(lock)
    remove_folder(old)


def _aside(path: Path) -> Path:
    """Return an unpredictable name beside a path, by which `sweep_aside` knows what was left behind."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")


_EXCHANGE, _HERE = 2, -100
"""RENAME_EXCHANGE and AT_FDCWD of Linux."""


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; return whether system and file system can do that (Linux: renameat2)."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def remove_folder(path: Path) -> None:
    """Remove a folder as far as that can be done; of a link, the link and nothing that it points to."""
    if path.is_symlink():
        with suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Have the names in a folder written to the disk.

    Raises:
        OSError: That fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_aside(folder: Path) -> None:
    """Remove from a folder what processes that are gone had written aside."""
    with suppress(OSError):
        check_no_link(folder)
        for path in folder.iterdir():
            if _ASIDE.fullmatch(path.name):
                with suppress(OSError):
                    _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode) or time.time() - found.st_mtime < ABANDONED_S:
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_folder(path) if stat.S_ISDIR(found.st_mode) else path.unlink()
    finally:
        os.close(descriptor)
