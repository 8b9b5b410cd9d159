"""Optical recognition of handwritten digits, bundled with scikit-learn."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from bench.data import resized, stratified_order, with_channels
from bench.data.images import Splits, pair

NUM_VAL = NUM_TEST = 360


def load(resize: int | None = None, channels: int | None = None, reconstruct: bool = False) -> Splits:
    """1,797 grey images 8x8 of the digits 0 to 9, from the test set of the UCI data set.

    Split once and for all, stratified by class: 1,077 train, 360 val, 360 test.

    Args:
        resize: Side in pixels to scale the images to; None: 8, as they are.
        channels: 3 repeats the grey channel, for models of colour images; None: 1, as they are.
        reconstruct: The targets are the images, flattened, for autoencoders; otherwise their classes.

    Returns:
        Train, val and test: inputs (N, channels, side, side) from 0 to 1, targets (N,), or where they
        are the images (N, channels * side * side).

    Raises:
        ValueError: An option is out of its range.

    References:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.float32) / 16).unsqueeze(1)
    targets = torch.from_numpy(digits.target.astype(np.int64))
    images = with_channels(resized(images, resize), channels)
    order = torch.from_numpy(stratified_order(digits.target))
    test, val, train = order.split([NUM_TEST, NUM_VAL, len(order) - NUM_VAL - NUM_TEST])
    made = [pair(images[part], targets[part], reconstruct) for part in (train, val, test)]
    return made[0], made[1], made[2]
