"""Multinomial logistic regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class LogisticRegression(nn.Module):
    """One linear layer on the flattened input; with cross-entropy, logistic regression.

    It starts at 0, where the convex problem has no better place to start.

    Args:
        input_shape: Shape of one example; flattened.
        num_outputs: Number of classes.

    Shapes:
        Input ``(N, *input_shape)``, output ``(N, num_outputs)``.
    """

    def __init__(self, input_shape: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), num_outputs)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.linear(inputs.flatten(1))
        return outputs
