"""Damage to a folder of results, drawn at random: JSON and Parquet fields, links, pipes, sizes."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LIMIT_S = 30.0
"""Of this process's own time: what takes longer hangs."""

CLOCK_LIMIT_S = 60.0
"""By the clock, which a busy machine lets run on: what takes longer waits for something that never comes."""

ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 2**31, 2**63, 2**65, 10**400, 0.5, -1e308, 1e-320, "", " ", "x", "0", "nan", "\x00", "\x1b[2J\x07",
    "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "../../../../victim", "/etc/passwd", "a" * 100_000, "\ud800", "‮",
    [], [1, 2], [[[]]], {}, {"a": 1}, {"__class__": "os.system"}, "{}", "[1]", '{"a": [1e999]}',
]  # fmt: skip
"""Values that a field of JSON may be given."""

ODD_COLUMNS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.string(), [None, "", "x", "../../victim", "\x1b[2J", "{}", "[1]", "a" * 10_000]),
    (pa.int64(), [None, 0, -1, 2**62, -(2**63)]),
    (pa.float64(), [None, 0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e308, 1e-320]),
    (pa.bool_(), [None, True, False]),
    (pa.list_(pa.int64()), [None, [], [1, 2]]),
    (pa.timestamp("ns"), [None, 0, 2**62]),
    (pa.binary(), [None, b"", b"\xff\xfe"]),
    (pa.struct([("a", pa.int64())]), [None, {"a": 1}]),
]
"""Types that a column may be given, with values."""


@contextmanager
def no_hang() -> Iterator[None]:
    """Hold what is done within to both limits; an error of its own goes first."""
    own, clock = time.process_time(), time.monotonic()
    yield
    own, clock = time.process_time() - own, time.monotonic() - clock
    assert own < LIMIT_S and clock < CLOCK_LIMIT_S, f"{own:.1f} s of its own, {clock:.1f} s by the clock"


def damage(study: Path, victim: Path, rng: random.Random) -> str:
    """Do one kind of damage to a study, and return what it was.

    Args:
        study: The folder.
        victim: A folder beside it that nothing may touch; links point there.
        rng: Draws everything.
    """
    files = sorted(
        path
        for path in study.rglob("*")
        if path.is_file() and path.stat().st_size < 2**20 and path.suffix in (".json", ".parquet")
    )
    path = rng.choice(files)
    ways: list[Callable[[Path, Path, random.Random], str]] = [bytes_of, kind_of]
    ways += [json_of] * 4 if path.suffix == ".json" else [parquet_of] * 4
    ways.append(lambda path, victim, rng: added(study, victim, rng))
    return f"{path.relative_to(study)}: {rng.choice(ways)(path, victim, rng)}"


def json_of(path: Path, victim: Path, rng: random.Random) -> str:
    """Change a field of a JSON file."""
    try:
        record = json.loads(path.read_text())
    except (ValueError, RecursionError, OSError):
        return "damaged before"
    if not (places := list(_places(record))):
        return "nothing to change"
    holder, key = rng.choice(places)
    way = rng.choice(["odd"] * 6 + ["removed", "added", "constant", "deep"])
    value = rng.choice(ODD_VALUES)
    if way == "removed":
        del holder[key]
    elif way == "added":
        holder[rng.choice(["hp_x", "new", "run_id ", "\u0000"])] = value
    else:
        holder[key] = value if way == "odd" else f"@{way}@"
    text = json.dumps(record)
    text = text.replace('"@constant@"', rng.choice(["NaN", "Infinity", "-Infinity", "1e999", "0x1"]))
    text = text.replace('"@deep@"', "[" * 50_000 + "]" * 50_000)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return f"{way} {key} = {value!r:.40}"


def _places(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield node, key
            yield from _places(value)


def parquet_of(path: Path, victim: Path, rng: random.Random) -> str:
    """Change a column, the rows or the metadata of a Parquet file."""
    try:
        table = pq.read_table(path, partitioning=None)
    except (pa.ArrowException, OSError):
        return "damaged before"
    if not table.column_names:
        return "nothing to change"
    name = rng.choice(table.column_names)
    way = rng.choice(["column"] * 6 + ["value"] * 4 + ["dropped", "renamed", "rows", "none", "metadata", "twice"])
    index = table.column_names.index(name)
    kind, values = rng.choice(ODD_COLUMNS)
    said = f"{way} {name}"
    if way == "column":
        column = pa.array([rng.choice(values) for _ in range(len(table))], kind)
        table = table.set_column(index, name, column)
        said += f" {kind}"
    elif way == "value":
        old = table.schema.field(name).type
        fitting = [value for each, value in ODD_COLUMNS if each == old] or [[None]]
        column = [rng.choice(fitting[0]) if rng.random() < 0.3 else value for value in table[name].to_pylist()]
        table = table.set_column(index, pa.field(name, old), pa.array(column, old))
    elif way == "dropped":
        table = table.drop_columns([name])
    elif way == "renamed":
        table = table.rename_columns([f"{n}x" if n == name else n for n in table.column_names])
    elif way == "rows":
        table = pa.concat_tables([table, table.slice(0, 3)])
    elif way == "none":
        table = table.slice(0, 0)
    elif way == "twice":
        table = table.append_column(name, table[name])
    else:
        meta = dict(table.schema.metadata or {})
        meta[rng.choice([b"schema_version", b"stamp", b"problems", b"pandas"])] = rng.choice(
            [b"", b"x", b"-1", b"\xff", b"99999999999999999999", b"[1, 2]", b'{"a": 1}', b"[" * 10_000]
        )
        table = table.replace_schema_metadata(meta)
    pq.write_table(table, path)
    return said


def bytes_of(path: Path, victim: Path, rng: random.Random) -> str:
    """Cut a file, or change some of its bytes."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.4 or not content:
        path.write_bytes(content[: rng.randrange(len(content) + 1)])
        return "cut"
    for _ in range(rng.choice([1, 3, 30])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)
    return "bytes"


def kind_of(path: Path, victim: Path, rng: random.Random) -> str:
    """Put something else in the place of a file, or a link in that of its folder."""
    way = rng.choice(["link", "loop", "pipe", "folder", "huge", "gone", "linked folder", "dangling"])
    if way == "linked folder":
        folder = path.parent if path.parent.parent.name != "results" else path.parent / "runs"
        folder.rename(victim / f"moved-{rng.randrange(10**9)}")
        folder.symlink_to(victim)
        return way
    if way == "huge":
        os.truncate(path, 2**36)
        return way
    path.unlink()
    if way == "link":
        path.symlink_to(victim / "kept.txt")
    elif way == "dangling":
        path.symlink_to(victim / "new.txt")
    elif way == "loop":
        path.symlink_to(path)
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
        (path / "x").write_text("x")
    return way


def added(study: Path, victim: Path, rng: random.Random) -> str:
    """Put something into the study that does not belong there."""
    runs = sorted((study / "runs").glob("[!.]*")) if (study / "runs").is_dir() else []
    inflight = study / "inflight"
    if not inflight.is_symlink():
        inflight.mkdir(exist_ok=True)
    name = rng.choice(["x", "x-0-e", ".x", "x y", *(run.name for run in runs[:1])])
    row: dict[str, Any] = {}
    with suppress(ValueError, KeyError, TypeError, RecursionError, IndexError, OSError):  # damaged before
        if (runs[0] / "run.json").is_file():  # no pipe, which would keep the reader waiting
            row = dict(json.loads((runs[0] / "run.json").read_text())["run"])
    key = rng.choice(sorted(row)) if row else "run_id"
    records: list[Any] = [
        {"run": {}}, {"run": []}, [], {"run": row | {"run_id": "x/../../../../victim"}}, {"run": row | {"run_id": name}},
        {"run": row | {key: rng.choice(ODD_VALUES)}}, {"run": row},
    ]  # fmt: skip
    way = rng.choice(["record"] * 4 + ["pipe", "link", "lock", "aside", "tables", "run"])
    if way == "record":
        (inflight / f"{name}.json").write_text(json.dumps(rng.choice(records)), errors="surrogatepass")
    elif way == "pipe" and not (inflight / f"{name}.json").exists():
        os.mkfifo(inflight / f"{name}.json")
    elif way == "link":
        with suppress(FileExistsError):
            (inflight / f"linked-{name}.json").symlink_to(victim / "kept.json")
    elif way == "lock":
        (study / ".lock").unlink(missing_ok=True)
        (study / ".lock").symlink_to(victim / "kept.txt")
    elif way == "aside":
        for suffix in ("new", "0123456789abcdef.new"):
            with suppress(FileExistsError):
                (study / f".runs.csv.{suffix}").symlink_to(victim / "kept.txt")
    elif way == "tables":
        target = study / rng.choice(["runs.csv", "memory.csv", "runs.parquet", "curves.csv"])
        target.unlink(missing_ok=True)
        target.symlink_to(victim / "kept.txt")
    elif way == "run" and (study / "runs").is_dir():
        with suppress(FileExistsError):
            (study / "runs" / f"linked-{name}").symlink_to(victim)
    return f"{way} {name}"


def listing(folder: Path) -> dict[str, tuple[str, bytes | str]]:
    """Return all that lies in a folder, links not followed, with contents."""
    found: dict[str, tuple[str, bytes | str]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_file():
            found[name] = ("file", path.read_bytes() if path.stat().st_size < 2**20 else b"large")
        else:
            found[name] = ("other", "")
    return found
