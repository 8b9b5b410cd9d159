"""No data: for a model whose loss is a function of its parameters alone."""

from __future__ import annotations

import torch

from bench.base.errors import UserError
from bench.data.dataset import Dataset, from_tensors


def load(examples: int = 1) -> Dataset:
    """Return rows of zeros, the same in all three splits: they say how often the loss is wanted, and nothing else.

    With as many as a batch holds, an epoch is one step.

    Args:
        examples: Rows of each split, 1 to 1,000,000.

    Returns:
        Inputs (examples, 1), targets (examples, 1). The model's output is the loss.

    Raises:
        UserError: `examples` is out of its range.
    """
    if isinstance(examples, bool) or not isinstance(examples, int) or not 1 <= examples <= 10**6:
        raise UserError(f"examples must be a whole number from 1 to 1000000, got {examples}; set train.batch_size")
    zeros = torch.zeros(examples, 1)
    return from_tensors(dict.fromkeys(("train", "val", "test"), (zeros, zeros)), task="objective")
