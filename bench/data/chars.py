"""A text, to predict each of its characters from those before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bench.base.errors import UserError
from bench.data.dataset import SPLITS, Dataset, from_tensors
from bench.data.text_sources import read_text, stdlib_folder

STDLIB_CHARS = 1_000_000
"""What is taken of the standard library's sources."""


def load(
    path: str | None = None,
    context: int = 64,
    encoding: str = "utf-8",
    val_share: float = 0.05,
    test_share: float = 0.05,
    max_chars: int | None = None,
) -> Dataset:
    """Load windows of a text; at each place the next character is to be predicted.

    The text is cut into train, val and test in this order, by default after 90 % and 95 %, and each of
    them into windows of context + 1 characters that do not overlap; what is left over at an end is not
    used. The characters are those of the whole text, sorted: none is unknown in val or test.

    Args:
        path: A text file; None: the first million characters of the modules of Python's standard library
            (its *.py files outside packages, in the order of their names, those with a leading _ left out), which every Python has and
            each version has its own of: the data and their fingerprint differ between Python versions.
        context: Characters of a window that go in, 1 to 65,536.
        encoding: Of the file, by a name that Python knows.
        val_share: Share of the text that is val, above 0; with the test share, below 1.
        test_share: Share of the text that is test, likewise.
        max_chars: Only so many characters, from the start; None: all.

    Returns:
        Inputs and targets int64 (N, context): whole numbers from 0 that stand for characters, the
        targets one place ahead of the inputs.

    Raises:
        UserError: The file cannot be read or decoded, is too short for a window in each split or has
            one character only, or an option is out of its range.

    References:
        Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015: char-rnn, whose
        tiny Shakespeare is such a file.
    """
    if not isinstance(path, str | None):
        raise UserError(f"path must be the path of a text file, or null, got {path}; write it in quotes")
    if not isinstance(encoding, str):
        raise UserError(f"encoding must be a name, got {encoding}; most files are utf-8")
    for name, whole, most in (("context", context, 2**16), ("max_chars", max_chars, 10**12)):
        if whole is None and name == "max_chars":
            continue
        if isinstance(whole, bool) or not isinstance(whole, int) or not 1 <= whole <= most:
            raise UserError(f"{name} must be a whole number from 1 to {most:,}, got {whole}; set such a one")
    for name, share in (("val_share", val_share), ("test_share", test_share)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise UserError(f"{name} must be a number above 0 and below 1, got {share}; 0.05 is usual")
    if val_share + test_share >= 1:
        raise UserError(
            f"val_share must leave some text for train beside test_share={test_share}, got {val_share}; lower one"
        )

    text = stdlib_text() if path is None else read_text(Path(path).expanduser(), encoding)
    text = text[:max_chars]
    place = "the standard library" if path is None else path
    ends = [round(len(text) * (1 - val_share - test_share)), round(len(text) * (1 - test_share)), len(text)]
    shortest = min(ends[0], ends[1] - ends[0], ends[2] - ends[1])
    if shortest <= context:
        raise UserError(
            f"context must be below the characters of each split, got {context} for {place} with {len(text):,} in"
            f" all, {shortest:,} in the smallest split; take a longer text or a shorter context"
        )
    codes = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    characters, numbers = np.unique(codes, return_inverse=True)
    if len(characters) < 2:
        raise UserError(f"path must be a text of at least 2 different characters, got {place}; choose another")
    pairs = {}
    for split, begin, end in zip(SPLITS, (0, *ends), ends, strict=False):
        windows = numbers[begin : begin + (end - begin) // (context + 1) * (context + 1)].reshape(-1, context + 1)
        whole_windows = torch.from_numpy(windows.astype(np.int64))
        pairs[split] = whole_windows[:, :-1].contiguous(), whole_windows[:, 1:].contiguous()
    return from_tensors(pairs, "classification", num_outputs=len(characters), num_tokens=len(characters))


def stdlib_text() -> str:
    """Read the first million characters of the standard library's public modules, packages left out.

    Raises:
        UserError: The sources are not there.
    """
    text = ""
    for file in sorted(stdlib_folder().glob("[a-z]*.py")):  # _sysconfigdata*.py is another on every machine
        text += file.read_text("utf-8")
        if len(text) >= STDLIB_CHARS:
            break
    return text[:STDLIB_CHARS]
