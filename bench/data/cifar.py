"""CIFAR-10 and CIFAR-100, read by torchvision."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity

from bench.data.images import Splits, absent, folder, three_splits, unfetched, unreadable


def load(
    root: str | None = None,
    download: bool = False,
    resize: int | None = None,
    reconstruct: bool = False,
    normalize: bool = False,
) -> Splits:
    """Load 60,000 colour images 32x32 of ten kinds of animals and vehicles.

    The 10,000 test images are CIFAR-10's own; of the 50,000 others, 5,000 stratified by class are val.

    Args:
        root: Folder with cifar-10-batches-py in it; None: `optbench` in the user's cache folder.
        download: Fetch what is missing into `root`. Nothing is written there otherwise.
        resize: Side in pixels to scale the images to; None: 32, as they are.
        reconstruct: The targets are the images, flattened, for autoencoders; otherwise their classes.
        normalize: Subtract the mean of the training images and divide by their standard deviation, each
            channel by itself.

    Returns:
        Train, val and test: inputs (N, 3, side, side), from 0 to 1 unless normalized; targets (N,), or
        where they are the images (N, 3 * side * side).

    Raises:
        UserError: Files are absent and `download` is false, they cannot be fetched or are not what
            they should be, or an option is out of its range.

    References:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    train, test = _parts(CIFAR10, "CIFAR-10", root, download)
    return three_splits(train, test, resize, reconstruct=reconstruct, normalize=normalize)


def load_100(
    root: str | None = None,
    download: bool = False,
    resize: int | None = None,
    reconstruct: bool = False,
    normalize: bool = False,
) -> Splits:
    """Load 60,000 colour images 32x32 of a hundred kinds of things, 600 of each.

    The 10,000 test images are CIFAR-100's own; of the 50,000 others, 5,000 stratified by class are val.
    The classes are the hundred fine ones.

    Arguments, splits and errors are those of `load`; `root` holds cifar-100-python.

    References:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    train, test = _parts(CIFAR100, "CIFAR-100", root, download)
    return three_splits(train, test, resize, reconstruct=reconstruct, normalize=normalize)


def _parts(kind: type[CIFAR10], what: str, root: str | None, download: bool) -> list[tuple[Tensor, Tensor]]:
    """Return images (N, 3, 32, 32) and classes of train and test."""
    where = folder(root, download)
    held = where / kind.base_folder
    listed = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
    if missing := [name for name, _ in listed if not (held / name).is_file()]:
        if not download:
            raise absent(what, missing, held)
        try:
            kind(str(where), download=True)
        except Exception as error:
            raise unfetched(what, error) from error
    try:
        parts = [kind(str(where), train=train) for train in (True, False)]
    except Exception as error:
        # They are pickles: torchvision unpickles none whose checksum is another.
        for name, checksum in listed:
            if not check_integrity(str(held / name), checksum):
                raise unreadable(what, held / name, "its MD5 checksum is not the published one") from error
        raise unreadable(what, held, error) from error
    return [(torch.from_numpy(part.data).permute(0, 3, 1, 2), torch.tensor(part.targets)) for part in parts]
