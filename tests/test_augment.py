"""Augmentation: each image by its own draw, held to torchvision's transforms, and refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torchvision.transforms import InterpolationMode, v2

from bench.base.errors import UserError
from bench.base.paths import CONF_DIR
from bench.config.augmentation import AUGMENTATIONS
from bench.training.augmentation import Crop, Flip, ResizedCrop, Rotation, ShiftRotate, Standard, build

SHAPES = [(1, 8, 8), (3, 32, 32), (3, 20, 33), (3, 80, 72)]


def images(shape: tuple[int, int, int], num: int = 12) -> torch.Tensor:
    return torch.rand(num, *shape, generator=torch.Generator().manual_seed(1))


def augment(name: str, shape: tuple[int, ...], **options: Any) -> Any:
    return build(name, options, shape)


def test_none_is_nothing() -> None:
    assert build("none", {}, (3, 32, 32)) is None
    assert build("none", {}, (4,)) is None


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_config_of_each_is_what_the_code_takes_for_its_default(name: str) -> None:
    node = yaml.safe_load((CONF_DIR / "augment" / f"{name}.yaml").read_text())
    assert node.pop("name") == name
    assert tuple(node) == tuple(AUGMENTATIONS[name].model_fields)
    assert build(name, node, (3, 32, 32)) == build(name, {}, (3, 32, 32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_a_changed_copy_of_the_same_shape_dtype_and_range(
    name: str, shape: tuple[int, int, int], dtype: torch.dtype
) -> None:
    given = images(shape).to(dtype)
    kept = given.clone()
    torch.manual_seed(0)
    changed = augment(name, shape)(given)
    assert (changed.shape, changed.dtype) == (given.shape, dtype)
    assert torch.equal(given, kept)
    assert not torch.equal(changed, given)
    assert changed.untyped_storage().data_ptr() != given.untyped_storage().data_ptr()
    assert changed.min() >= -1e-6
    assert changed.max() <= 1 + 1e-6


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 80, 80)], ids=["small", "large"])
@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_each_image_is_drawn_on_its_own_and_the_seed_repeats_it(name: str, shape: tuple[int, int, int]) -> None:
    same = images(shape, 1).expand(40, -1, -1, -1).contiguous()
    change = augment(name, shape)
    torch.manual_seed(5)
    first = change(same)
    assert len({image.numpy().tobytes() for image in first}) >= (2 if name == "flip" else 15)
    second = change(same)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    assert torch.equal(change(same), first)
    assert torch.equal(change(same), second)


def test_a_crop_shifts_a_ramp_by_whole_pixels_and_fills_with_zeros() -> None:
    ramp = 1 + torch.arange(16.0).reshape(1, 1, 4, 4).expand(300, -1, -1, -1)
    torch.manual_seed(0)
    found = {image.numpy().tobytes() for image in Crop(1)(ramp)}
    windows = {
        torch.nn.functional.pad(ramp[0], [1] * 4)[:, top : top + 4, left : left + 4].contiguous().numpy().tobytes()
        for top in range(3)
        for left in range(3)
    }
    assert found == windows  # every one of the nine, and nothing else


def test_a_crop_is_torchvisions_for_the_same_places() -> None:
    given = images((3, 20, 33))
    torch.manual_seed(3)
    changed = Crop(4)(given)
    torch.manual_seed(3)
    places = torch.randint(0, 9, (2, len(given)))
    for i, (top, left) in enumerate(places.T.tolist()):
        expected = v2.functional.crop(v2.functional.pad(given[i], [4]), top, left, 20, 33)
        assert torch.equal(changed[i], expected)


@pytest.mark.parametrize("degrees", [15.0, 90.0, 180.0])
@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 20, 33)], ids=["square", "oblong"])
def test_a_rotation_is_torchvisions_for_the_same_angles(shape: tuple[int, int, int], degrees: float) -> None:
    given = images(shape)
    torch.manual_seed(3)
    changed = Rotation(degrees)(given)
    torch.manual_seed(3)
    angles = ((2 * torch.rand(len(given)) - 1) * degrees).tolist()
    assert max(angles) > 0.5 * degrees
    assert min(angles) < -0.5 * degrees
    for i, angle in enumerate(angles):
        expected = v2.functional.rotate(given[i], angle, interpolation=InterpolationMode.BILINEAR)
        torch.testing.assert_close(changed[i], expected, atol=2e-3, rtol=0)


def test_what_changes_nothing_is_the_identity() -> None:
    given = images((3, 20, 33))
    assert torch.equal(augment("crop", (3, 20, 33), padding=0)(given), given)
    assert torch.equal(augment("flip", (3, 20, 33), p=0)(given), given)
    torch.testing.assert_close(augment("rotation", (3, 20, 33), degrees=0)(given), given, atol=1e-5, rtol=0)


def test_flips_come_at_their_rate_and_twice_they_undo_themselves() -> None:
    given = images((3, 8, 8))
    always = augment("flip", (3, 8, 8), p=1.0)
    assert torch.equal(always(given), given.flip(-1))
    assert torch.equal(always(always(given)), given)
    many = torch.arange(8.0).expand(2000, 1, 8, 8)
    torch.manual_seed(0)
    rate = (augment("flip", (1, 8, 8), p=0.3)(many)[:, 0, 0, 0] == 7).float().mean()
    assert abs(rate - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 2000)


def test_standard_crops_up_to_64_pixels_and_rescales_above() -> None:
    assert augment("standard", (3, 32, 32)) == Standard(Crop(4), Flip(0.5))
    assert augment("standard", (3, 64, 64)) == Standard(Crop(8), Flip(0.5))
    assert augment("standard", (3, 224, 224)) == Standard(ResizedCrop(), Flip(0.5))
    given = images((3, 72, 72), 2)
    torch.manual_seed(2)
    changed = augment("standard", (3, 72, 72))(given)
    torch.manual_seed(2)
    expected = torch.stack([v2.RandomResizedCrop(72, antialias=True)(image) for image in given])
    flipped = torch.rand(2) < 0.5
    assert torch.equal(changed, torch.where(flipped[:, None, None, None], expected.flip(-1), expected))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_images_are_moved_alike_in_batches_of_any_size(shape: tuple[int, int, int]) -> None:
    given = images(shape, 20)
    kept, state = given.clone(), torch.get_rng_state()
    at_once = ShiftRotate(shape)(given)
    move = ShiftRotate(shape)
    in_parts = torch.cat([move(part) for part in given.split([1, 3, 16])])
    assert torch.equal(at_once, in_parts)
    assert torch.equal(given, kept)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(move(given), at_once), "the next images are moved in other ways"
    assert all(not torch.equal(a, b) for a, b in zip(at_once, given, strict=True))


def test_a_move_is_torchvisions_rotation_and_then_a_crop_at_their_defaults() -> None:
    given = images((3, 20, 33), 8)
    drawn = np.random.RandomState(0).random_sample((8, 3))
    moved = ShiftRotate((3, 20, 33))(given)
    padding = Crop(2).padding
    assert build("crop", {}, (3, 20, 33)) == Crop(padding)
    for image, found, (share, top, left) in zip(given, moved, drawn, strict=True):
        turned = v2.functional.rotate(image, 15 * (2 * share - 1), interpolation=InterpolationMode.BILINEAR)
        place = int(5 * top), int(5 * left)
        expected = v2.functional.crop(v2.functional.pad(turned, [padding]), *place, 20, 33)
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_moves_fill_the_range_of_the_augmentations() -> None:
    point = torch.zeros(400, 1, 9, 9)
    point[:, 0, 4, 4] = 1  # the centre, which a rotation leaves where it is
    places = {divmod(int(image.argmax()), 9) for image in ShiftRotate((1, 9, 9))(point)}
    assert places == {(row, column) for row in (3, 4, 5) for column in (3, 4, 5)}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_draws_on_cuda_are_those_of_the_cpu(name: str) -> None:
    given = images((3, 32, 32))
    torch.manual_seed(0)
    here = augment(name, (3, 32, 32))(given)
    torch.manual_seed(0)
    there = augment(name, (3, 32, 32))(given.cuda())
    assert there.is_cuda
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("side", "padding"), [(32, 4), (8, 1), (4, 1), (1, 0)], ids=["32 -> 4", "8 -> 1", "4 -> 1", "1 -> 0"]
)
def test_padding_is_an_eighth_of_the_side_by_default(side: int, padding: int) -> None:
    assert augment("crop", (3, side, side + 5)) == Crop(padding)
    assert augment("crop", (3, side, side), padding=None) == Crop(padding)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("blur", {}, (3, 8, 8), "augment must be one of none, crop, rotation, crop_rotation, flip, standard, got blur"),
        (
            "crop",
            {"p": 0.5},
            (3, 8, 8),
            "augment.p must be left out with augment=crop, got it; its options are padding",
        ),
        ("standard", {"p": 0.5}, (3, 8, 8), "augment.p must be left out .* its options are none"),
        ("crop", {"padding": 8}, (3, 8, 8), "augment.padding must be a whole number from 0 to 7, .*got 8; null is 1"),
        ("crop", {"padding": -1}, (3, 8, 8), "augment.padding must be"),
        ("crop", {"padding": 1.5}, (3, 8, 8), "augment.padding must be"),
        ("crop", {"padding": True}, (3, 8, 8), "augment.padding must be"),
        ("rotation", {"degrees": 181}, (3, 8, 8), "augment.degrees must be a number from 0 to 180, got 181"),
        ("rotation", {"degrees": -1}, (3, 8, 8), "augment.degrees must be"),
        ("rotation", {"degrees": math.nan}, (3, 8, 8), "augment.degrees must be"),
        ("flip", {"p": 1.01}, (3, 8, 8), "augment.p must be a number from 0 to 1, got 1.01"),
        ("flip", {"p": "often"}, (3, 8, 8), "augment.p must be"),
        ("flip", {"p": True}, (3, 8, 8), "augment.p must be"),
        ("flip", {}, (64,), "augment must be none for data that is not images .* augment=flip for inputs of shape 64"),
        ("crop", {}, (), "augment must be none for data that is not images"),
    ],
)
def test_nonsense_is_refused(name: str, options: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        build(name, options, shape)


@pytest.mark.parametrize(
    "batch",
    [torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8), torch.zeros(2, 64)],
    ids=["bytes", "one image", "vectors"],
)
@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "none"])
def test_batches_that_are_not_images_are_refused(name: str, batch: torch.Tensor) -> None:
    with pytest.raises(UserError, match=r"^augment must be none for batches that are not images \(N, C, H, W\)"):
        augment(name, (3, 8, 8))(batch)
