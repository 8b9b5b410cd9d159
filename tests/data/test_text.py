"""Texts: what is read, how it becomes numbers, what is held out, and what is refused in one sentence."""

from __future__ import annotations

import os
import sys
import sysconfig
import types
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UserError
from bench.data import chars, text, text_sources
from bench.data.dataset import Dataset, as_dataset


def _write(path: Path, content: str | bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def _rows(num: int, labels: str = "ab", separator: str = "\t") -> str:
    return "".join(
        f"{labels[i % len(labels)]}{separator}number {i} is {labels[i % len(labels)]}x\n" for i in range(num)
    )


def _refusal(**options: Any) -> str:
    with warnings.catch_warnings(), pytest.raises(UserError) as caught:
        warnings.simplefilter("ignore")
        text.load(**options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def _sizes(data: Dataset) -> tuple[int, ...]:
    return tuple(data.size(split) for split in ("train", "val", "test"))


# Words


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("Don't stop, it's (really) good!", "Do n't stop , it 's ( really ) good !"),
        ("What 's the U.S. 's e-mail ?", "What 's the U S 's e mail ?"),
        ("they've we're I'd he'll `tick'", "they 've we 're I 'd he 'll `tick'"),
        ("snake_case -- 3.5%", "snake case 3 5"),
        ("Émile était là", "Émile était là"),
        ("... --", ""),
    ],
)
def test_words_are_split_by_the_rules_of_kims_code(line: str, wanted: str) -> None:
    assert text.words(line) == wanted.split()


def test_lines_of_code_are_split_into_names_numbers_and_signs() -> None:
    wanted = ["x_1", "=", "self", ".", "f", "(", "a", ",", "42", ")", "#", "é"]
    assert text.code_words("x_1 = self.f(a, 42)  # é") == wanted


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "c", "new"]), max_size=6), min_size=1, max_size=8), st.integers(1, 7)
)
def test_tokens_and_bags_say_the_same_of_known_words(texts: list[list[str]], length: int) -> None:
    vocabulary = {"a": 0, "b": 1, "c": 2}
    rows = text.tokens(texts, vocabulary, length)
    assert rows.shape == (len(texts), length)
    for row, bag, words in zip(rows.tolist(), text.bag_of_words(texts, vocabulary).tolist(), texts, strict=True):
        kept = words[:length]
        assert row == [{"new": 1, "a": 2, "b": 3, "c": 4}[word] for word in kept] + [0] * (length - len(kept))
        assert bag == [float(word in words) for word in "abc"]


# The standard library


def test_stdlib_is_real_balanced_fixed_and_draws_nothing_global() -> None:
    state = torch.get_rng_state()
    data, again = text.load(), text.load()
    assert torch.equal(state, torch.get_rng_state())
    assert data.fingerprint == again.fingerprint
    assert data.spec.num_outputs == len(text_sources.MODULES) == 10
    assert data.spec.num_tokens is None
    assert _sizes(data) == (8000, 1000, 1000)
    for split, each in (("train", 800), ("val", 100), ("test", 100)):
        inputs, targets = data.splits[split]
        assert targets.bincount().tolist() == [each] * 10
        assert inputs.shape[1:] == (2000,)
        assert set(inputs.unique().tolist()) == {0.0, 1.0}


def test_stdlib_lines_are_in_one_package_only_and_do_not_name_it() -> None:
    part = text_sources.stdlib_lines()
    assert len(set(part.texts)) == len(part.texts)
    packages: dict[str, set[str]] = {}
    for module in text_sources.MODULES:
        files = [
            f for f in (text_sources.stdlib_folder() / module).rglob("*.py") if not {"test", "tests"} & set(f.parts)
        ]
        packages[module] = {line.strip() for file in files for line in file.read_text("utf-8").splitlines()}
    for label, line in zip(part.labels, part.texts, strict=True):
        assert [module for module, lines in packages.items() if line in lines] == [label]
        assert len(line) >= 20
        assert label not in text.code_words(line.lower())


def test_stdlib_without_sources_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda kind: str(tmp_path))
    for load in (text.load, chars.load):
        with pytest.raises(
            UserError, match="^path must be set where Python comes without its sources, .*; set data.path"
        ):
            load()
    _write(tmp_path / "ast.py", "x = 1\n")
    assert "source must be another than stdlib" in _refusal()
    assert "got no asyncio, email" in _refusal()


# Files of one's own


@pytest.mark.parametrize(("suffix", "separator"), [("tsv", "\t"), ("csv", ","), ("CSV", ",")])
@pytest.mark.parametrize("header", [None, ("label", "text"), ("Text", "Label")])
def test_a_file_of_ones_own_is_split_by_class(
    tmp_path: Path, suffix: str, separator: str, header: tuple[str, str] | None
) -> None:
    rows = [("spam" if i % 5 == 0 else "ham", f"text {i}") for i in range(100)]
    if header and header[0] == "Text":
        rows = [(b, a) for a, b in rows]
    lines = [separator.join(row) for row in ([header] if header else []) + rows]
    data = text.load("mine", path=_write(tmp_path / f"mine.{suffix}", "\ufeff" + "\r\n".join(lines)))
    assert _sizes(data) == (80, 10, 10)
    assert data.class_counts() == [64, 16]  # ham, spam
    assert data.splits["val"][1].bincount().tolist() == [8, 2]
    assert data.splits["test"][1].bincount().tolist() == [8, 2]


def test_the_splits_share_no_text_and_lose_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.tsv", "".join(f"{'abc'[i % 3]}\tword{i}\n" for i in range(50)))
    part = text_sources.own_files(Path(path), text_sources.COLUMNS, "utf-8", skip=False)
    three = text._three(part, {"a": 0, "b": 1, "c": 2})
    everything = [one for split in three.values() for one in split.texts]
    assert Counter(everything) == Counter(f"word{i}" for i in range(50))
    for split in three.values():
        assert set(split.labels) == {"a", "b", "c"}
        for label, words, line in zip(split.labels, split.texts, split.lines, strict=True):
            assert words == f"word{line - 1}"
            assert label == "abc"[(line - 1) % 3]


def test_csv_cells_may_hold_commas_quotes_and_ends_of_lines(tmp_path: Path) -> None:
    rows = 'label,text\na,"one, two"\nb,"say ""three"""\na,"four\nfive"\n'
    path = _write(tmp_path / "train.csv", rows)
    part = text_sources.own_files(Path(path), text_sources.COLUMNS, "utf-8", skip=False)["train"]
    assert part.texts == ["one, two", 'say "three"', "four\nfive"]
    assert part.lines == [2, 3, 4]


def test_a_folder_with_all_three_splits_is_taken_as_it_is(tmp_path: Path) -> None:
    for split, num in (("train", 10), ("dev", 4), ("test", 6)):
        _write(
            tmp_path / f"{split}.tsv", "sentiment\tid\tbody\n" + "".join(f"{i % 2}\t{i}\tw{i}\n" for i in range(num))
        )
    options = {"path": str(tmp_path), "text_column": "body", "label_column": "sentiment", "features": "tokens"}
    data = text.load("mine", **options)  # type: ignore[arg-type]
    assert _sizes(data) == (10, 4, 6)
    assert data.spec.input_shape == (5,)
    assert data.spec.num_tokens == 2 + 10
    (tmp_path / "dev.tsv").unlink()
    (tmp_path / "test.tsv").unlink()
    assert _sizes(text.load("mine", **options)) == (6, 2, 2)  # type: ignore[arg-type]


def test_the_vocabulary_is_that_of_train_most_frequent_first(tmp_path: Path) -> None:
    _write(tmp_path / "train.tsv", "a\tx y\nb\ty Y z\na\ty x\n")
    _write(tmp_path / "val.tsv", "a\tz never y\n")
    _write(tmp_path / "test.tsv", "b\tx x x x x x x\n")
    data = text.load("mine", path=str(tmp_path), features="tokens")
    assert data.splits["train"][0].tolist() == [[3, 2, 0, 0, 0], [2, 2, 4, 0, 0], [2, 3, 0, 0, 0]]
    assert data.splits["val"][0].tolist() == [[4, 1, 2, 0, 0]]
    assert data.splits["test"][0].tolist() == [[3] * 5]
    assert data.spec.num_tokens == 5
    rare = text.load("mine", path=str(tmp_path), features="tokens", min_count=2, max_length=2)
    assert rare.splits["train"][0].tolist() == [[3, 2], [2, 2], [2, 3]]
    assert text.load("mine", path=str(tmp_path), max_words=1).splits["train"][0].tolist() == [[1.0], [1.0], [1.0]]
    cased = text.load("mine", path=str(tmp_path), features="tokens", lowercase=False)
    assert cased.spec.num_tokens == 6


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_other_encodings_are_read_where_they_are_named(tmp_path: Path, encoding: str) -> None:
    content = "".join(f"{'ab'[i % 2]}\tdéjà vu {i}\n" for i in range(10))
    path = _write(tmp_path / "mine.tsv", content.encode(encoding))
    utf8 = _write(tmp_path / "utf8.tsv", content)
    read, wanted = text.load("mine", path=path, encoding=encoding), text.load("mine", path=utf8)
    assert read.fingerprint == wanted.fingerprint


BROKEN = {
    "a line without text": (b"a\tgood\nb\tbad\na\t \n", "line 3: it has no text"),
    "a line without label": (b"a\tgood\n\tbad\n", "line 2: it has no label"),
    "a line of three columns": (b"a\tgood\nb\tbad\tworse\n", "line 2: it has 3 columns instead of 2"),
    "a line of one column": (b"a\tgood\nbad\n", "line 2: it has 1 columns instead of 2"),
}


@pytest.mark.parametrize(("content", "where"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_named_or_left_out_and_counted(tmp_path: Path, content: bytes, where: str) -> None:
    path = _write(tmp_path / "mine.tsv", content + _rows(10).encode())
    message = _refusal(source="mine", path=path)
    assert message.startswith(f"path must hold a label and a text in every line, got {path}, {where}; ")
    with pytest.warns(UserWarning, match=f"data.on_error=skip left out 1 line, the first is .*{where}$"):
        data = text.load("mine", path=path, on_error="skip")
    assert sum(_sizes(data)) == 10 + content.count(b"\n") - 1


def test_an_undecodable_line_is_named_or_left_out_and_counted(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.tsv", _rows(12).encode() + b"a\tcaf\xe9\nb\tna\xefve\n")
    message = _refusal(source="mine", path=path)
    assert message.startswith(f"encoding must be that of the file, got utf-8 for {path}, line 13, which")
    with pytest.warns(UserWarning, match="left out 2 lines, the first is .*line 13: it is not utf-8$"):
        data = text.load("mine", path=path, on_error="skip")
    assert sum(_sizes(data)) == 12
    assert sum(_sizes(text.load("mine", path=path, encoding="latin-1"))) == 14


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "mine.csv", _rows(6, separator=",") + 'a,"open\n')
    assert f"{path}, line 7: unexpected end of data" in _refusal(source="mine", path=path)
    with pytest.warns(UserWarning, match="left out 1 line"):
        assert sum(_sizes(text.load("mine", path=path, on_error="skip"))) == 6


def test_a_label_that_train_lacks_is_named_or_left_out(tmp_path: Path) -> None:
    _write(tmp_path / "train.tsv", _rows(8))
    _write(tmp_path / "val.tsv", _rows(4))
    _write(tmp_path / "test.tsv", _rows(4) + "c\twhat\n")
    message = _refusal(source="mine", path=str(tmp_path))
    assert f"got {tmp_path / 'test.tsv'}, line 5: the label c is not in {tmp_path / 'train.tsv'}" in message
    with pytest.warns(UserWarning, match="left out 1 line, the first is .*line 5: the label c"):
        assert _sizes(text.load("mine", path=str(tmp_path), on_error="skip")) == (8, 4, 4)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("", "path must hold texts, got none"),
        ("\n\n", "path must hold texts, got none"),
        ("label\ttext\n", "path must hold texts, got none"),
        ("a\tone\na\ttwo\na\tthree\n", "source must have at least 2 classes, got a alone"),
        (
            _rows(10) + "c\tone\nc\ttwo\n",
            "source must have at least 3 texts of each class, to hold some out, got 2 of c",
        ),
        ("a\t...\nb\t...\n" * 5, "min_count must leave at least one word, got 1"),
    ],
    ids=["empty", "blank", "a header alone", "one class", "a small class", "no words"],
)
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_files_that_hold_too_little_are_refused(tmp_path: Path, content: str, wanted: str, on_error: str) -> None:
    path = _write(tmp_path / "mine.tsv", content)
    message = _refusal(source="mine", path=path, on_error=on_error)
    assert message.startswith(wanted)
    assert "; " in message


def test_absent_and_unfit_paths_are_refused(tmp_path: Path) -> None:
    assert _refusal(source="mine", path=str(tmp_path / "no")).startswith("path must be a file or folder that exists")
    assert _refusal(source="mine", path=str(tmp_path)).startswith("path must be a folder with train.tsv or train.csv")
    assert "ends in .tsv or .csv" in _refusal(source="mine", path=_write(tmp_path / "mine.txt", "a\tb\n"))
    _write(tmp_path / "train.tsv", _rows(10))
    _write(tmp_path / "train.csv", _rows(10))
    assert _refusal(source="mine", path=str(tmp_path)).startswith("path must hold one file of train, got ")
    named = {"path": str(tmp_path / "train.tsv"), "text_column": "body"}
    assert "line 1: it names no columns label and body" in _refusal(source="mine", **named)
    named = {"path": str(tmp_path / "train.tsv"), "encoding": "klingon"}
    assert _refusal(source="mine", **named).startswith("encoding must be one that Python knows, got klingon")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("max_words", "max_length") for value in (0, -1, 2.5, True, "x", 10**8)],
        *[("min_count", value) for value in (0, None, True)],
        ("features", "words"),
        ("features", None),
        ("on_error", True),
        ("lowercase", "yes"),
        ("download", 1),
        ("root", 5),
        ("path", True),
        ("encoding", 8),
        ("source", None),
        ("source", 3),
        ("text_column", ""),
    ],
)
@pytest.mark.filterwarnings("error")
def test_options_out_of_range_are_refused(name: str, value: Any) -> None:
    message = _refusal(**{name: value})
    assert message.startswith(f"{name} must be ")
    assert f"got {value}" in message
    assert "; " in message


def test_bags_that_would_fill_memory_are_refused() -> None:
    many: Any = range(10**6)
    with pytest.raises(
        UserError, match=r"^max_words must be at most 1,073 for bags of 1,000,000 texts \(4 GiB\), got 2,"
    ):
        text.bag_of_words(many, dict.fromkeys(map(str, range(2000)), 0))


# TREC and SST


def _trec(folder: Path, train: bytes = b"") -> None:
    kinds = text_sources.TREC_CLASSES
    lines = "".join(f"{kinds[i % 6]}:fine What is number {i} ?\n" for i in range(60))
    _write(folder / "TREC.train", lines.encode() + train)
    _write(folder / "TREC.test", "HUM:ind Who is caf\u00e9 \u0085 ?\nNUM:date When ?\n".encode("latin-1"))


@pytest.mark.parametrize("below", ["", "text/trec"])
def test_trec_is_latin_1_has_six_classes_and_a_tenth_of_train_as_val(tmp_path: Path, below: str) -> None:
    _trec(tmp_path / below)
    data = text.load("trec", root=str(tmp_path), features="tokens")
    assert _sizes(data) == (54, 6, 2)
    assert data.spec.num_outputs == 6
    assert data.splits["val"][1].tolist() != []
    assert data.splits["val"][1].bincount().tolist() == [1] * 6
    assert data.splits["test"][1].tolist() == [3, 5]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"WHO:ind Who ?\n", "line 61: it begins with WHO:ind, not with one of ABBR, DESC"),
        (b"HUM Who ?\n", "line 61: it begins with HUM, not with"),
        (b"HUM:ind \n", "line 61: it has no text"),
    ],
    ids=["an unknown class", "no colon", "no text"],
)
def test_a_broken_line_of_trec_is_named_or_left_out(tmp_path: Path, line: bytes, reason: str) -> None:
    _trec(tmp_path, line + b"HUM:ind Who ?\n")
    message = _refusal(source="trec", root=str(tmp_path))
    assert message.startswith(
        f"root must hold a label and a text in every line, got {tmp_path / 'TREC.train'}, {reason}"
    )
    with pytest.warns(UserWarning, match="left out 1 line"):
        assert sum(_sizes(text.load("trec", root=str(tmp_path), on_error="skip"))) == 63


def test_sst_has_three_files_and_refuses_labels_that_are_not_0_or_1(tmp_path: Path) -> None:
    for split, num in (("train", 8), ("dev", 2), ("test", 4)):
        _write(tmp_path / f"stsa.binary.{split}", "".join(f"{i % 2} text caf\u00e9 {i}\n" for i in range(num)))
    data = text.load("sst", root=str(tmp_path))
    assert _sizes(data) == (8, 2, 4)
    assert data.spec.num_outputs == 2
    path = tmp_path / "stsa.binary.dev"
    _write(path, "0 good\n2 better\n")
    assert f"got {path}, line 2: it begins with 2, not with 0 or 1; " in _refusal(source="sst", root=str(tmp_path))
    _write(path, b"0 good\n1 caf\xe9\n")
    assert f"got utf-8 for {path}, line 2," in _refusal(source="sst", root=str(tmp_path))


@pytest.mark.parametrize("source", ["trec", "sst"])
def test_absent_files_are_said_to_be_so(tmp_path: Path, source: str) -> None:
    assert "got null; set data.root or BENCH_DATA_ROOT" in _refusal(source=source)
    root = tmp_path / "nowhere"
    message = _refusal(source=source, root=str(root))
    assert message.startswith(f"root must hold the {source} files, got {root}, where ")
    assert str(root / "text" / source) in message
    assert not root.exists()
    last = {"trec": "TREC.test", "sst": "stsa.binary.test"}[source]
    _write(root / last, "0 x\n")
    message = _refusal(source=source, root=str(root))
    assert f"{last} are" not in message
    assert f"are not in {root};" in message


def _root(source: str) -> str:
    root = os.environ.get("BENCH_DATA_ROOT")
    if not root or not (Path(root) / "text" / source).is_dir():
        pytest.skip(f"no {source} files: set BENCH_DATA_ROOT to the folder that holds text/{source}")
    return root


def test_the_real_trec() -> None:
    data = text.load("trec", root=_root("trec"), features="tokens")
    assert _sizes(data) == (4906, 546, 500)
    assert data.spec.input_shape == (37,)
    assert data.splits["test"][1].bincount().tolist() == [9, 138, 94, 65, 81, 113]
    every = data.splits["train"][1].bincount() + data.splits["val"][1].bincount()
    assert every.tolist() == [86, 1162, 1250, 1223, 835, 896]


def test_the_real_sst() -> None:
    data = text.load("sst", root=_root("sst"), features="tokens")
    assert _sizes(data) == (6920, 872, 1821)
    assert data.class_counts() == [3310, 3610]
    assert data.splits["test"][1].bincount().tolist() == [912, 909]


# Hugging Face


class _Table:
    def __init__(self, **columns: list[Any]) -> None:
        self.columns = columns
        self.column_names = list(columns)

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]


class _Library(types.ModuleType):
    """What is used of the library `datasets`, with a data set `news` in its cache alone."""

    def __init__(self, **splits: _Table) -> None:
        super().__init__("datasets")
        self.splits = splits
        self.config = types.SimpleNamespace(HF_HUB_OFFLINE=False)
        self.asked: list[tuple[str, str | None, bool]] = []

    def load_dataset(self, name: str, subset: str | None) -> dict[str, _Table]:
        self.asked.append((name, subset, self.config.HF_HUB_OFFLINE))
        if name != "news":
            raise ConnectionError(f"Couldn't reach {name}\nsecond line")
        return self.splits


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Library]:
    made = _Library(
        train=_Table(text=[f"word{i} good" for i in range(30)], label=[i % 3 for i in range(30)]),
        test=_Table(text=["word1 bad", "good"], label=[2, 0]),
    )
    monkeypatch.setitem(sys.modules, "datasets", made)
    return made


def test_hugging_faces_splits_are_taken_and_val_is_held_out(library: Any) -> None:
    data = text.load("news", subset="small", features="tokens")
    assert _sizes(data) == (27, 3, 2)
    assert data.splits["test"][1].tolist() == [2, 0]
    assert library.asked == [("news", "small", True)]
    assert library.config.HF_HUB_OFFLINE is False
    text.load("news", download=True)
    assert library.asked[1] == ("news", None, False)


def test_what_hugging_face_cannot_give_is_one_sentence(library: Any) -> None:
    message = _refusal(source="other")
    assert message.endswith("got other: Couldn't reach other; set data.download=true to fetch it")
    assert library.config.HF_HUB_OFFLINE is False
    assert _refusal(source="other", download=True).endswith("; choose another name")
    message = _refusal(source="news", text_column="sentence")
    assert message.startswith("text_column must be a column of news (train), got sentence; choose one of text, label")
    del library.splits["train"]
    assert _refusal(source="news").startswith("source must have a split train, got news with test")


def test_hugging_faces_secret_labels_are_refused_or_left_out(library: Any) -> None:
    library.splits["test"].columns["label"][0] = -1
    message = _refusal(source="news")
    assert "got news (test), row 1 without; " in message
    with pytest.warns(UserWarning, match=r"left out 1 line, the first is row 1 of news \(test\)"):
        assert _sizes(text.load("news", on_error="skip")) == (27, 3, 1)


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    message = _refusal(source="ag_news")
    assert message.startswith(
        "source must be stdlib, trec or sst, or a name that Hugging Face's library knows, got ag_news"
    )
    assert "pip install datasets" in message


def test_the_real_library_reads_a_data_set_on_this_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pytest.importorskip("datasets", reason="pip install datasets to try the real library")
    monkeypatch.setattr(real.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "news"
    for split, num in (("train", 30), ("validation", 6), ("test", 9)):
        rows = "".join(f'"word{i}, good",{i % 3}\n' for i in range(num))
        _write(folder / f"{split}.csv", "text,label\n" + rows)
    data = text.load(str(folder), features="tokens")
    assert _sizes(data) == (30, 6, 9)
    assert data.splits["test"][1].tolist() == [0, 1, 2] * 3
    assert "OfflineMode" in _refusal(source="no-such-owner/no-such-data")


# Characters


def test_chars_of_the_standard_library_are_real_and_fixed() -> None:
    state = torch.get_rng_state()
    data = as_dataset(chars.load())
    assert torch.equal(state, torch.get_rng_state())
    assert data.fingerprint == chars.load().fingerprint
    assert data.spec.input_shape == data.spec.target_shape == (64,)
    assert 90 <= data.spec.num_outputs == (data.spec.num_tokens or 0)
    assert _sizes(data) == (900_000 // 65, 50_000 // 65, 50_000 // 65)


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\ufeff"), min_size=40, max_size=200), st.integers(1, 3)
)
def test_chars_are_windows_one_place_apart_that_read_as_the_text(content: str, context: int) -> None:
    known = sorted(set(content))
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"test_text_{os.getpid()}.txt"
    path.write_text(content, "utf-8", newline="")
    try:
        if len(known) < 2:
            with pytest.raises(UserError, match="path must be a text of at least 2 different characters"):
                chars.load(str(path), context=context, val_share=0.2, test_share=0.2)
            return
        data = chars.load(str(path), context=context, val_share=0.2, test_share=0.2)
    finally:
        path.unlink()
    begin = 0
    for split, share in (("train", 0.6), ("val", 0.8), ("test", 1.0)):
        end = round(len(content) * share)
        inputs, targets = data.splits[split]
        assert torch.equal(inputs[:, 1:], targets[:, :-1])
        windows = torch.cat([inputs, targets[:, -1:]], dim=1).flatten().tolist()
        assert len(windows) == (end - begin) // (context + 1) * (context + 1)
        assert "".join(known[number] for number in windows) == content[begin : begin + len(windows)]
        begin = end
    assert data.spec.num_outputs == data.spec.num_tokens == len(known)


def test_chars_takes_only_the_start_and_only_what_is_decodable(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.txt", "ab\r\n" * 1000 + "caf\u00e9" * 1000)
    short = chars.load(path, context=4, max_chars=3000)
    assert short.spec.num_outputs == 3  # a, b and one end of line
    assert chars.load(path, context=4).spec.num_outputs == 6
    with pytest.raises(UserError, match=f"^encoding must be that of the file, got ascii for {path}, line 1001, which"):
        chars.load(path, encoding="ascii")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("context", value) for value in (0, None, True, 2.0, 10**6)],
        *[("max_chars", value) for value in (0, True, "x")],
        *[(name, value) for name in ("val_share", "test_share") for value in (0, 1, -0.1, float("nan"), True, None)],
        ("val_share", 0.95),
        ("encoding", None),
        ("path", 3),
        ("path", "/no/such/file.txt"),
        ("context", 60_000),
    ],
)
def test_chars_refuses_options_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^{name} must .*, got {value}.*; ") as caught:
        chars.load(**{name: value})
    assert "\n" not in str(caught.value)


def test_the_real_tiny_shakespeare() -> None:
    path = Path(_root("tinyshakespeare")) / "text" / "tinyshakespeare" / "input.txt"
    data = chars.load(str(path))
    assert data.spec.num_outputs == 65
    assert _sizes(data) == (15_443, 857, 858)


def test_a_first_line_that_names_other_columns_is_no_example(tmp_path: Path) -> None:
    lines = [f"{'good' if i % 2 else 'bad'},text number {i}" for i in range(20)]
    (tmp_path / "train.csv").write_text("\n".join(["category,review", *lines]))
    with pytest.raises(UserError, match="whose first label, category, occurs nowhere else; set data.label_column"):
        text.load("mine", path=str(tmp_path))
    data = text.load("mine", path=str(tmp_path), label_column="category", text_column="review")
    assert data.spec.num_outputs == 2


def test_what_an_open_quote_swallows_is_counted(tmp_path: Path) -> None:
    lines = [f"{'good' if i % 2 else 'bad'},text number {i}" for i in range(60)]
    lines[40] = 'good,"a quote that never ends'
    path = _write(tmp_path / "open.csv", "\n".join(lines))
    with pytest.warns(UserWarning, match="left out 20 lines"):
        assert sum(_sizes(text.load("mine", path=path, on_error="skip"))) == 40


def test_texts_too_long_for_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"{'good' if i % 2 else 'bad'},{'word ' * 50}" for i in range(20)]
    path = _write(tmp_path / "long.csv", "\n".join(lines))
    monkeypatch.setattr(text, "MAX_BYTES", 4000)
    with pytest.raises(UserError, match=r"max_length must be at most 25 for 20 texts \(4 GiB\), got 50"):
        text.load("mine", path=path, features="tokens")
    assert text.load("mine", path=path, features="tokens", max_length=25).spec.input_shape == (25,)
