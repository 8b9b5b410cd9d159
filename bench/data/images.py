"""What image data sets have in common: where their files lie, what is held out, what is to be predicted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import UserError
from bench.data.dataset import Batch, stratified_order

NUM_VAL = 5_000
"""Training examples that are held out as val, where a data set comes in two parts."""

Splits = tuple[Batch, Batch, Batch]
"""Train, val and test."""


def folder(root: str | None, download: bool) -> Path:
    """Return the folder that the files of data sets lie in: `root`, or `optbench` in the user's cache folder.

    Raises:
        UserError: `root` is no path, or `download` is neither true nor false.
    """
    if not isinstance(root, str | None):
        raise UserError(f"root must be the path of a folder, or null, got {root}; set one")
    if not isinstance(download, bool):
        raise UserError(f"download must be true or false, got {download}; set one of them")
    if root:
        return Path(root).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optbench"


def absent(what: str, names: list[str], where: Path) -> UserError:
    """Return what to say of files that are not there and were not to be fetched.

    Args:
        what: Name of the data set.
        names: Of the files that are missing.
        where: The folder that they belong in.
    """
    return UserError(
        f"data.root must hold the {what} files ({', '.join(names)} not found in {where});"
        " set data.root or BENCH_DATA_ROOT to where they lie, or fetch them with data.download=true"
    )


def unreadable(what: str, path: Path, reason: object) -> UserError:
    """Return what to say of a file that is there and does not hold what it should.

    Args:
        what: Name of the data set.
        path: The file.
        reason: What is wrong with it; several lines become one.
    """
    return UserError(
        f"data.root must hold readable {what} files, got {path}: {' '.join(str(reason).split())};"
        " replace it, or delete it and set data.download=true"
    )


def unfetched(what: str, error: Exception) -> UserError:
    """Return what to say where files could not be fetched; the lines of the error become one."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"data.download must be possible where it is true, got no {what} files: {reason};"
        " fetch them by other means and set data.root"
    )


def three_splits(
    train: Batch,
    test: Batch,
    resize: int | None = None,
    channels: int | None = None,
    reconstruct: bool = False,
    normalize: bool = False,
) -> Splits:
    """Split images that come as train and test into three; 5,000 of train, stratified by class, are val.

    Args:
        train: Images (N, C, H, W) from 0 to 255 and classes (N,), N > 5,000, in an order that is kept.
        test: The same, of any number.
        resize: Side in pixels to scale to; None: as they are.
        channels: 3 repeats a grey channel; None: as they are.
        reconstruct: The targets are the images.
        normalize: Inputs as `normalized` makes them.

    Returns:
        Inputs (N, C, side, side), from 0 to 1 unless normalized, and their targets, as `pair` makes them.

    Raises:
        UserError: An option is out of its range.
    """
    images, classes = train
    order = torch.from_numpy(stratified_order(np.asarray(classes)))
    val, rest = order[:NUM_VAL], order[NUM_VAL:].sort().values

    def made(images: Tensor, classes: Tensor) -> Batch:
        return pair(with_channels(resized(images.float() / 255, resize), channels), classes, reconstruct)

    splits = made(images[rest], classes[rest]), made(images[val], classes[val]), made(*test)
    if not isinstance(normalize, bool) or (normalize and reconstruct):
        raise UserError(
            f"normalize must be true or false, and false where reconstruct is true, got {normalize}; leave it out"
        )
    return normalized(splits) if normalize else splits


def normalized(splits: Splits) -> Splits:
    """Return inputs (N, C, H, W) less the mean of train, over its standard deviation, each channel by itself."""
    std, mean = torch.std_mean(splits[0][0], dim=(0, 2, 3), keepdim=True)
    (train, one), (val, two), (test, three) = splits
    return ((train - mean) / std, one), ((val - mean) / std, two), ((test - mean) / std, three)


def pair(images: Tensor, classes: Tensor, reconstruct: bool) -> Batch:
    """Return images (N, C, H, W) and what to predict: their classes (N,), or all their values (N, C * H * W).

    Raises:
        UserError: `reconstruct` is neither true nor false.
    """
    if not isinstance(reconstruct, bool):
        raise UserError(f"reconstruct must be true or false, got {reconstruct}; set one of them")
    return images, images.flatten(1) if reconstruct else classes


def resized(images: Tensor, side: int | None) -> Tensor:
    """Scale images (N, C, H, W) to side x side by bilinear interpolation; None leaves them unchanged.

    Raises:
        UserError: The side is no whole number from 1 to 1024.
    """
    if side is None or images.shape[-2:] == (side, side):
        return images
    if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= 1024:
        raise UserError(f"resize must be a whole number of pixels from 1 to 1024, or null, got {side}")
    return torch.nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)


def with_channels(images: Tensor, channels: int | None) -> Tensor:
    """Return grey images (N, 1, H, W) as they are for None or 1; for 3, the grey channel three times.

    Raises:
        UserError: Another number of channels.
    """
    if channels is None or (channels == 1 and channels is not True):
        return images
    if channels != 3:
        raise UserError(f"channels must be 1, 3 or null, got {channels}; leave it out for grey images")
    return images.expand(-1, 3, -1, -1).contiguous()
