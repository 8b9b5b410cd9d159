"""A small GPT: a decoder-only transformer that predicts the next character."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Causal self-attention of several heads: softmax(Q K' / sqrt(d)) V, each place on itself and those before.

    Args:
        width: Numbers at each place; a multiple of `heads`.
        heads: Attentions side by side, each over d = width / heads numbers.
        dropout: Share of attention weights set to 0 while training, in [0, 1).

    Shapes:
        Input and output (N, T, width).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, inputs: Tensor) -> Tensor:
        # (N, T, 3 width) -> three of (N, heads, T, d)
        query, key, value = self.query_key_value(inputs).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)
        outputs: Tensor = self.projection(mixed.transpose(1, 2).flatten(-2))
        return outputs


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x)); the norms come first ("pre-norm").

    Args:
        width: Numbers at each place.
        heads: Of the attention.
        dropout: Share of what each branch adds that is set to 0 while training, in [0, 1).

    Shapes:
        Input and output (N, T, width).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.projection = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs + self.dropout(self.attention(self.norm1(inputs)))
        outputs: Tensor = x + self.dropout(self.projection(functional.gelu(self.expand(self.norm2(x)))))
        return outputs


class Transformer(nn.Module):
    """Decoder-only transformer: at each place of a text, scores of the character that comes next.

    Embeddings of characters and of places are added, pass `layers` blocks and a last norm, and a linear
    layer makes scores of them. 818,176 parameters for 65 characters and places 0 to 63.

    It starts as GPT-2 does: weights and embeddings from N(0, 0.02^2), biases 0, and the two projections
    of each block that end in a sum smaller by sqrt(2 * layers), as many as there are such sums.

    Args:
        input_shape: (T,): the most characters that it looks back on, the one at its place among them.
        num_outputs: Number of different characters to predict.
        num_tokens: Number of different characters that go in.
        layers: Blocks, at least 1.
        width: Numbers at each place, at least 1 and a multiple of `heads`.
        heads: Attentions in each block, at least 1.
        dropout: Share set to 0 while training, of embeddings, attention weights and what each branch
            adds, in [0, 1).

    Shapes:
        Input int64 (N, t), t from 1 to T; output (N, t, num_outputs).

    Raises:
        ValueError: The data is no text, or an option is out of its range.

    References:
        Vaswani et al., "Attention Is All You Need", 2017, arXiv:1706.03762.
        Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2), 2019, section 2.3.

    Differs from Vaswani et al., with Radford et al.: no encoder, norms before the branches instead of after
    the sums, learned places, GELU instead of ReLU. Differs from Radford et al.: the last layer does not share
    its weights with the embedding and has no bias; GELU is exact instead of its tanh approximation.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        num_outputs: int,
        num_tokens: int,
        layers: int = 4,
        width: int = 128,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(input_shape) != 1:
            got = "x".join(map(str, input_shape))
            raise ValueError(f"input_shape must be one length for transformer, got {got}")
        for name, value in (("layers", layers), ("width", width), ("heads", heads)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value}")
        if width % heads:
            raise ValueError(f"width must be a multiple of heads={heads}, got {width}; change one of the two")
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a number from 0 to below 1, got {dropout}; 0 leaves it out")
        self.token = nn.Embedding(num_tokens, width)
        self.position = nn.Embedding(input_shape[0], width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs, bias=False)

        for name, param in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(param)
            elif param.ndim == 2:
                ends_in_sum = name.endswith("projection.weight")
                nn.init.normal_(param, std=0.02 / (2 * layers) ** 0.5 if ends_in_sum else 0.02)

    def forward(self, inputs: Tensor) -> Tensor:
        places = torch.arange(inputs.shape[1], device=inputs.device)
        x = self.dropout(self.token(inputs) + self.position(places))
        outputs: Tensor = self.head(self.norm(self.blocks(x)))
        return outputs
