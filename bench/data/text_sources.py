"""Where texts come from: lines of Python's own source, TREC, SST, files of one's own, Hugging Face's data sets."""

from __future__ import annotations

import codecs
import csv
import functools
import importlib
import io
import re
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bench.base.errors import UserError

MODULES = ("asyncio", "email", "http", "importlib", "logging", "multiprocessing", "unittest", "urllib", "xml", "xmlrpc")
"""The classes of the source `stdlib`: packages of the standard library."""

LINES_A_MODULE = 1_000
TREC_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
SST_CLASSES = ("0", "1")
FILES = {
    "trec": {"train": "TREC.train", "test": "TREC.test"},
    "sst": {"train": "stsa.binary.train", "val": "stsa.binary.dev", "test": "stsa.binary.test"},
}
COLUMNS = ("label", "text")
ENCODINGS = {"trec": "latin-1"}
"""Of the sources whose files are not UTF-8."""

OTHER_NAMES = {"train": ("train",), "val": ("val", "validation", "dev", "valid"), "test": ("test",)}
"""How others call the three splits."""


class Part(NamedTuple):
    """Texts with their labels, and where each was found.

    Attributes:
        labels: One of each text.
        texts: As they were written.
        lines: Number of each one's line, from 1; of stdlib its place among the lines of its package.
        place: The file, or what else they came from.
    """

    labels: list[Any]
    texts: list[str]
    lines: list[int]
    place: str


def chosen(part: Part, places: Sequence[int]) -> Part:
    """Return some of the texts of a part, by their places."""
    return Part(
        [part.labels[place] for place in places],
        [part.texts[place] for place in places],
        [part.lines[place] for place in places],
        part.place,
    )


def warn_of(num: int, first: str) -> None:
    """Say how many lines were left out.

    Args:
        num: How many.
        first: Where the first is, and what is wrong with it.
    """
    what = "1 line" if num == 1 else f"{num} lines"
    warnings.warn(f"data.on_error=skip left out {what}, the first is {first}", stacklevel=3)


def stdlib_folder() -> Path:
    """Return the folder of the standard library's sources.

    Raises:
        UserError: There are none.
    """
    folder = Path(sysconfig.get_path("stdlib"))
    if not (folder / "ast.py").is_file():
        raise UserError(
            f"path must be set where Python comes without its sources, got null, and there is no ast.py in {folder};"
            " set data.path to a file of your own"
        )
    return folder


def stdlib_lines() -> Part:
    """Return lines of source code from ten packages of the standard library, equally many of each.

    Raises:
        UserError: The sources are not there.
    """
    folder = stdlib_folder()
    owner: dict[str, str | None] = {}
    for module in MODULES:
        for file in sorted((folder / module).rglob("*.py")):
            if {"test", "tests"} & set(file.relative_to(folder).parts):
                continue  # some distributions leave them out
            for written in file.read_text("utf-8").splitlines():
                line = written.strip()
                if len(line) >= 20:
                    owner[line] = module if owner.get(line, module) == module else None
    lines: dict[str, list[str]] = {module: [] for module in MODULES}
    for line, only in owner.items():
        if only is not None and not re.search(rf"\b{only}\b", line, re.IGNORECASE):
            lines[only].append(line)
    num = min(LINES_A_MODULE, *map(len, lines.values()))
    if num < 100:
        few = ", ".join(module for module, found in lines.items() if len(found) < 100)
        raise UserError(
            f"source must be another than stdlib where Python comes without its sources, got no {few} in {folder};"
            " set data.name=trec or data.path"
        )
    part = Part([], [], [], str(folder))
    for module, found in lines.items():
        for place in np.linspace(0, len(found) - 1, num).astype(int):  # from every file
            part.labels.append(module)
            part.texts.append(found[place])
            part.lines.append(int(place) + 1)
    return part


def read_text(path: Path, encoding: str, errors: str = "strict", key: str = "path") -> str:
    """Read a text file, decoded, without a byte order mark, its lines ending in \\n.

    Args:
        path: The file.
        encoding: By a name that Python knows.
        errors: "strict", or "surrogateescape": what cannot be decoded becomes lone surrogates.
        key: Of the configuration, that the file comes from.

    Raises:
        UserError: It cannot be read or decoded, or there is no such encoding; of what cannot be
            decoded the line is named.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{key} must be a file that can be read, got {path}: {error.strerror}; choose another"
        ) from None
    try:
        codecs.lookup(encoding)
        text = raw.decode(encoding, errors)
    except LookupError:
        raise UserError(f"encoding must be one that Python knows, got {encoding}; most files are utf-8") from None
    except UnicodeError as error:
        line = 1 + raw.count(b"\n", 0, getattr(error, "start", 0))
        raise UserError(
            f"encoding must be that of the file, got {encoding} for {path}, line {line}, which cannot be decoded;"
            " set data.encoding"
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


Parsed = tuple[int, str, str] | tuple[int, str]
"""Number of a line with its label and text, or with what is wrong with it."""

_UNDECODED = re.compile("[\ud800-\udfff]")


def _part(key: str, path: Path, encoding: str, skip: bool, parse: Callable[[str], Iterator[Parsed]]) -> Part:
    """Read the labels and texts of a file; what cannot be read ends it, or with `skip` is left out and counted."""
    part = Part([], [], [], str(path))
    wrong: list[tuple[int, str]] = []
    whole = read_text(path, encoding, "surrogateescape" if skip else "strict", key)
    for line, *found in parse(whole):
        if _UNDECODED.search("".join(found)):
            found = [f"it is not {encoding}"]
        if len(found) == 1:
            wrong.append((line, found[0]))
            if not skip:
                break
        else:
            part.labels.append(found[0])
            part.texts.append(found[1])
            part.lines.append(line)
    if wrong:
        line, reason = wrong[0]
        where = f"{path}, line {line}: {reason}"
        if not skip:
            raise UserError(
                f"{key} must hold a label and a text in every line, got {where}; mend it, or set data.on_error=skip"
            )
        warn_of(len(wrong), where)
    if not part.labels:
        raise UserError(f"{key} must hold texts, got none that can be read in {path}; choose another file")
    return part


def known_files(source: str, root: str | None, encoding: str, skip: bool) -> dict[str, Part]:
    """Load TREC or SST."""
    names = FILES[source]
    if root is None:
        raise UserError(
            f"root must be the folder that text/{source} lies in, got null; set data.root or BENCH_DATA_ROOT,"
            " or take data.name=stdlib, which needs no file"
        )
    base = Path(root).expanduser()
    folders = [base / "text" / source, base]
    folder = next((one for one in folders if any((one / name).is_file() for name in names.values())), folders[0])
    if absent := [name for name in names.values() if not (folder / name).is_file()]:
        raise UserError(
            f"root must hold the {source} files, got {root}, where {', '.join(absent)} are not in {folder};"
            " set data.root or BENCH_DATA_ROOT to where they lie, or take data.name=stdlib, which needs no file"
        )
    parse = _trec_lines if source == "trec" else _sst_lines
    return {split: _part("root", folder / name, encoding, skip, parse) for split, name in names.items()}


def _trec_lines(whole: str) -> Iterator[Parsed]:
    for number, line in enumerate(whole.split("\n"), 1):  # not splitlines: a line may hold \x85
        if line.strip():
            kind, _, text = line.partition(" ")
            label = kind.partition(":")[0]
            if label not in TREC_CLASSES or ":" not in kind:
                yield number, f"it begins with {kind[:20]}, not with one of {', '.join(TREC_CLASSES)} and a colon"
            elif not text.strip():
                yield number, "it has no text"
            else:
                yield number, label, text


def _sst_lines(whole: str) -> Iterator[Parsed]:
    for number, line in enumerate(whole.split("\n"), 1):
        if line.strip():
            label, _, text = line.partition(" ")
            if label not in SST_CLASSES:
                yield number, f"it begins with {label[:20]}, not with 0 or 1"
            elif not text.strip():
                yield number, "it has no text"
            else:
                yield number, label, text


def own_files(path: Path, columns: tuple[str, str], encoding: str, skip: bool) -> dict[str, Part]:
    """Read one file, which is split, or a folder with train and perhaps val and test."""
    if path.is_file():
        found = {"train": path}
    elif path.is_dir():
        found = {}
        for split, names in OTHER_NAMES.items():
            there = [path / f"{name}{suffix}" for name in names for suffix in (".tsv", ".csv")]
            there = [file for file in there if file.is_file()]
            if len(there) > 1:
                raise UserError(f"path must hold one file of {split}, got {there[0]} and {there[1]}; remove one")
            if there:
                found[split] = there[0]
        if "train" not in found:
            raise UserError(f"path must be a folder with train.tsv or train.csv, got {path}; put one there")
    else:
        raise UserError(f"path must be a file or folder that exists, got {path}; choose another")
    parts = {}
    for split, file in found.items():
        if file.suffix.lower() not in (".tsv", ".csv"):
            raise UserError(f"path must be a file that ends in .tsv or .csv, got {file}; rename or convert it")
        parse = functools.partial(_rows, tabs=file.suffix.lower() == ".tsv", columns=columns)
        parts[split] = _part("path", file, encoding, skip, parse)
        labels = parts[split].labels
        if parts[split].lines[0] == 1 and labels.count(labels[0]) == 1 and len(labels) > 2 * len(set(labels)):
            raise UserError(
                f"path must hold files whose first line is an example or names the columns, got {file}, whose first label,"
                f" {labels[0]}, occurs nowhere else; set data.label_column and data.text_column, or remove the line"
            )
    return parts


def _rows(whole: str, tabs: bool, columns: tuple[str, str]) -> Iterator[Parsed]:
    source = io.StringIO(whole, newline="")
    reader = csv.reader(source, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(source, strict=True)
    label_at, text_at, width = 0, 1, 2
    first = True
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            for lost in range(number, max(number, reader.line_num) + 1):
                yield lost, f"{error}"
            continue
        if not any(cell.strip() for cell in row):
            continue
        names = [cell.strip().lower() for cell in row]
        is_header = first and all(column.lower() in names for column in columns)
        if first and not is_header and columns != COLUMNS:
            yield number, f"it names no columns {' and '.join(columns)}"
            return
        first = False
        if is_header:
            label_at, text_at = (names.index(column.lower()) for column in columns)
            width = len(row)
        elif len(row) != width:
            yield number, f"it has {len(row)} columns instead of {width}"
        elif not row[label_at].strip() or not row[text_at].strip():
            yield number, f"it has no {'label' if not row[label_at].strip() else 'text'}"
        else:
            yield number, row[label_at].strip(), row[text_at]


def hugging_face(
    name: str, subset: str | None, columns: tuple[str, str], download: bool, skip: bool
) -> dict[str, Part]:
    """Load a data set of Hugging Face's library, from its cache or, with `download`, from its servers."""
    try:
        library: Any = importlib.import_module("datasets")
    except ImportError:
        raise UserError(
            f"source must be stdlib, trec or sst, or a name that Hugging Face's library knows, got {name}, and the"
            " library is not here; pip install datasets, or set data.path to files of your own"
        ) from None
    switches = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")  # read at every request; the second is the older name
    before = {switch: getattr(library.config, switch) for switch in switches if hasattr(library.config, switch)}
    try:
        if not download:
            for switch in before:
                setattr(library.config, switch, True)
        found = library.load_dataset(name, subset)
    except Exception as error:  # whatever another library meets
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        advice = "choose another name" if download else "set data.download=true to fetch it"
        raise UserError(
            f"source must be a data set that Hugging Face's library can load, got {name}: {reason}; {advice}"
        ) from error
    finally:
        for switch, value in before.items():
            setattr(library.config, switch, value)
    parts = {}
    for split, names in OTHER_NAMES.items():
        for there in names:
            if there in found and split not in parts:
                parts[split] = _hugging_face_part(f"{name} ({there})", found[there], columns, skip)
    if "train" not in parts:
        raise UserError(f"source must have a split train, got {name} with {', '.join(found)}; choose another")
    return parts


def _hugging_face_part(place: str, table: Any, columns: tuple[str, str], skip: bool) -> Part:
    for option, column in zip(("label_column", "text_column"), columns, strict=True):
        if column not in table.column_names:
            raise UserError(
                f"{option} must be a column of {place}, got {column}; choose one of {', '.join(table.column_names)}"
            )
    part = Part([], [], [], place)
    wrong: list[int] = []
    for row, (label, text) in enumerate(zip(*(table[column] for column in columns), strict=True), 1):
        labelled = isinstance(label, str) or (type(label) is int and label >= 0)  # -1: a secret label
        if labelled and isinstance(text, str) and text.strip() and label != "":
            part.labels.append(label)
            part.texts.append(text)
            part.lines.append(row)
        else:
            wrong.append(row)
    if wrong and not skip:
        raise UserError(
            f"source must have a label (a text, or a whole number from 0) and a text in every row, got {place},"
            f" row {wrong[0]} without; set data.on_error=skip, or choose another"
        )
    if wrong:
        warn_of(len(wrong), f"row {wrong[0]} of {place}")
    return part
