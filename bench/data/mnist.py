"""MNIST and Fashion-MNIST, read by torchvision."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torchvision.datasets import MNIST, FashionMNIST
from torchvision.datasets.mnist import read_image_file, read_label_file

from bench.data.images import NUM_VAL, Splits, absent, folder, three_splits, unfetched, unreadable

NUM_CLASSES = 10


def load(
    root: str | None = None,
    download: bool = False,
    resize: int | None = None,
    channels: int | None = None,
    reconstruct: bool = False,
    normalize: bool = False,
) -> Splits:
    """Load 70,000 grey images 28x28 of the digits 0 to 9.

    The 10,000 test images are MNIST's own; of the 60,000 others, 5,000 stratified by class are val.

    Args:
        root: Folder with MNIST/raw in it; None: `optbench` in the user's cache folder.
        download: Fetch what is missing into `root`. Nothing is written there otherwise.
        resize: Side in pixels to scale the images to; None: 28, as they are.
        channels: 3 repeats the grey channel, for models of colour images; None: 1, as they are.
        reconstruct: The targets are the images, flattened, for autoencoders; otherwise their classes.
        normalize: Subtract the mean of the training images and divide by their standard deviation, each
            channel by itself.

    Returns:
        Train, val and test: inputs (N, channels, side, side), from 0 to 1 unless normalized; targets
        (N,), or where they are the images (N, channels * side * side).

    Raises:
        UserError: Files are absent and `download` is false, they cannot be fetched or read, or an
            option is out of its range.

    References:
        LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    train, test = _parts(MNIST, "MNIST", root, download)
    return three_splits(train, test, resize, channels, reconstruct, normalize)


def load_fashion(
    root: str | None = None,
    download: bool = False,
    resize: int | None = None,
    channels: int | None = None,
    reconstruct: bool = False,
    normalize: bool = False,
) -> Splits:
    """Load 70,000 grey images 28x28 of ten kinds of clothes, shoes and bags: as many as MNIST, and harder.

    The 10,000 test images are the set's own; of the 60,000 others, 5,000 stratified by class are val.

    Arguments, splits and errors are those of `load`; `root` holds FashionMNIST/raw.

    References:
        Xiao, Rasul and Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine
        Learning Algorithms", 2017, arXiv:1708.07747.
    """
    train, test = _parts(FashionMNIST, "Fashion-MNIST", root, download)
    return three_splits(train, test, resize, channels, reconstruct, normalize)


def _parts(kind: type[MNIST], what: str, root: str | None, download: bool) -> list[tuple[Tensor, Tensor]]:
    """Return images (N, 1, 28, 28) and classes of train and test."""
    where = folder(root, download)
    raw = where / kind.__name__ / "raw"
    names = [Path(name).stem for name, _ in kind.resources]
    if missing := [name for name in names if not (raw / name).is_file()]:
        if not download:
            raise absent(what, missing, raw)
        try:
            kind(str(where), download=True)
        except Exception as error:
            raise unfetched(what, error) from error
    parts = []
    for images_name, classes_name in (names[:2], names[2:]):
        images, classes = _read(what, raw / images_name), _read(what, raw / classes_name)
        if images.shape[1:] != (28, 28):
            raise unreadable(what, raw / images_name, f"images of {images.shape[1]}x{images.shape[2]} pixels")
        if len(images) != len(classes):
            raise unreadable(what, raw / classes_name, f"{len(classes)} classes for {len(images)} images")
        if len(classes) and int(classes.max()) >= NUM_CLASSES:
            raise unreadable(what, raw / classes_name, f"class {int(classes.max())}, where there are 0 to 9")
        parts.append((images.unsqueeze(1), classes))
    if len(parts[0][0]) <= NUM_VAL:
        raise unreadable(what, raw / names[0], f"{len(parts[0][0])} images, and {NUM_VAL} of them are held out")
    return parts


def _read(what: str, path: Path) -> Tensor:
    try:
        tensor: Tensor = (read_image_file if "images" in path.name else read_label_file)(str(path))
    except Exception as error:  # whatever reading a file of another format meets
        raise unreadable(what, path, f"not an IDX file, or cut short ({type(error).__name__})") from error
    return tensor
