"""What the files of `conf/` say of their keys and of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def comments(path: Path) -> dict[str, str]:
    """Return the comment behind each key of a YAML file, by dotted key."""
    found: dict[str, str] = {}
    parents: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r"( *)([\w.]+):(?: (.*))?$", line)
        if match is None:
            continue
        indent, key, rest = len(match[1]), match[2], match[3] or ""
        parents = [(depth, name) for depth, name in parents if depth < indent]
        dotted = ".".join([*(name for _, name in parents), key])
        parents.append((indent, key))
        found[dotted] = re.sub(r"^[^#]*(?:# *|$)", "", rest)
    return found


def headline(path: Path) -> str:
    """Return the comment that opens a YAML file and says what it is: its first line but for Hydra's package."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return next((line.lstrip("# ") for line in lines if "@package" not in line), "")


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of a configuration that hold no further keys, with their values."""
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
