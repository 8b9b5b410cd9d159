"""MNIST, read by torchvision."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torchvision.datasets import MNIST
from torchvision.datasets.utils import check_integrity

from bench.data import resized, stratified_order, with_channels

NUM_VAL = 5_000


def load(
    root: str | None = None, download: bool = False, resize: int | None = None, channels: int | None = None
) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """70,000 grey images 28x28 of the digits 0 to 9.

    The 10,000 test images are MNIST's own; of the 60,000 others, 5,000 stratified by class are val.

    Args:
        root: Folder with MNIST/raw in it; None: `optbench` in the user's cache folder.
        download: Fetch what is missing into `root`. Nothing is written there otherwise.
        resize: Side in pixels to scale the images to; None: 28, as they are.
        channels: 3 repeats the grey channel, for models of colour images; None: 1, as they are.

    Returns:
        Train, val and test: inputs (N, channels, side, side) from 0 to 1, targets (N,).

    Raises:
        ValueError: Files are absent and `download` is false, or they cannot be fetched or read.

    References:
        LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    folder = Path(root).expanduser() if root else _cache()
    raw = folder / "MNIST" / "raw"
    names = [Path(name).stem for name, _ in MNIST.resources]
    missing = [name for name in names if not check_integrity(str(raw / name))]
    if missing and not download:
        raise ValueError(
            f"data.root must hold the MNIST files ({', '.join(missing)} not found in {raw});"
            " set data.root or BENCH_DATA_ROOT to where they lie, or fetch them with data.download=true"
        )
    try:
        train, test = (MNIST(str(folder), train=part, download=bool(missing)) for part in (True, False))
    except Exception as error:
        raise ValueError(f"data.root must hold readable MNIST files, got {raw}: {error}; replace them") from error
    order = torch.from_numpy(stratified_order(train.targets.numpy()))
    val, rest = order[:NUM_VAL], order[NUM_VAL:].sort().values
    images, test_images = (
        with_channels(resized(part.data.unsqueeze(1).float() / 255, resize), channels) for part in (train, test)
    )
    return (
        (images[rest], train.targets[rest]),
        (images[val], train.targets[val]),
        (test_images, test.targets),
    )


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optbench"
