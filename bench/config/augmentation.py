"""Augmentations and their settings: what can be chosen. How each changes images is in `bench.training.augmentation`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bench.config.fields import UnitFloat


class Settings(BaseModel):
    """Settings of an augmentation: none, unless a subclass has some."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Crop(Settings):
    """Settings of `crop`.

    Attributes:
        padding: Pixels at each side; None: an eighth of the shorter side, at least 1.
    """

    padding: Annotated[int, Field(ge=0, le=1024, description="a whole number of pixels from 0 to 1024")] | None = None


class Rotation(Settings):
    """Settings of `rotation`.

    Attributes:
        degrees: The largest angle, to either side.
    """

    degrees: Annotated[float, Field(ge=0, le=180, allow_inf_nan=False, description="a number from 0 to 180")] = 15.0


class CropRotation(Rotation, Crop):
    """Settings of `crop_rotation`: those of both."""


class Flip(Settings):
    """Settings of `flip`.

    Attributes:
        p: Probability for each image.
    """

    p: UnitFloat = 0.5


AUGMENTATIONS: dict[str, type[Settings]] = {
    "none": Settings,
    "crop": Crop,
    "rotation": Rotation,
    "crop_rotation": CropRotation,
    "flip": Flip,
    "standard": Settings,
}
"""What `augment` may name, with the settings of each."""
