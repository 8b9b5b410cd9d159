"""Augmentation: random changes to the images of a training batch, made where the batch lies.

Every image gets draws of its own. They come from torch's global generator on the CPU, which is the
run's: the same seed gives the same changes, on every device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.base.errors import UserError
from bench.config import augmentation as choices
from bench.config.augmentation import AUGMENTATIONS
from bench.config.choices import checked_settings
from bench.config.fields import listing

Augment = Callable[[Tensor], Tensor]
"""From the images of a batch (N, C, H, W) to changed copies of the same shape and dtype."""


SMALL = 64
"""The longest side, in pixels, of images that `standard` pads and crops, and does not scale."""


MOVE_SEED = 0
"""Of the draws of `ShiftRotate`."""


@dataclass(frozen=True)
class Crop:
    """Pad the four sides by 0 and take a window of the old size at a random place.

    0 is black where images are not normalised, the mean colour where they are.

    Attributes:
        padding: Pixels at each side, at least 0.

    References:
        He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv:1512.03385, section 4.2.
    """

    padding: int

    def __call__(self, images: Tensor) -> Tensor:
        """Augment a batch of images."""
        checked("crop", images)
        top, left = torch.randint(0, 2 * self.padding + 1, (2, len(images)))
        return self.at(images, top, left)

    def at(self, images: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Crop images (N, C, H, W) at chosen places: pixels (N,) from the padded edges, 0 to twice the padding."""
        num, channels, height, width = images.shape
        top, left = top.to(images.device), left.to(images.device)
        padded = functional.pad(images, [self.padding] * 4)
        rows = top[:, None] + torch.arange(height, device=images.device)
        columns = left[:, None] + torch.arange(width, device=images.device)
        examples = torch.arange(num, device=images.device)
        colours = torch.arange(channels, device=images.device)
        return padded[
            examples[:, None, None, None], colours[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
        ]


@dataclass(frozen=True)
class Flip:
    """Mirror left and right.

    Attributes:
        p: Probability for each image, from 0 to 1.
    """

    p: float

    def __call__(self, images: Tensor) -> Tensor:
        """Augment a batch of images."""
        checked("flip", images)
        chosen = (torch.rand(len(images)) < self.p).to(images.device)
        return torch.where(chosen[:, None, None, None], images.flip(-1), images)


@dataclass(frozen=True)
class Rotation:
    """Turn about the centre by a random angle; bilinear, what comes in from outside is 0.

    Attributes:
        degrees: The largest angle, to either side, from 0 to 180.
    """

    degrees: float

    def __call__(self, images: Tensor) -> Tensor:
        """Augment a batch of images."""
        checked("rotation", images)
        return self.by(images, 2 * torch.rand(len(images)) - 1)

    def by(self, images: Tensor, share: Tensor) -> Tensor:
        """Turn images (N, C, H, W) by chosen shares (N,) of the largest angle, from -1 to 1."""
        height, width = images.shape[-2:]
        angle = share * math.radians(self.degrees)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        # affine_grid counts both axes from -1 to 1, so that a turn of an oblong image needs the ratio of its sides.
        turn = torch.stack((cos, -sin * (height / width), zero, sin * (width / height), cos, zero), 1)
        grid = functional.affine_grid(turn.reshape(-1, 2, 3).to(images.device), list(images.shape), align_corners=False)
        return functional.grid_sample(images.float(), grid, align_corners=False).to(images.dtype)


@dataclass(frozen=True)
class CropRotation:
    """Turn images, then crop them.

    Attributes:
        crop: The crop.
        rotation: The turn.
    """

    crop: Crop
    rotation: Rotation

    def __call__(self, images: Tensor) -> Tensor:
        """Augment a batch of images."""
        return self.crop(self.rotation(images))


@dataclass(frozen=True)
class ResizedCrop:
    """A random window of 8 to 100 % of the area and 3:4 to 4:3 in shape, scaled to the old size.

    Each image goes through torchvision's RandomResizedCrop by itself: bilinear, antialiased.

    References:
        Szegedy et al., "Going Deeper with Convolutions", 2015, arXiv:1409.4842, section 6.
        Goyal et al., "Accurate, Large Minibatch SGD", 2017, arXiv:1706.02677, section 5.1.

    Differs from both: the window lies in the image as the data set gives it, which data=image_folder
    has scaled and cropped to its centre before, not in the whole image of the file.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """Augment a batch of images."""
        from torchvision.transforms import v2  # half a second, which only this augmentation needs

        checked("standard", images)
        draw = v2.RandomResizedCrop(list(images.shape[-2:]), antialias=True)
        return torch.stack([draw(image) for image in images.float()]).to(images.dtype)


@dataclass(frozen=True)
class Standard:
    """What is usual: `Crop` and `Flip` up to 64 pixels a side, `ResizedCrop` and `Flip` above.

    Attributes:
        window: The first of the two.
    """

    window: Augment
    flip: Augment = Flip(choices.Flip().p)

    def __call__(self, images: Tensor) -> Tensor:
        """Augment a batch of images."""
        return self.flip(self.window(images))


class ShiftRotate:
    """Turn and shift images as `Rotation` and then `Crop` do at their defaults, alike in every pass over them.

    Draws are made image after image from a generator of its own: the n-th image that comes is moved in the
    same way every time, in batches of any size, and the run's generator is left alone. A new one starts anew.

    Args:
        image_shape: Of one example: channels, height, width.
    """

    def __init__(self, image_shape: Sequence[int]) -> None:
        self._rotation, self._crop = Rotation(choices.Rotation().degrees), Crop(_usual_padding(image_shape))
        self._random = np.random.RandomState(MOVE_SEED)  # whose draws no release of NumPy changes

    def __call__(self, images: Tensor) -> Tensor:
        """Move the images of the next batch."""
        drawn = torch.from_numpy(self._random.random_sample((len(images), 3)))
        share, top, left = drawn.unbind(1)
        turned = self._rotation.by(images, (2 * share - 1).float())
        num_places = 2 * self._crop.padding + 1
        return self._crop.at(turned, (num_places * top).long(), (num_places * left).long())


def build(name: str, options: Mapping[str, Any], image_shape: Sequence[int]) -> Augment | None:
    """Return what changes the images of training batches.

    Args:
        name: One of `AUGMENTATIONS`.
        options: Its settings; those that are left out have their defaults.
        image_shape: Of one example: channels, height, width.

    Returns:
        None for "none"; else a function from a batch (N, C, H, W) of floating-point numbers, on any
        device, to a changed copy.

    Raises:
        UserError: There is no such augmentation or option, an option is out of its range, or
            examples are no images.

    Example:
        >>> build("crop", {"padding": 2}, (3, 32, 32))
        Crop(padding=2)
    """
    if name == "none":
        return None
    if name not in AUGMENTATIONS:
        raise UserError(f"augment must be {listing(AUGMENTATIONS)}, got {name}; choose one of these")
    settings: Any = checked_settings("augment", name, options)
    if len(image_shape) != 3 or min(image_shape) < 1:
        shape = "x".join(map(str, image_shape)) or "()"
        raise UserError(
            f"augment must be none for data that is not images (channels x height x width),"
            f" got augment={name} for inputs of shape {shape}; set augment=none"
        )
    if name == "rotation":
        return Rotation(settings.degrees)
    if name == "flip":
        return Flip(settings.p)
    if name == "crop":
        return Crop(_padding(settings.padding, image_shape))
    if name == "crop_rotation":
        return CropRotation(Crop(_padding(settings.padding, image_shape)), Rotation(settings.degrees))
    window = ResizedCrop() if max(image_shape[1:]) > SMALL else Crop(_usual_padding(image_shape))
    return Standard(window)


def _padding(chosen: int | None, image_shape: Sequence[int]) -> int:
    """Return the pixels at each side of a crop, held to the side of the images."""
    usual, side = _usual_padding(image_shape), min(image_shape[1:])
    padding = usual if chosen is None else chosen
    if padding >= side:
        raise UserError(
            f"augment.padding must be a whole number from 0 to {side - 1}, less than the side of the images,"
            f" or null, got {padding}; null is {usual}"
        )
    return padding


def _usual_padding(image_shape: Sequence[int]) -> int:
    """Return a number of pixels: an eighth of the shorter side, at least 1, less than the side."""
    side = min(image_shape[1:])
    return min(max(1, side // 8), side - 1)


def checked(name: str, images: Tensor) -> None:
    """Hold what comes in to what can be augmented.

    Raises:
        UserError: It is no batch of images of floating-point numbers.
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise UserError(
            f"augment must be none for batches that are not images (N, C, H, W) of floating-point numbers, got"
            f" augment={name} for {str(images.dtype).removeprefix('torch.')} of shape {list(images.shape)};"
            " set augment=none"
        )
