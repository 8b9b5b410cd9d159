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
        dropout: Share of hidden units that is set to 0 after each ReLU while training, in [0, 1).
        log_softmax: The output is log-probabilities, for the loss nll.

    Shapes:
        Input ``(N, *input_shape)``, output ``(N, num_outputs)``.

    Raises:
        ValueError: A width is no whole number of at least 1, or another argument is out of its range.

    References:
        Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.

    Differs from Srivastava et al., as torch does: what is kept is scaled up by 1 / (1 - dropout) while
    training, instead of weights being scaled down afterwards.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        hidden: Sequence[int] = (64, 64),
        dropout: float = 0.0,
        log_softmax: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(hidden, list | tuple) or not all(type(w) is int and w >= 1 for w in hidden):
            raise ValueError(f"hidden must be a list of widths of at least 1, got {hidden}")
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a number from 0 to below 1, got {dropout}; 0 leaves it out")
        if not isinstance(log_softmax, bool):
            raise ValueError(f"log_softmax must be true or false, got {log_softmax}; true goes with loss=nll")
        widths = [math.prod(input_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(widths[-1], num_outputs))
        if log_softmax:
            layers.append(nn.LogSoftmax(dim=-1))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs)
        return outputs
