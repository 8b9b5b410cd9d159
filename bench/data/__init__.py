"""Data sets: one file a set, each with a function that returns three splits.

A loader returns `(train, val, test)`, each a pair `(inputs, targets)` of tensors or arrays with the
examples along the first axis. Whole-number targets are classes 0, 1, ...; others are values to predict.
It may return a ready `Dataset` instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data.

    Attributes:
        input_shape: Shape of one example, without the batch.
        num_outputs: Classes, or values to predict.
        task: "classification" (minimises cross-entropy) or "regression" (mean squared error).
    """

    input_shape: tuple[int, ...]
    num_outputs: int
    task: str

    @property
    def loss(self) -> str:
        """Name of what is minimised."""
        return "cross_entropy" if self.task == "classification" else "mse"


@dataclass(frozen=True)
class Dataset:
    """Three splits in memory, on one device.

    Attributes:
        splits: For train, val and test, inputs (N, *input_shape) and targets: int64 (N,) for
            classification, float32 (N, num_outputs) for regression.
        fingerprint: Hash of every input and target.
        shapes_only: Whether only shapes and dtypes mean something: for memory, not for training.
    """

    spec: DataSpec
    splits: dict[str, tuple[Tensor, Tensor]]
    fingerprint: str
    shapes_only: bool = False

    def size(self, split: str) -> int:
        """Number of examples of a split."""
        return len(self.splits[split][0])

    def to(self, device: torch.device) -> Dataset:
        """The same data on another device. Examples that share their memory (stride 0) still do there."""
        moved = {split: (_moved(x, device), _moved(y, device)) for split, (x, y) in self.splits.items()}
        return replace(self, splits=moved)


def as_dataset(returned: Any) -> Dataset:
    """Check what a loader returned, and make a `Dataset` of it; one that is ready stays as it is.

    Raises:
        ValueError: It is not three pairs of equally many inputs and targets, a split is empty, or a
            class is negative.
    """
    if isinstance(returned, Dataset):
        return returned
    try:
        pairs = {
            split: (torch.as_tensor(inputs), torch.as_tensor(targets))
            for split, (inputs, targets) in zip(SPLITS, returned, strict=True)
        }
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            "data must be three pairs (train, val, test) of inputs and targets as tensors or arrays,"
            f" got {type(returned).__name__} ({error}); return ((x, y), (x, y), (x, y))"
        ) from None
    for split, (x, y) in pairs.items():
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise ValueError(
                f"data: {split} must have as many inputs as targets, and at least one,"
                f" got inputs of shape {list(x.shape)} and targets of shape {list(y.shape)}"
            )
    shapes = {tuple(x.shape[1:]) for x, _ in pairs.values()}
    if len(shapes) > 1:
        raise ValueError(f"data: inputs of all splits must have one shape, got {sorted(shapes)}")
    if all(y.ndim == 1 and not y.is_floating_point() for _, y in pairs.values()):
        lowest = min(int(y.min()) for _, y in pairs.values())
        if lowest < 0:
            raise ValueError(f"data: classes must be whole numbers from 0, got {lowest}")
        classes = 1 + max(int(y.max()) for _, y in pairs.values())
        spec = DataSpec(shapes.pop(), classes, "classification")
        splits = {split: (_inputs(x), y.long()) for split, (x, y) in pairs.items()}
    else:
        splits = {split: (_inputs(x), y.float().reshape(len(y), -1)) for split, (x, y) in pairs.items()}
        spec = DataSpec(shapes.pop(), splits["train"][1].shape[1], "regression")
    return Dataset(spec, splits, _fingerprint(splits))


def _inputs(x: Tensor) -> Tensor:
    return (x.float() if x.is_floating_point() else x).contiguous()


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor[:1].to(device).expand_as(tensor) if tensor.stride(0) == 0 else tensor.to(device)


def _fingerprint(splits: dict[str, tuple[Tensor, Tensor]]) -> str:
    digest = hashlib.sha256()
    for tensors in splits.values():
        for tensor in tensors:
            digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:12]


def stratified_order(targets: np.ndarray, seed: int = 0) -> np.ndarray:
    """An order of all examples in which every stretch holds the classes in their overall shares.

    Within a class the order is random. It is the same on every machine and for every NumPy:
    `RandomState` is frozen.

    Args:
        targets: Classes, shape (N,).
        seed: Which of the orders.

    Returns:
        Indices, shape (N,).
    """
    random = np.random.RandomState(seed)
    place = np.empty(len(targets))
    for label in np.unique(targets):
        members = random.permutation(np.flatnonzero(targets == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")


def resized(images: Tensor, side: int | None) -> Tensor:
    """Images (N, C, H, W) scaled to side x side by bilinear interpolation; unchanged for None.

    Raises:
        ValueError: The side is no whole number from 1 to 1024.
    """
    if side is None or images.shape[-2:] == (side, side):
        return images
    if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 1024:
        raise ValueError(f"resize must be a whole number of pixels from 1 to 1024, or null, got {side}")
    return torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)


def with_channels(images: Tensor, channels: int | None) -> Tensor:
    """Grey images (N, 1, H, W) as they are for None or 1; for 3, the grey channel three times.

    Raises:
        ValueError: Another number of channels.
    """
    if channels is None or (channels == 1 and channels is not True):
        return images
    if channels != 3:
        raise ValueError(f"channels must be 1, 3 or null, got {channels}; leave it out for grey images")
    return images.expand(-1, 3, -1, -1).contiguous()
