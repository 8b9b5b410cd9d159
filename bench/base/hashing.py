"""Short hashes of values, sources and weight files."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.base.errors import UserError


def weights_hash(path: str) -> str:
    """Return the SHA-256 of a file of weights to start from.

    Raises:
        UserError: It cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"train.init_from must be a file of weights, got {path} ({getattr(error, 'strerror', None) or error});"
            " train.save_best=true leaves one in runs/<run_id>/best.pt of the study"
        ) from None


@functools.cache
def content_of(path: str) -> str | None:
    """Hash of a person's own data: of a file its bytes; of a folder names and sizes, and the bytes of tables.

    Returns:
        None where there is neither.

    Raises:
        UserError: It cannot be read.
    """
    digest = hashlib.sha256()
    try:
        place = Path(path).expanduser()
        if place.is_file():
            digest.update(place.read_bytes())
        elif place.is_dir():
            for folder, folders, files in os.walk(place):
                folders.sort()
                for name in sorted(files):
                    file = Path(folder, name)
                    digest.update(
                        f"{file.relative_to(place)} {file.stat().st_size if file.exists() else 0}\0".encode(
                            errors="surrogateescape"
                        )
                    )
                    if file.suffix.lower() in (".csv", ".tsv"):
                        digest.update(file.read_bytes())
        else:
            return None
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"data.path must be a file or folder that can be read, got {path}: {error}; choose another"
        ) from None
    return digest.hexdigest()[:16]


def short_hash(value: Any, length: int) -> str:
    """Return the first digits of the SHA-256 of a value's canonical JSON.

    Example:
        >>> short_hash({"b": 1, "a": 2}, 8) == short_hash({"a": 2, "b": 1}, 8)
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def source_fingerprint(target: str) -> str | None:
    """Hash of the file that a person's own class comes from; None for ours and for installed packages.

    Who edits the class has a new cell, not yesterday's results under today's code.
    """
    top = target.split(".")[0]
    if top in ("bench", "models", "optimizers", "torch"):
        return None
    spec, module = None, target
    while spec is None and "." in module:  # the class may stand inside another
        module = module.rpartition(".")[0]
        with suppress(Exception):  # a person's package may raise anything; building says so later
            spec = importlib.util.find_spec(module)
    origin = Path(spec.origin) if spec and spec.origin else None
    if origin is None or not origin.is_file() or {"site-packages", "dist-packages"} & set(origin.parts):
        return None
    return hashlib.sha256(origin.read_bytes()).hexdigest()[:10]
