"""Convolutional autoencoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

CHANNELS = (16, 32, 64)
DENSE = 128
SMALLEST = 8


class ConvAutoencoder(nn.Module):
    """Compresses an image into a few numbers and draws it again from these.

    The encoder has three convolutions (kernel 3, stride 2, padding 1; 16, 32 and 64 channels), which halve
    the sides three times, rounded up, and two dense layers: from 28x28 to 14x14, 7x7, 4x4, then
    1024 -> 128 -> code_size. The decoder is its mirror image with transposed convolutions. ReLU follows
    every layer but the code and the output. 314,065 parameters for images 1x28x28 and a code of 16.

    Args:
        input_shape: (channels, height, width), both sides at least 8.
        num_outputs: Must be channels * height * width.
        code_size: Numbers that an image is compressed into, at least 1.

    Shapes:
        Input (N, channels, height, width), output (N, channels * height * width): the image, flattened.

    Raises:
        ValueError: The data is no such images, its targets are not the images, or a size is out of range.

    References:
        Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop, 2016: three convolutions and two
        dense layers each in encoder and decoder, a code of 16 numbers, on MNIST.

    Differs from the paper in what it does not state, which is chosen here: kernels, strides and widths, ReLU,
    transposed convolutions as the decoder's, and no bound on the output.
    """

    def __init__(self, input_shape: Sequence[int], num_outputs: int, code_size: int = 16) -> None:
        super().__init__()
        got = "x".join(map(str, input_shape))
        if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST:
            raise ValueError(
                f"input_shape must be CxHxW with H and W of at least {SMALLEST} for autoencoder, got {got}"
            )
        if num_outputs != math.prod(input_shape):
            raise ValueError(
                f"num_outputs must be {math.prod(input_shape)} for autoencoder on inputs {got}, got {num_outputs}"
            )
        if isinstance(code_size, bool) or not isinstance(code_size, int) or code_size < 1:
            raise ValueError(f"code_size must be a whole number of at least 1, got {code_size}; 16 is the paper's")
        widths = (input_shape[0], *CHANNELS)
        sides = [tuple(input_shape[1:])]
        for _ in CHANNELS:
            sides.append(tuple((side + 1) // 2 for side in sides[-1]))
        innermost = (CHANNELS[-1], *sides[-1])

        encoder: list[nn.Module] = []
        for fan_in, fan_out in pairwise(widths):
            encoder += [nn.Conv2d(fan_in, fan_out, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        encoder += [nn.Flatten(), nn.Linear(math.prod(innermost), DENSE), nn.ReLU(), nn.Linear(DENSE, code_size)]

        decoder: list[nn.Module] = [nn.Linear(code_size, DENSE), nn.ReLU(), nn.Linear(DENSE, math.prod(innermost))]
        decoder.append(nn.Unflatten(1, innermost))
        for (fan_out, fan_in), (height, width) in zip(reversed([*pairwise(widths)]), sides[-2::-1], strict=True):
            even = (1 - height % 2, 1 - width % 2)  # 2 * n - 1 or 2 * n: the side that became n
            transposed = nn.ConvTranspose2d(fan_in, fan_out, kernel_size=3, stride=2, padding=1, output_padding=even)
            decoder += [nn.ReLU(), transposed]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder, nn.Flatten())

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.decoder(self.encoder(inputs))
        return outputs
