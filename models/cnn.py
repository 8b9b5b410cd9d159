"""Small convolutional networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class MnistCNN(nn.Module):
    """The image classifier of many MNIST tutorials: two convolutions, two linear layers.

    Convolutions 1 -> 10 and 10 -> 20 (kernel 5), each followed by 2x2 max pooling and ReLU, then
    320 -> 50 -> num_outputs: 21,840 parameters with 10 outputs.

    Args:
        input_shape: Must be (1, 28, 28).
        num_outputs: Number of classes.

    Shapes:
        Input (N, 1, 28, 28), output (N, num_outputs).

    Raises:
        ValueError: The data has another shape.
    """

    def __init__(self, input_shape: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        if tuple(input_shape) != (1, 28, 28):
            got = "x".join(map(str, input_shape))
            raise ValueError(f"input_shape must be 1x28x28 for mnist_cnn, got {got}")
        self.conv1 = nn.Conv2d(1, 10, kernel_size=5)
        self.conv2 = nn.Conv2d(10, 20, kernel_size=5)
        self.fc1 = nn.Linear(320, 50)
        self.fc2 = nn.Linear(50, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        x = functional.relu(functional.max_pool2d(self.conv1(inputs), 2))
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        outputs: Tensor = self.fc2(x)
        return outputs


class Conv64(nn.Module):
    """A small network for colour images 32x32: two convolutions of 64 channels, two linear layers.

    Convolutions 3 -> 64 and 64 -> 64 (kernel 3, padding 1), each followed by ReLU and 2x2 max pooling,
    then 64*8*8 -> 512 -> num_outputs with ReLU between them: 2,141,514 parameters with 10 outputs.

    Args:
        input_shape: Must be (3, 32, 32).
        num_outputs: Number of classes.

    Shapes:
        Input (N, 3, 32, 32), output (N, num_outputs).

    Raises:
        ValueError: The data has another shape.
    """

    def __init__(self, input_shape: Sequence[int], num_outputs: int) -> None:
        super().__init__()
        if tuple(input_shape) != (3, 32, 32):
            got = "x".join(map(str, input_shape))
            raise ValueError(f"input_shape must be 3x32x32 for conv64, got {got}")
        self.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(64, 64, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(64 * 8 * 8, 512)
        self.fc2 = nn.Linear(512, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(inputs)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(torch.flatten(x, 1)))
        outputs: Tensor = self.fc2(x)
        return outputs
