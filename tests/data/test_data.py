"""Data sets: sizes, splits, fingerprints, refusals."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from bench.base.errors import UserError
from bench.data import chars, digits, imagenet_shapes, mnist, nothing, quadratic_deep, regression
from bench.data.dataset import SPLITS, Dataset, as_dataset, from_tensors, stratified_order
from bench.data.images import resized, with_channels


def test_digits_are_real_fixed_and_stratified() -> None:
    data = as_dataset(digits.load())
    assert {split: data.size(split) for split in ("train", "val", "test")} == {"train": 1077, "val": 360, "test": 360}
    assert data.spec.input_shape == (1, 8, 8)
    assert data.spec.num_outputs == 10
    assert data.spec.loss == "cross_entropy"
    assert data.fingerprint == "f55a67fe1049"
    for split in ("val", "test"):
        counts = data.splits[split][1].bincount()
        assert counts.min() >= 34
        assert counts.max() <= 38
    x = torch.cat([data.splits[split][0] for split in ("train", "val", "test")])
    assert x.min() == 0
    assert x.max() == 1
    assert len(x) == 1797


def test_digits_are_scikit_learns_read_with_or_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, classes = load_digits(return_X_y=True)
    for _ in range(2):
        ours = digits._digits()
        assert np.array_equal(ours[0], pixels)
        assert np.array_equal(ours[1], classes)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def test_digits_resized() -> None:
    data = as_dataset(digits.load(resize=28))
    assert data.spec.input_shape == (1, 28, 28)
    small = as_dataset(digits.load())
    assert torch.equal(data.splits["train"][1], small.splits["train"][1])
    assert data.splits["train"][0].mean().item() == pytest.approx(small.splits["train"][0].mean().item(), rel=0.02)


@pytest.mark.parametrize("side", [0, -3, 2.5, "big", True, 5000])
def test_resize_refuses_nonsense(side: object) -> None:
    with pytest.raises(UserError, match="resize must be a whole number of pixels from 1 to 1024"):
        resized(torch.zeros(2, 1, 8, 8), side)  # type: ignore[arg-type]


def test_grey_images_as_colour() -> None:
    grey, same, colour = (as_dataset(digits.load(resize=16, channels=channels)) for channels in (None, 1, 3))
    assert grey.fingerprint == same.fingerprint
    assert colour.spec.input_shape == (3, 16, 16)
    x = colour.splits["val"][0]
    assert torch.equal(x, grey.splits["val"][0].expand_as(x))
    assert x.is_contiguous()


@pytest.mark.parametrize("channels", [0, 2, 4, -3, "rgb", True, False, 2.5])
def test_channels_refuses_nonsense(channels: object) -> None:
    with pytest.raises(UserError, match=f"channels must be 1, 3 or null, got {channels}"):
        with_channels(torch.zeros(2, 1, 8, 8), channels)  # type: ignore[arg-type]


def test_imagenet_shapes_are_imagenets_and_take_no_room() -> None:
    data = as_dataset(imagenet_shapes.load())
    assert {split: data.size(split) for split in ("train", "val", "test")} == imagenet_shapes.SIZES
    assert data.size("train") == 1_281_167
    assert data.spec.input_shape == (3, 224, 224)
    assert (data.spec.num_outputs, data.spec.loss, data.shapes_only) == (1000, "cross_entropy", True)
    moved = data.to(torch.device("meta"))  # copies whatever it is given
    for one, there in ((data, "cpu"), (data.to(torch.device("cpu")), "cpu"), (moved, "meta")):
        storages = [t.untyped_storage() for pair in one.splits.values() for t in pair]
        assert sum(storage.nbytes() for storage in storages) < 20 * 2**20
        assert one.splits["train"][0].shape == (1_281_167, 3, 224, 224)
        assert one.splits["train"][0].device.type == there
        assert one.shapes_only
        assert one.fingerprint == data.fingerprint
    batch, targets = (part[:2] for part in data.splits["train"])
    assert batch.clone(memory_format=torch.contiguous_format).stride() == (3 * 224 * 224, 224 * 224, 224, 1)
    assert targets.tolist() == [0, 1]


def test_imagenet_shapes_of_other_sizes_have_other_fingerprints_and_draw_nothing_global() -> None:
    state = torch.get_rng_state()
    loads = [
        imagenet_shapes.load(),
        imagenet_shapes.load(size=32),
        imagenet_shapes.load(32, 10),
        imagenet_shapes.load(),
    ]
    assert len({data.fingerprint for data in loads}) == 3
    assert loads[2].spec.num_outputs == 10
    assert int(loads[2].splits["val"][1].max()) == 9
    assert torch.equal(loads[0].splits["test"][0][0], loads[3].splits["test"][0][0])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "value"), [("size", 0), ("size", 5000), ("num_classes", 1.5), ("num_classes", 0), ("channels", True)]
)
def test_imagenet_shapes_refuses_nonsense(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"{name} must be a whole number from 1 to .*, got {value}"):
        imagenet_shapes.load(**{name: value})


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_stratified_order_is_an_order_with_even_shares(labels: list[int]) -> None:
    targets = np.array(labels)
    order = stratified_order(targets)
    assert sorted(order) == list(range(len(targets)))
    half = targets[order[: len(targets) // 2]]
    for label in set(labels):
        share = (targets == label).sum() * len(half) / len(targets)
        assert abs((half == label).sum() - share) <= 3


def test_regression_is_told_from_classification() -> None:
    pair = (np.zeros((6, 3)), np.linspace(0, 1, 6))
    data = as_dataset((pair, pair, pair))
    assert data.spec.task == "regression"
    assert data.spec.loss == "mse"
    assert data.splits["train"][1].shape == (6, 1)
    assert data.splits["train"][1].dtype == torch.float32


def test_fingerprint_sees_every_value() -> None:
    x, y = torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])
    one = as_dataset(((x, y), (x, y), (x, y)))
    changed = x.clone()
    changed[3, 1] = 1e-7
    two = as_dataset(((x, y), (x, y), (changed, y)))
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "data must be three pairs"),
        (((torch.zeros(2), torch.zeros(2)),), "data must be three pairs"),
        (((torch.zeros(2, 1), torch.zeros(3)),) * 3, "as many inputs as targets"),
        (((torch.zeros(0, 1), torch.zeros(0)),) * 3, "at least one"),
        (((torch.zeros(2, 1), torch.tensor([0, -1])),) * 3, "classes must be whole numbers from 0, got -1"),
        (
            (
                (torch.zeros(2, 1), torch.zeros(2)),
                (torch.zeros(2, 2), torch.zeros(2)),
                (torch.zeros(2, 1), torch.zeros(2)),
            ),
            "inputs of all splits must have one shape",
        ),
    ],
)
def test_bad_data_is_refused(returned: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_dataset(returned)


def test_absent_mnist_says_what_to_do_and_writes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "nowhere"
    with pytest.raises(UserError, match=r"data.root must hold the MNIST files .*BENCH_DATA_ROOT.*data.download=true"):
        mnist.load(root=str(root))
    assert not root.exists()


def test_truncated_mnist_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (raw / name).write_bytes(b"\0\0\x08\x01\0\0")
    with pytest.raises(UserError, match="data.root must hold readable MNIST files"):
        mnist.load(root=str(tmp_path))


def test_mnist_from_files() -> None:
    root = os.environ.get("BENCH_DATA_ROOT")
    if not root or not (Path(root) / "MNIST" / "raw").is_dir():
        pytest.skip("no MNIST files: set BENCH_DATA_ROOT to the folder that holds MNIST/raw")
    data = as_dataset(mnist.load(root=root))
    assert {split: data.size(split) for split in ("train", "val", "test")} == {
        "train": 55_000,
        "val": 5_000,
        "test": 10_000,
    }
    assert data.spec.input_shape == (1, 28, 28)
    assert data.splits["val"][1].bincount().min() > 400
    assert data.splits["test"][1][:5].tolist() == [7, 2, 1, 0, 4]
    assert as_dataset(mnist.load(root=root, channels=3)).spec.input_shape == (3, 28, 28)


def test_whole_numbers_in_a_column_are_classes() -> None:
    x, y = torch.zeros(6, 2), torch.arange(6) % 3
    pair = (x, y.unsqueeze(1))
    data = as_dataset((pair, pair, pair))
    assert (data.spec.task, data.spec.num_outputs, data.class_counts()) == ("classification", 3, [2, 2, 2])
    assert data.fingerprint == as_dataset(((x, y),) * 3).fingerprint


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([torch.eye(3).long()] * 3, "targets must be one whole number each for classes"),
        ([torch.arange(3), torch.arange(3), torch.arange(3).float()], "targets of all splits must be of one kind"),
        ([torch.zeros(3, 3), torch.zeros(3, 2), torch.zeros(3, 3)], "targets of all splits must be of one kind"),
        (
            [torch.tensor([0, 1, 20_000_000])] * 3,
            "classes must be numbered 0, 1, 2, ..., got 20000000 among 9 examples",
        ),
    ],
)
def test_targets_that_are_neither_classes_nor_values_are_refused(targets: list[torch.Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        as_dataset(tuple((torch.zeros(3, 2), y) for y in targets))


def test_tensors_of_any_make_are_taken() -> None:
    x = torch.eye(4).to_sparse()
    y = torch.tensor([0, 1, 0, 1], dtype=torch.uint16)
    data = as_dataset(((x, y), (x, y), (x.to_dense().requires_grad_(), y)))
    assert data.spec.task == "classification"
    assert not data.splits["test"][0].requires_grad


# --- fewer training examples ------------------------------------------------------------------------


def numbered(num: int, classes: bool) -> Dataset:
    """Each example is its own number, so that it can be told which are left."""
    x = torch.arange(float(num)).unsqueeze(1)
    return from_tensors(dict.fromkeys(SPLITS, (x, (torch.arange(num) % 7 % 3 if classes else x[:, 0] * 2))))


def left(data: Dataset) -> list[int]:
    return [int(number) for number in data.splits["train"][0][:, 0]]


@given(num=st.integers(3, 60), classes=st.booleans(), sizes=st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_fewer_examples_are_among_more_in_their_old_places(num: int, classes: bool, sizes: tuple[int, int]) -> None:
    data = numbered(num, classes)
    small, large = sorted(min(size, num) for size in sizes)
    few, many = left(data.limited(small)), left(data.limited(large))
    assert len(few) == small
    assert set(few) <= set(many)
    assert many == sorted(set(many))
    assert left(data.limited(num)) == list(range(num))
    inputs, targets = data.limited(large).splits["train"]
    whole = data.splits["train"][1]
    assert torch.equal(targets, whole[inputs[:, 0].long()]), "targets are those of the inputs"


@pytest.mark.parametrize("size", [10, 57, 100, 500, 1000])
def test_classes_keep_their_shares(size: int) -> None:
    data = as_dataset(digits.load())
    counts, limited = data.class_counts(), data.limited(size).class_counts()
    assert counts is not None
    assert limited is not None
    assert sum(limited) == size
    assert max(abs(few - size * all_ / 1077) for few, all_ in zip(limited, counts, strict=True)) <= 1


def test_fewer_examples_are_the_same_always_and_of_no_generator() -> None:
    data = numbered(20, classes=False)
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one = data.limited(5)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    torch.manual_seed(1)
    assert left(data.limited(5)) == left(one) == [1, 8, 10, 18, 19]  # an order that must never change
    assert left(one) != list(range(5))
    assert data.size("train") == 20


def test_val_and_test_stay_and_the_fingerprint_does_not() -> None:
    data = as_dataset(digits.load())
    parts = [data.limited(size) for size in (100, 101, 1077)]
    assert len({data.fingerprint, *(part.fingerprint for part in parts)}) == 4
    assert parts[0].fingerprint == data.limited(100).fingerprint
    for part in parts:
        assert part.spec == data.spec
        for split in ("val", "test"):
            assert all(torch.equal(a, b) for a, b in zip(part.splits[split], data.splits[split], strict=True))
    with pytest.raises(UserError, match=r"^data.num_train must be at most 1,077, .*, got 1,078; leave it out for all"):
        data.limited(1078)


def test_any_data_can_be_limited_and_a_known_optimum_is_known_no_more() -> None:
    windows = chars.load(context=16, max_chars=5_000)
    assert windows.limited(30).splits["train"][0].shape == (30, 16)
    line = regression.load(size=50)
    assert line.optimum is not None
    assert line.limited(20).optimum is None
    noise = quadratic_deep.load().limited(300)
    assert (noise.optimum, noise.steps_per_epoch(128)) == (None, 2)
    assert nothing.load().limited(1).size("train") == 1
    shapes = imagenet_shapes.load().limited(100_000)
    assert shapes.splits["train"][0].stride(0) == 0, "100,000 images would not fit"
    assert (shapes.size("train"), shapes.splits["train"][1].shape, shapes.shapes_only) == (100_000, (100_000,), True)
