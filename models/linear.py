"""Linear regression."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn


class LinearRegression(nn.Module):
    """One linear layer on the flattened input; with mean squared error, linear regression.

    It starts at torch's own initialisation of a linear layer: weights and biases uniform between
    -1 / sqrt(inputs) and 1 / sqrt(inputs).

    Args:
        input_shape: Shape of one example; flattened.
        num_outputs: Values to predict.

    Shapes:
        Input ``(N, *input_shape)``, output ``(N, num_outputs)``.
    """

    def __init__(self, input_shape: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.linear(inputs.flatten(1))
        return outputs
