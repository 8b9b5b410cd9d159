"""Optical recognition of handwritten digits, bundled with scikit-learn."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from bench.data.dataset import stratified_order
from bench.data.images import Splits, pair, resized, with_channels

NUM_VAL = NUM_TEST = 360


def load(resize: int | None = None, channels: int | None = None, reconstruct: bool = False) -> Splits:
    """Load 1,797 grey images 8x8 of the digits 0 to 9, from the test set of the UCI data set.

    Split once and for all, stratified by class: 1,077 train, 360 val, 360 test.

    Args:
        resize: Side in pixels to scale the images to; None: 8, as they are.
        channels: 3 repeats the grey channel, for models of colour images; None: 1, as they are.
        reconstruct: The targets are the images, flattened, for autoencoders; otherwise their classes.

    Returns:
        Train, val and test: inputs (N, channels, side, side) from 0 to 1, targets (N,), or where they
        are the images (N, channels * side * side).

    Raises:
        UserError: An option is out of its range.

    References:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    pixels, classes = _digits()
    images = torch.from_numpy(pixels.astype(np.float32) / 16).unflatten(1, (1, 8, 8))
    targets = torch.from_numpy(classes.astype(np.int64))
    images = with_channels(resized(images, resize), channels)
    order = torch.from_numpy(stratified_order(classes))
    test, val, train = order.split([NUM_TEST, NUM_VAL, len(order) - NUM_VAL - NUM_TEST])
    made = [pair(images[part], targets[part], reconstruct) for part in (train, val, test)]
    return made[0], made[1], made[2]


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (N, 64) from 0 to 16 and classes (N,): `sklearn.datasets.load_digits`, whose import takes most of a second.

    So the file is read that lies with it; if it ever moves, the import does.
    """
    spec = importlib.util.find_spec("sklearn")
    folder = Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else Path()
    file = folder / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        rows = np.loadtxt(file, delimiter=",")
        return rows[:, :-1], rows[:, -1].astype(int)
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return pixels, classes
