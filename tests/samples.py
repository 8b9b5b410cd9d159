"""Small files in the true formats of data sets, for tests."""

from __future__ import annotations

import hashlib
import pickle
import struct
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

NUM_TRAIN, NUM_TEST = 6_000, 70


def idx(values: np.ndarray) -> bytes:
    """Unsigned bytes in the IDX format: two zeros, the type 8, the number of axes, big-endian lengths, values."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


@cache
def numbered(num: int, *shape: int) -> np.ndarray:
    """Images that differ all over, the first two values of which tell their number."""
    images = np.random.RandomState(0).randint(0, 256, (num, *shape)).astype(np.uint8)
    flat = images.reshape(num, -1)
    flat[:, 0], flat[:, 1] = np.divmod(np.arange(num), 256)
    return images


def write_idx(raw: Path) -> None:
    raw.mkdir(parents=True, exist_ok=True)
    for part, num in (("train", NUM_TRAIN), ("t10k", NUM_TEST)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(numbered(num, 28, 28)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(num) % 10))


def write_cifar(kind: type[CIFAR10], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pickles of that set, and torchvision's list of checksums made theirs."""
    held = root / kind.base_folder
    held.mkdir(parents=True)
    hundred = kind is CIFAR100

    def write(name: str, content: dict[str, Any]) -> str:
        (held / name).write_bytes(written := pickle.dumps(content, protocol=2))
        return hashlib.md5(written).hexdigest()

    def entries(images: np.ndarray, classes: np.ndarray) -> dict[str, Any]:
        labels = {"fine_labels": classes.tolist(), "coarse_labels": [0] * len(classes)}
        return {"data": images, **(labels if hundred else {"labels": classes.tolist()})}

    for attribute, num in (("train_list", NUM_TRAIN), ("test_list", NUM_TEST)):
        names = [name for name, _ in getattr(kind, attribute)]
        images, classes = numbered(num, 3072), np.arange(num) % (100 if hundred else 10)
        parts = zip(names, np.split(images, len(names)), np.split(classes, len(names)), strict=True)
        monkeypatch.setattr(kind, attribute, [[name, write(name, entries(x, y))] for name, x, y in parts])
    meta = {**kind.meta, "md5": write(kind.meta["filename"], {kind.meta["key"]: ["thing"] * 10})}
    monkeypatch.setattr(kind, "meta", meta)


def write_images(root: Path, num: int = 12, side: int = 20, classes: tuple[str, ...] = ("n01", "n02", "n03")) -> Path:
    """A folder in ImageNet's layout: `num` JPEG files for each class in train, three in val."""
    random = np.random.RandomState(0)
    for split, many in (("train", num), ("val", 3)):
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(many):
                pixels = random.randint(0, 256, (side, side, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{name}_{i}.JPEG")
    return root


def write_texts(root: Path) -> None:
    """The files of TREC and SST."""
    trec, sst = root / "text" / "trec", root / "text" / "sst"
    trec.mkdir(parents=True)
    sst.mkdir(parents=True)
    classes = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
    for part, num in (("train", 240), ("test", 30)):
        lines = [f"{classes[i % 6]}:x What {classes[i % 6].lower()} is number {i} ?" for i in range(num)]
        (trec / f"TREC.{part}").write_text("\n".join(lines) + "\n", encoding="latin-1")
    for part, num in (("train", 240), ("dev", 30), ("test", 30)):
        lines = [f"{i % 2} a {('dull', 'fine')[i % 2]} film of number {i}" for i in range(num)]
        (sst / f"stsa.binary.{part}").write_text("\n".join(lines) + "\n")
