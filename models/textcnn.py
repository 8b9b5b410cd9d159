"""Classifiers of texts on word embeddings of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

PADDING = 0
"""The token that fills up short texts; its embedding is 0 and stays so."""


class TextCNN(nn.Module):
    """Convolutions over the words of a text, the maximum of each filter over time, one linear layer.

    Each filter spans a few words: c_i = relu(w . x_{i:i+h} + b) (equation 2 of the paper); of its values
    c_i the largest is kept (c^ = max c, section 2). Filters also see the text's edges: there are h - 1
    zeros on both sides. 360,300 parameters besides the embedding of num_tokens * dim and the last layer of
    300 * num_outputs + num_outputs.

    Args:
        input_shape: (length,) of the texts in tokens, padded with 0 at the end.
        num_outputs: Number of classes.
        num_tokens: Number of different tokens, the padding 0 among them.
        dim: Length of a word's embedding, at least 1.
        widths: Words that a filter spans, each at least 1.
        filters: Number of filters of each width, at least 1.
        dropout: Share of the maxima set to 0 while training, in [0, 1).

    Shapes:
        Input int64 (N, length), output (N, num_outputs).

    Raises:
        ValueError: The data is no text, or an option is out of its range.

    References:
        Kim, "Convolutional neural networks for sentence classification", 2014, arXiv:1408.5882: the model
        CNN-rand, whose embeddings start at random and are trained.

    Differs from the paper in having no bound of 3 on the norm of the last layer's weights, which the paper
    sets anew after every step: it would be part of the optimizer. Embeddings start uniform between -0.25
    and 0.25 as in the author's code; the other weights start as torch's layers do.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        num_tokens: int,
        dim: int = 300,
        widths: Sequence[int] = (3, 4, 5),
        filters: int = 100,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_texts("textcnn", input_shape)
        check_whole(dim=dim, filters=filters)
        if not isinstance(widths, list | tuple) or not widths or not all(type(w) is int and w >= 1 for w in widths):
            raise ValueError(f"widths must be a list of whole numbers of at least 1, got {widths}; try [3, 4, 5]")
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a number from 0 to below 1, got {dropout}; 0 leaves it out")
        self.embedding = embedding(num_tokens, dim)
        self.convolutions = nn.ModuleList(nn.Conv1d(dim, filters, width, padding=width - 1) for width in widths)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(filters * len(widths), num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        words = self.embedding(inputs).transpose(1, 2)
        largest = [functional.relu(convolution(words).amax(-1)) for convolution in self.convolutions]
        outputs: Tensor = self.linear(self.dropout(torch.cat(largest, dim=1)))
        return outputs


def embedding(num_tokens: int, dim: int) -> nn.Embedding:
    """Return embeddings of words that start uniform between -0.25 and 0.25, that of the padding 0.

    Args:
        num_tokens: Number of different tokens.
        dim: Length of an embedding.
    """
    words = nn.Embedding(num_tokens, dim, padding_idx=PADDING)
    nn.init.uniform_(words.weight, -0.25, 0.25)
    with torch.no_grad():
        words.weight[PADDING].zero_()
    return words


def check_texts(model: str, input_shape: Sequence[int]) -> None:
    """Hold the shape of an input to that of texts.

    Raises:
        ValueError: It is another.
    """
    if len(input_shape) != 1:
        got = "x".join(map(str, input_shape))
        raise ValueError(f"input_shape must be one length for {model}, got {got}")


def check_whole(**values: Any) -> None:
    """Hold values to whole numbers of at least 1.

    Raises:
        ValueError: One is something else.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
