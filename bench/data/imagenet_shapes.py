"""The shapes of ImageNet without its images: to predict memory, not to train."""

from __future__ import annotations

import torch

from bench.base.errors import UserError
from bench.data.dataset import Dataset, DataSpec

SIZES = {"train": 1_281_167, "val": 50_000, "test": 50_000}


def load(size: int = 224, num_classes: int = 1000, channels: int = 3) -> Dataset:
    """Load one random image that stands for each of the 1,281,167 train, 50,000 val and 50,000 test images.

    Args:
        size: Side of the images in pixels, 1 to 4096.
        num_classes: Classes, 1 to 1,000,000; targets run through them in turn.
        channels: Channels of the images, 1 to 64.

    Returns:
        Inputs (N, channels, size, size), all at one place in memory, and targets (N,).

    Raises:
        UserError: An argument is out of its range.

    References:
        Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", 2015,
        arXiv:1409.0575.
    """
    for name, value, most in (("size", size, 4096), ("num_classes", num_classes, 10**6), ("channels", channels, 64)):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise UserError(f"{name} must be a whole number from 1 to {most}, got {value}")
    image = torch.randn(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    splits = {split: (image.expand(num, -1, -1, -1), torch.arange(num) % num_classes) for split, num in SIZES.items()}
    spec = DataSpec((channels, size, size), num_classes, "classification")
    return Dataset(spec, splits, f"shapes-{channels}x{size}x{size}-{num_classes}", shapes_only=True)
