"""Images from files, in folders by class as ImageNet lies."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from bench.base.errors import UserError
from bench.base.text import one_line
from bench.data.dataset import SPLITS, DataSpec, stratified_order
from bench.data.streaming import StreamingDataset

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue from 0 to 1, over ImageNet's training images."""

MARGIN = 256 / 224
"""The shorter side before the centre is cropped, in sizes of the crop."""

SMALL = 64
"""The largest size, in pixels, for which no margin is cut off."""


class Images(MapDataset[tuple[Tensor, int]]):
    """Images from files, scaled, cropped to a square, as numbers.

    Args:
        root: Folder that the paths start from.
        paths: Of the files, with slashes, as bytes: an array, so that workers do not copy it by
            counting references.
        targets: Class of each, shape (N,).
        size: Side in pixels.
        normalize: Whether ImageNet's mean is subtracted and its standard deviation divided by.
    """

    def __init__(self, root: str, paths: np.ndarray, targets: np.ndarray, size: int, normalize: bool) -> None:
        self.root, self.paths, self.targets = root, paths, targets
        steps: list[Callable[..., Any]] = [
            v2.Resize([size if size <= SMALL else round(size * MARGIN)]),
            v2.CenterCrop(size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
        ]
        self.transform = v2.Compose(steps + [v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)] * normalize)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return one image (3, size, size) and its class.

        Raises:
            UserError: It cannot be read.
        """
        return self.transform(self.read(index)), int(self.targets[index])

    def read(self, index: int) -> Image.Image:
        """Return one image as it lies in the file, in red, green and blue.

        Raises:
            UserError: It cannot be read, or has more than 8 bits a channel.
        """
        path = os.fsdecode(self.paths[index])
        try:
            with warnings.catch_warnings(), Image.open(os.path.join(self.root, path)) as image:  # noqa: PTH118
                warnings.simplefilter("ignore")  # of odd metadata, which some of ImageNet's files have
                if image.mode[0] in "IF":  # which Pillow would cut off at 255
                    raise UserError(f"more than 8 bits a channel (mode {image.mode})")
                return image.convert("RGB")
        except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error and others
            told = f"{type(error).__name__}: {one_line(error)}".replace(os.path.join(self.root, ""), "")  # noqa: PTH118
            raise UserError(
                f"data.path must hold images that can be read, got {path}: {told};"
                " replace the file, or leave such files out by data.on_corrupt=skip"
            ) from error


def load(
    path: str | None = None,
    size: int | None = None,
    workers: int = 2,
    on_corrupt: str = "fail",
    val_share: float = 0.1,
    normalize: bool = True,
) -> StreamingDataset:
    """Load images in folders by class, as ImageNet lies: train/<class>/*.JPEG and val/<class>/*.JPEG.

    Also .jpg .png .ppm .bmp .pgm .tif .tiff .webp, in folders within a class folder too. Names that
    start with a dot are passed over. With train/, val/ and test/ each is its split. With one of val/
    and test/ it is test, and a share of train, stratified by class, is val. A test/ that has no folders
    in it (ImageNet's, whose classes are not published) does not count.

    Images become red, green and blue (grey ones three times the same, transparency dropped). Up to a
    `size` of 64 the shorter side is scaled to `size`; above it to 256/224 of `size`, as is usual for
    ImageNet. Then the centre is cropped; smaller images are scaled up. Scaling is Pillow's bilinear
    with antialiasing. All splits alike: what is random is for augment=.

    Nothing is decoded here. The fingerprint is a hash of classes, path and length in bytes of each
    file, split by split, and of the options that change pixels (size, normalize).

    Args:
        path: Folder with train/ in it.
        size: Side of the square images in pixels, 1 to 1024; None: 224.
        workers: Processes that decode, 0 to 256; 0: the process that trains does.
        on_corrupt: What becomes of a file that is no readable image: "fail" ends the run when it is
            met; "skip" decodes every file once at each load, which takes about as long as an epoch of
            reading, and leaves out those that fail, with a warning.
        val_share: Share of train that is val, between 0 and 1; where val/ and test/ exist, unused.
        normalize: Subtract ImageNet's mean and divide by its standard deviation; otherwise 0 to 1.

    Shapes:
        Inputs (N, 3, size, size), targets (N,): classes in the order of their folders' names.

    Raises:
        UserError: An option is out of its range, a folder is absent, a class has no images, or
            classes differ between splits.

    References:
        Deng et al., "ImageNet: A Large-Scale Hierarchical Image Database", 2009.
        He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385, section 3.4.
    """
    side = 224 if size is None else size
    _check_options(side, size, workers, on_corrupt, val_share, normalize)
    folder = _top(path)
    scans = _scans(folder)
    if on_corrupt == "skip":
        scans = _readable(folder, scans, workers)
    classes = scans["train"].classes
    parts = _parts(scans, val_share)
    digest = hashlib.sha256(f"{side} {normalize}\0{chr(0).join(classes)}\0".encode(errors="surrogateescape"))
    for part in parts:
        digest.update(f"{len(part.paths)}\0".encode())
        digest.update(b"\0".join(part.paths.tolist()))
        digest.update(part.lengths.astype("<i8").tobytes())
    return StreamingDataset(
        DataSpec((3, side, side), len(classes), "classification"),
        {
            split: Images(str(folder), part.paths, part.targets, side, normalize)
            for split, part in zip(SPLITS, parts, strict=True)
        },
        digest.hexdigest()[:12],
        workers=workers,
    )


def _check_options(side: Any, size: int | None, workers: Any, on_corrupt: str, val_share: Any, normalize: Any) -> None:
    if type(side) is not int or not 1 <= side <= 1024:
        raise UserError(f"size must be a whole number of pixels from 1 to 1024, or null, got {size}; null is 224")
    if type(workers) is not int or not 0 <= workers <= 256:
        raise UserError(f"workers must be a whole number from 0 to 256, got {workers}; 0 starts none")
    if on_corrupt not in ("fail", "skip"):
        raise UserError(f"on_corrupt must be fail or skip, got {on_corrupt}; choose one of them")
    if isinstance(val_share, bool) or not isinstance(val_share, int | float) or not 0 < val_share < 1:
        raise UserError(f"val_share must be a number between 0 and 1, got {val_share}; 0.1 holds out a tenth")
    if not isinstance(normalize, bool):
        raise UserError(f"normalize must be true or false, got {normalize}; set one of them")


def _scans(folder: Path) -> dict[str, _Scan]:
    """Return the files of the splits that there are: train, and val or test or both, of the same classes.

    Raises:
        UserError: There is neither val nor test, or classes differ.
    """
    names = [split for split in ("val", "test") if _counts(folder, split)]
    if not names:
        raise UserError(f"path must hold a folder val or test beside train, got none in {folder}; add one")
    scans = {name: _scan(folder, name) for name in ("train", *names)}
    classes = scans["train"].classes
    for name in names:
        if scans[name].classes != classes:
            (odd, *_) = sorted(set(scans[name].classes) ^ set(classes))
            raise UserError(
                f"path must hold the same class folders in train and {name}, got {odd} in only one of them"
                f" ({folder}); add or remove it, or remove {name}"
            )
    return scans


def _parts(scans: dict[str, _Scan], val_share: float) -> list[_Scan]:
    """Return train, val and test; where one of the last two is absent, the other is test and val a share of train.

    Raises:
        UserError: Nothing would be left to train on.
    """
    if len(scans) == 3:
        return [scans[name] for name in SPLITS]
    train = scans["train"]
    order = stratified_order(train.targets)
    num_val = max(1, round(val_share * len(order)))
    if num_val >= len(order):
        raise UserError(f"val_share must leave training images, got {val_share} of {len(order)}; set a smaller one")
    held, rest = np.sort(order[:num_val]), np.sort(order[num_val:])
    (test,) = (scan for name, scan in scans.items() if name != "train")
    return [train.chosen(rest), train.chosen(held), test]


@dataclass(frozen=True)
class _Scan:
    """The files of a folder of classes: paths from the root, classes, lengths in bytes."""

    classes: list[str]
    paths: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray

    def chosen(self, places: np.ndarray) -> _Scan:
        return _Scan(self.classes, self.paths[places], self.targets[places], self.lengths[places])


def _top(path: str | None) -> Path:
    if path is None:
        raise UserError(
            "path must be a folder with train in it, got null; set data.path or BENCH_IMAGE_ROOT to where images lie"
        )
    if not isinstance(path, str) or not path:
        raise UserError(f"path must be the path of a folder, got {path!r}; set data.path or BENCH_IMAGE_ROOT")
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"path must be a folder with train in it, got {folder}, which is no folder; correct the path")
    if not (folder / "train").is_dir():
        raise UserError(f"path must hold a folder train with a folder of images for each class, got none in {folder}")
    return folder


def _counts(folder: Path, split: str) -> bool:
    """Return whether there is such a split: a test folder without folders in it has no classes."""
    path = folder / split
    return path.is_dir() and (split != "test" or bool(_subfolders(path)))


def _subfolders(path: Path) -> list[str]:
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _scan(folder: Path, split: str) -> _Scan:
    try:
        return _scanned(folder, split)
    except OSError as error:
        raise UserError(
            f"path must hold folders that can be read, got {folder / split}: {error.strerror}; mend or remove what is in it"
        ) from error


def _scanned(folder: Path, split: str) -> _Scan:
    classes = _subfolders(folder / split)
    if not classes:
        raise UserError(f"path must hold a folder for each class in {split}, got none in {folder / split}")
    paths: list[bytes] = []
    lengths: list[int] = []
    counts = []
    for name in classes:
        found = sorted(_images(str(folder / split / name), f"{split}/{name}"))
        if not found:
            raise UserError(
                f"path must hold images in every class folder, got none in {folder / split / name}"
                f" ({' '.join(IMG_EXTENSIONS)}); add some or remove the folder"
            )
        paths += [path for path, _ in found]
        lengths += [length for _, length in found]
        counts.append(len(found))
    return _Scan(classes, np.array(paths), np.repeat(np.arange(len(classes)), counts), np.array(lengths))


def _images(where: str, prefix: str) -> Iterator[tuple[bytes, int]]:
    """Return path from the root and length of the images of a folder, and of the folders in it."""
    with os.scandir(where) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.name.lower().endswith(IMG_EXTENSIONS) and entry.is_file():
                yield os.fsencode(f"{prefix}/{entry.name}"), entry.stat().st_size
            elif entry.is_dir():
                yield from _images(entry.path, f"{prefix}/{entry.name}")


class _Trials(MapDataset[str]):
    """What is wrong with each of some images; "" where nothing is."""

    def __init__(self, images: Images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> str:
        try:
            self.images.read(index)
        except UserError as error:
            return str(error)
        return ""


def _readable(folder: Path, scans: dict[str, _Scan], workers: int) -> dict[str, _Scan]:
    """Return the files that can be decoded. All are tried, once; one sentence says how many could not be."""
    kept, wrong, num = {}, [], 0
    for name, scan in scans.items():
        trials = DataLoader(
            _Trials(Images(str(folder), scan.paths, scan.targets, 1, False)),
            batch_size=256,
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator().manual_seed(0),
        )
        told = np.array([sentence for batch in trials for sentence in batch], dtype=object)
        good = told == ""
        num += len(told)
        wrong += [os.fsdecode(path) for path in scan.paths[~good]]
        kept[name] = scan.chosen(np.flatnonzero(good))
        lacking = np.flatnonzero(np.bincount(kept[name].targets, minlength=len(scan.classes)) == 0)
        if len(lacking):
            raise UserError(
                f"path must hold images that can be read in every class folder, got none in"
                f" {folder / name / scan.classes[lacking[0]]}; replace them or remove the folder"
            )
    if wrong:
        warnings.warn(
            f"data: {len(wrong):,} of {num:,} image files cannot be read and are left out, the first {wrong[0]}",
            stacklevel=3,
        )
    return kept
