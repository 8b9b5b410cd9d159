"""Multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """Fully connected layers with ReLU between them.

    Args:
        input_shape: Shape of one example; flattened.
        num_outputs: Width of the output.
        hidden: Widths of the hidden layers, each >= 1; an empty list gives one linear layer.

    Shapes:
        Input (N, *input_shape), output (N, num_outputs).

    Raises:
        ValueError: A width is no whole number of at least 1.
    """

    def __init__(self, input_shape: Sequence[int], num_outputs: int, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        if not isinstance(hidden, list | tuple) or not all(type(w) is int and w >= 1 for w in hidden):
            raise ValueError(f"hidden must be a list of widths of at least 1, got {hidden}")
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], num_outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs
