"""The noise of DeepOBS's quadratic: points around 0 that its minimum moves with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import UserError
from bench.data.dataset import Batch, Dataset, from_tensors
from models.quadratic import DIMENSION, hessian

NUM_EXAMPLES = 1_000
NUM_TESTED = 896
"""Seven batches of 128: what DeepOBS evaluates of its 1,000 test examples."""
DEVIATION = 0.6
SEEDS = {"train": 42, "val": 44, "test": 43}


@dataclass(frozen=True)
class WholeBatches(Dataset):
    """A data set whose epochs end with their last whole batch."""

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the number of whole batches of the training set."""
        return self.size("train") // batch_size

    def shuffled(self, batch_size: int, seed: int, frozen: bool = False) -> Iterator[Batch]:
        """Yield training batches without end; each epoch leaves out others of the examples that are left over.

        Args:
            batch_size: Examples in each, 1 to the number of training examples.
            seed: Of the order, which nothing else draws from.
            frozen: Every epoch in the order of the first.
        """
        return (batch for batch in super().shuffled(batch_size, seed, frozen) if len(batch[0]) == batch_size)


def load(drop_last: bool = True) -> Dataset:
    """Draw points of 100 dimensions from the normal distribution with mean 0 and standard deviation 0.6.

    Train holds 1,000, test the first 896 of another 1,000, both as DeepOBS draws them; val holds 1,000 of
    its own. The targets are zeros: model=quadratic returns the loss itself. The optimum is that of all
    1,000 training examples, where theta is their mean.

    Args:
        drop_last: End each epoch with its last whole batch, as DeepOBS does, whichever examples that
            leaves out: 7 steps an epoch at batch 128. False: the last batch holds what is left.

    Returns:
        Inputs (N, 100), targets (N, 1).

    Raises:
        UserError: An argument is of another kind or out of its range.

    References:
        Schneider, Balles and Hennig, "DeepOBS: A Deep Learning Optimizer Benchmark Suite", 2019,
        arXiv:1903.05499: the problem quadratic_deep.

    Differs from DeepOBS, which has no val and evaluates whole batches of the 1,000 test examples at any
    batch size: here the same 896 at every one.
    """
    if not isinstance(drop_last, bool):
        raise UserError(f"drop_last must be true or false, got {drop_last}; set one of them")
    drawn = {split: _points(seed) for split, seed in SEEDS.items()}
    optimum = lowest_loss(drawn["train"])
    drawn["test"] = drawn["test"][:NUM_TESTED]
    pairs = {split: (points, torch.zeros(len(points), 1)) for split, points in drawn.items()}
    data = from_tensors(pairs, task="objective", optimum=optimum, optimum_of="models.quadratic.Quadratic")
    if not drop_last:
        return data
    return WholeBatches(data.spec, data.splits, data.fingerprint, optimum=data.optimum, optimum_of=data.optimum_of)


def lowest_loss(points: Tensor) -> float:
    """Return the lowest mean of (theta - x)' Q (theta - x) / 2 over points x: that at their mean.

    Args:
        points: Shape (N, 100).
    """
    centred = points.double().numpy() - points.double().numpy().mean(0)
    return float(0.5 * np.einsum("ni,ij,nj->", centred, hessian(), centred, optimize=True) / len(centred))


def _points(seed: int) -> Tensor:
    drawn = np.random.RandomState(seed).normal(0, DEVIATION, (NUM_EXAMPLES, DIMENSION))
    return torch.from_numpy(drawn.astype(np.float32))
