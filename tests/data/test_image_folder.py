"""Images from files: splits, pixels, batches from workers, refusals."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import tarfile
import warnings
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as MapDataset

from bench.base.errors import UserError
from bench.data.dataset import Dataset, DataSpec, as_dataset, batch_order
from bench.data.image_folder import IMAGENET_MEAN, IMAGENET_STD, StreamingDataset, load

CLASSES = ("ant", "bee", "cat")


def picture(path: Path, seed: int, size: tuple[int, int] = (40, 30), mode: str = "RGB") -> None:
    shape = (*size[::-1], 3) if mode == "RGB" else size[::-1]
    pixels = np.random.RandomState(seed).randint(0, 256, shape).astype("uint8")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def fill(root: Path, num: int = 10, splits: tuple[str, ...] = ("train", "val")) -> Path:
    for s, split in enumerate(splits):
        for c, name in enumerate(CLASSES):
            for i in range(num if split == "train" else 2):
                mode = "L" if i == 1 else "RGB"
                picture(root / split / name / f"{i}.{'png' if i % 2 else 'JPEG'}", 1000 * s + 100 * c + i, mode=mode)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(fill(tmp_path_factory.mktemp("images")))


def batches(data: Dataset, num: int, batch_size: int = 8, seed: int = 3, frozen: bool = False) -> list[Any]:
    return list(islice(data.shuffled(batch_size, seed, frozen), num))


def same(one: list[Any], two: list[Any]) -> bool:
    return len(one) == len(two) and all(
        torch.equal(a, b) for left, right in zip(one, two, strict=True) for a, b in zip(left, right, strict=True)
    )


# --- splits ---------------------------------------------------------------------------------------


def test_val_is_test_and_a_stratified_share_of_train_is_val(root: str) -> None:
    data = load(root, size=16, workers=0, val_share=0.2)
    assert {split: data.size(split) for split in ("train", "val", "test")} == {"train": 24, "val": 6, "test": 6}
    assert as_dataset(data) is data
    assert data.spec == DataSpec((3, 16, 16), 3, "classification")
    assert data.reads_files
    assert data.class_counts() == [8, 8, 8]
    paths = {split: set(data.splits[split].paths.tolist()) for split in ("train", "val", "test")}  # type: ignore[attr-defined]
    assert not paths["train"] & paths["val"]
    assert all(path.startswith(b"train/") for path in paths["train"] | paths["val"])
    assert all(path.startswith(b"val/") for path in paths["test"])
    assert [int(y) for _, targets in data.in_order("val", 4) for y in targets] == [0, 0, 1, 1, 2, 2]


def test_with_a_test_folder_each_folder_is_its_split(tmp_path: Path) -> None:
    data = load(str(fill(tmp_path, splits=("train", "val", "test"))), workers=0, size=8)
    assert [data.size(split) for split in ("train", "val", "test")] == [30, 6, 6]
    assert all(path.startswith(b"val/") for path in data.splits["val"].paths)  # type: ignore[attr-defined]


def test_a_test_folder_without_classes_does_not_count(tmp_path: Path) -> None:
    fill(tmp_path)
    picture(tmp_path / "test" / "unknown.png", 1)
    assert load(str(tmp_path), workers=0).size("train") == 27


def test_files_that_are_no_images_and_hidden_ones_are_passed_over_and_deeper_folders_are_not(tmp_path: Path) -> None:
    fill(tmp_path)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "ant" / "._0.JPEG").write_text("no image")
    (tmp_path / "train" / ".cache").mkdir()
    assert load(str(tmp_path), workers=0).size("train") == 27
    picture(tmp_path / "train" / "ant" / "more" / "x.JPG", 9)
    assert load(str(tmp_path), workers=0, val_share=0.01).size("train") == 30


# --- pixels ---------------------------------------------------------------------------------------


def test_pixels_are_those_of_the_file_scaled_cropped_and_normalised(root: str) -> None:
    (inputs, targets) = load(root, size=224, workers=0).sample_batch(1)
    with Image.open(Path(root) / "train" / "ant" / "0.JPEG") as image:
        scaled = image.resize((341, 256), Image.Resampling.BILINEAR).crop((58, 16, 282, 240))  # (341 - 224) / 2 = 58.5
    expected = torch.from_numpy(np.array(scaled)).permute(2, 0, 1) / 255
    expected = (expected - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    torch.testing.assert_close(inputs[0], expected)
    assert targets.tolist() == [0]


@pytest.mark.parametrize(("size", "box"), [(32, (42, 32)), (64, (85, 64))], ids=["at 32", "at 64"])
def test_small_sizes_keep_the_whole_shorter_side(root: str, size: int, box: tuple[int, int]) -> None:
    inputs, _ = load(root, size=size, workers=0, normalize=False).sample_batch(1)
    with Image.open(Path(root) / "train" / "ant" / "0.JPEG") as image:
        left = round((box[0] - size) / 2)
        scaled = np.array(image.resize(box, Image.Resampling.BILINEAR).crop((left, 0, left + size, size)))
    torch.testing.assert_close(inputs[0], torch.from_numpy(scaled).permute(2, 0, 1) / 255)


def test_grey_images_become_three_equal_channels(root: str) -> None:
    inputs, _ = load(root, size=16, workers=0, normalize=False).sample_batch(2)
    assert not torch.equal(inputs[0, 0], inputs[0, 1])
    assert torch.equal(inputs[1, 0], inputs[1, 1])
    assert torch.equal(inputs[1, 0], inputs[1, 2])
    assert inputs.dtype == torch.float32
    assert 0 <= inputs.min() < 0.3 < 0.7 < inputs.max() <= 1


# --- batches --------------------------------------------------------------------------------------


def test_batches_do_not_depend_on_the_number_of_workers_and_draw_nothing_global(root: str) -> None:
    state = torch.get_rng_state()
    alone, two = (load(root, size=16, workers=workers) for workers in (0, 2))
    expected = batches(alone, 9)
    assert same(expected, batches(two, 9))
    assert same(list(alone.in_order("test", 4)), list(two.in_order("test", 4)))
    assert torch.equal(state, torch.get_rng_state())
    assert [len(y) for _, y in expected[:5]] == [8, 8, 8, 3, 8]  # 27 images an epoch
    assert not same(expected[:4], expected[4:8])
    frozen = batches(two, 8, frozen=True)
    assert same(frozen[:4], frozen[4:])
    assert same(frozen[:4], expected[:4])
    assert not same(expected, batches(alone, 9, seed=4))


def test_the_order_is_that_of_data_in_memory(root: str) -> None:
    data = load(root, size=8, workers=0)
    whole, targets = data.sample_batch(27)
    for (x, y), chosen in zip(batches(data, 6), batch_order(27, 8, 3), strict=False):
        assert torch.equal(x, whole[chosen])
        assert torch.equal(y, targets[chosen])
    assert len(data.sample_batch(1000)[0]) == 27


def test_workers_stop_when_the_batches_are_closed_collected_or_used_up(root: str) -> None:
    data = load(root, size=8, workers=2)
    before = set(multiprocessing.active_children())

    def working() -> int:
        return len(set(multiprocessing.active_children()) - before)

    ongoing = data.shuffled(8, 0)
    assert working() == 0
    next(ongoing)
    next(ongoing)
    assert working() == 2
    ongoing.close()  # type: ignore[attr-defined]
    assert working() == 0
    ongoing = data.shuffled(8, 0)
    next(ongoing)
    assert working() == 2
    del ongoing
    gc.collect()
    assert working() == 0
    assert len(list(data.in_order("val", 2))) == 2
    assert working() == 0


def test_workers_start_once_not_every_epoch(root: str) -> None:
    ongoing = load(root, size=8, workers=1).shuffled(16, 0)
    seen = set()
    for _ in range(7):  # two batches an epoch
        next(ongoing)
        seen.add(tuple(child.pid for child in multiprocessing.active_children()))
    ongoing.close()  # type: ignore[attr-defined]
    assert len(seen) == 1


def test_batches_go_to_the_device_asked_for(root: str) -> None:
    data = load(root, size=8, workers=0)
    moved = data.to(torch.device("meta"))
    assert moved.sample_batch(2)[0].device.type == "meta"
    assert {part.device.type for part in next(moved.shuffled(2, 0))} == {"meta"}
    assert moved.fingerprint == data.fingerprint
    assert isinstance(moved, StreamingDataset)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_on_cuda_are_those_of_the_cpu(root: str) -> None:
    data = load(root, size=16, workers=2)
    there = batches(data.to(torch.device("cuda")), 5)
    assert there[0][0].is_cuda
    assert same([(x.cpu(), y.cpu()) for x, y in there], batches(data, 5))


def test_what_workers_are_given_can_be_pickled(root: str) -> None:
    data = pickle.loads(pickle.dumps(load(root, size=8, workers=2)))
    assert same(batches(data, 2), batches(load(root, size=8, workers=0), 2))


# --- fingerprint ----------------------------------------------------------------------------------


def test_the_fingerprint_sees_files_classes_and_what_changes_pixels(tmp_path: Path) -> None:
    root = str(fill(tmp_path / "one"))
    plain = load(root).fingerprint
    assert load(root, workers=0, on_corrupt="skip").fingerprint == plain
    assert load(str(fill(tmp_path / "two"))).fingerprint == plain  # wherever it lies
    assert load(root, size=224).fingerprint == plain
    others = [load(root, size=32), load(root, normalize=False), load(root, val_share=0.3)]
    picture(Path(root) / "val" / "bee" / "0.JPEG", 5, size=(41, 30))
    others.append(load(root))
    (Path(root) / "train" / "bee" / "0.JPEG").rename(Path(root) / "train" / "bee" / "00.JPEG")
    others.append(load(root))
    for split in ("train", "val"):
        (Path(root) / split / "cat").rename(Path(root) / split / "cow")
    others.append(load(root))
    assert len({plain, *(data.fingerprint for data in others)}) == 1 + len(others)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("size", 0, "size must be a whole number of pixels from 1 to 1024, or null, got 0"),
        ("size", 2.5, "size must be a whole number"),
        ("size", True, "size must be a whole number"),
        ("size", 1025, "size must be a whole number"),
        ("workers", -1, "workers must be a whole number from 0 to 256, got -1"),
        ("workers", True, "workers must be a whole number"),
        ("workers", 1.0, "workers must be a whole number"),
        ("on_corrupt", "ignore", "on_corrupt must be fail or skip, got ignore"),
        ("val_share", 0, "val_share must be a number between 0 and 1, got 0"),
        ("val_share", 1.0, "val_share must be a number between"),
        ("val_share", float("nan"), "val_share must be a number between"),
        ("val_share", "half", "val_share must be a number between"),
        ("val_share", True, "val_share must be a number between"),
        ("val_share", 0.99, "val_share must leave training images, got 0.99 of 30"),
        ("normalize", 1, "normalize must be true or false, got 1"),
        ("path", None, "path must be a folder with train in it, got null; set data.path or BENCH_IMAGE_ROOT"),
        ("path", 7, "path must be the path of a folder, got 7"),
        ("path", "/nowhere/at/all", "path must be a folder with train in it, got /nowhere/at/all"),
    ],
)
def test_options_out_of_range_are_refused_in_one_sentence(root: str, option: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        load(**({"path": root} | {option: value}))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_folders_that_are_not_as_they_must_be_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="path must hold a folder train with a folder of images for each class"):
        load(str(tmp_path))
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match="path must hold a folder val or test beside train, got none"):
        load(str(tmp_path))
    (tmp_path / "val").mkdir()
    with pytest.raises(UserError, match="path must hold a folder for each class in train, got none"):
        load(str(tmp_path))
    fill(tmp_path)
    (tmp_path / "train" / "dog").mkdir()
    with pytest.raises(UserError, match=r"path must hold images in every class folder, got none in .*train/dog"):
        load(str(tmp_path))
    picture(tmp_path / "train" / "dog" / "0.png", 0)
    with pytest.raises(UserError, match=r"the same class folders in train and val, got dog in only one of them"):
        load(str(tmp_path))


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    fill(tmp_path)
    path = tmp_path / "train" / "bee" / "4.JPEG"
    path.write_bytes(path.read_bytes()[:400])  # cut off: the header still reads
    Image.fromarray(np.full((9, 9), 40_000, dtype="uint16")).save(tmp_path / "val" / "cat" / "1.png")
    return tmp_path


@pytest.mark.parametrize("workers", [0, 2], ids=["in the process that trains", "in a worker"])
def test_a_file_that_cannot_be_read_ends_training_in_one_sentence(damaged: Path, workers: int) -> None:
    data = load(str(damaged), size=8, workers=workers, val_share=0.01)
    with pytest.raises(
        UserError, match=r"^data.path must hold images that can be read, got train/bee/4.JPEG: OSEr"
    ) as e:
        batches(data, 10)
    assert "\n" not in str(e.value)
    assert "Traceback" not in str(e.value)
    assert str(damaged) not in str(e.value)
    with pytest.raises(UserError, match=r"got val/cat/1.png: .*more than 8 bits a channel"):
        list(data.in_order("test", 2))
    assert not [child for child in multiprocessing.active_children() if child.is_alive()]


@pytest.mark.parametrize("workers", [0, 2], ids=["in the process that loads", "in workers"])
def test_files_that_cannot_be_read_are_left_out_with_a_word(damaged: Path, workers: int) -> None:
    state = torch.get_rng_state()
    with pytest.warns(UserWarning) as told:
        data = load(str(damaged), size=8, workers=workers, on_corrupt="skip")
    assert [str(warning.message) for warning in told] == [
        "data: 2 of 36 image files cannot be read and are left out, the first train/bee/4.JPEG"
    ]
    assert {split: data.size(split) for split in ("train", "val", "test")} == {"train": 26, "val": 3, "test": 5}
    assert len(batches(data, 8)) == 8
    assert torch.equal(state, torch.get_rng_state())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (damaged / "train" / "bee" / "4.JPEG").unlink()
        (damaged / "val" / "cat" / "1.png").unlink()
        assert load(str(damaged), size=8, workers=0, on_corrupt="skip").fingerprint == data.fingerprint


def test_a_class_of_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    fill(tmp_path)
    for path in (tmp_path / "train" / "bee").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"images that can be read in every class folder, got none in .*train/bee"):
        load(str(tmp_path), workers=0, on_corrupt="skip")


# --- anybody's own data set -----------------------------------------------------------------------


class Points(MapDataset[Any]):
    """A person's own: numbers, with a choice of troubles."""

    def __init__(self, num: int, trouble: str = "", values: bool = False) -> None:
        self.num, self.trouble, self.values = num, trouble, values

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> Any:
        if index == 2 and self.trouble:
            return {
                "key": lambda: {}["missing"],
                "none": lambda: None,
                "shape": lambda: (np.zeros(5), 0),
                "class": lambda: (np.zeros(4), 2),
                "negative": lambda: (np.zeros(4), -1),
                "fraction": lambda: (np.zeros(4), 0.5),
            }[self.trouble]()
        x = np.full(4, index, dtype=np.float64)
        return (x, [0.5 * index, torch.get_num_threads()][: 1 + self.values]) if self.values else (x, index % 2)


def loaded(train: MapDataset[Any], task: str = "classification", **more: Any) -> StreamingDataset:
    return StreamingDataset(
        DataSpec((4,), 2, task), {"train": train, "val": Points(3), "test": Points(2)}, "mine", **more
    )


def test_a_persons_own_data_set_gives_batches_of_our_types() -> None:
    data = as_dataset(loaded(Points(7), workers=1))
    x, y = next(data.shuffled(4, 0))
    assert (x.dtype, y.dtype, x.shape) == (torch.float32, torch.int64, (4, 4))
    assert torch.equal(x[:, 0], torch.randperm(7, generator=torch.Generator().manual_seed(0))[:4].float())
    assert torch.equal(y, x[:, 0].long() % 2)
    assert data.class_counts() is None


@pytest.mark.parametrize("workers", [0, 1])
def test_values_to_predict_and_one_thread_in_a_worker(workers: int) -> None:
    data = loaded(Points(7, values=True), task="regression", workers=workers)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x, y = next(data.shuffled(4, 0))
    finally:
        torch.set_num_threads(threads)
    assert (y.dtype, y.shape) == (torch.float32, (4, 2))
    assert torch.equal(y[:, 0], x[:, 0] / 2)
    assert set(y[:, 1].tolist()) == {1.0 if workers else 2.0}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("key", "data: example 2 of train must be readable, got KeyError: 'missing'; mend its loader"),
        ("none", "data: every example of train must have a pair of input and target, got .*NoneType"),
        ("shape", r"data: every example of train must have an input of shape \[4\], got \[5\]"),
        ("class", "data: every example of train must have a class from 0 to 1, got 2"),
        ("negative", "data: every example of train must have a class from 0 to 1, got -1"),
        ("fraction", "data: every example of train must have .*got"),
    ],
)
def test_trouble_in_a_persons_own_data_set_is_one_sentence(trouble: str, message: str, workers: int) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        batches(loaded(Points(3, trouble), workers=workers), 2, batch_size=3)
    assert "\n" not in str(caught.value)


def test_fewer_images_are_read_of_each_class_its_share(root: str) -> None:
    whole = load(root, size=8, workers=0)
    data = whole.limited(6)
    assert (data.size("train"), data.class_counts()) == (6, [2, 2, 2])
    assert data.fingerprint not in (whole.fingerprint, whole.limited(5).fingerprint)
    images = {
        image.numpy().tobytes(): int(label)
        for x, y in whole.in_order("train", 8)
        for image, label in zip(x, y, strict=True)
    }
    few, fewer = (list(whole.limited(num).in_order("train", 8)) for num in (6, 3))
    (x, y), (x_fewer, _) = few[0], fewer[0]
    assert [images[image.numpy().tobytes()] for image in x] == y.tolist()
    assert {image.numpy().tobytes() for image in x_fewer} < {image.numpy().tobytes() for image in x}
    assert same(list(data.in_order("val", 8)), list(whole.in_order("val", 8)))
    assert same(batches(data, 3, batch_size=4), batches(load(root, size=8, workers=1).limited(6), 3, batch_size=4))
    assert same(list(whole.limited(27).in_order("train", 8)), list(whole.in_order("train", 8)))
    pickle.loads(pickle.dumps(data.splits["train"]))  # for workers that are spawned
    with pytest.raises(UserError, match=r"^data.num_train must be at most 27, .*, got 28; leave it out"):
        whole.limited(28)


def test_fewer_examples_of_a_persons_own_whose_classes_are_not_known() -> None:
    (x, y), *_ = loaded(Points(20), workers=0).limited(5).in_order("train", 5)
    assert len(set(x[:, 0].tolist())) == 5
    assert torch.equal(y, x[:, 0].long() % 2)


def test_splits_and_workers_are_held_to_their_ranges() -> None:
    with pytest.raises(UserError, match="data: train must have at least one example, got none"):
        loaded(Points(0))
    with pytest.raises(UserError, match="data: splits must be train, val, test, got train"):
        StreamingDataset(DataSpec((4,), 2, "classification"), {"train": Points(2)}, "mine")
    with pytest.raises(UserError, match="workers must be a whole number from 0 to 256, got 1.5"):
        loaded(Points(2), workers=1.5)


# --- the real thing -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_imagenet(tmp_path_factory: pytest.TempPathFactory) -> str:
    archive = Path(os.environ.get("BENCH_DATA_ROOT", "")) / "image_folder" / "tiny_imagenet_20.tar.xz"
    if not archive.is_file():
        pytest.skip("no images: set BENCH_DATA_ROOT to the folder that holds image_folder/tiny_imagenet_20.tar.xz")
    folder = tmp_path_factory.mktemp("tiny")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return str(next(path.parent for path in sorted(folder.rglob("train"))))


def test_tiny_imagenet_from_files(tiny_imagenet: str) -> None:
    data = load(tiny_imagenet, size=64)
    assert {split: data.size(split) for split in ("train", "val", "test")} == {
        "train": 9_000,
        "val": 1_000,
        "test": 1_000,
    }
    assert data.class_counts() == [450] * 20
    found = batches(data, 4, batch_size=64)
    assert same(found, batches(load(tiny_imagenet, size=64, workers=0), 4, batch_size=64))
    x = torch.cat([inputs for inputs, _ in found])
    assert x.mean(dim=(0, 2, 3)).abs().max() < 0.5  # ImageNet's own mean and deviation fit its images
    assert 0.8 < x.std() < 1.4
    assert len({int(label) for _, y in found for label in y}) == 20


@pytest.mark.parametrize("targets", [None, ["a", "b"], [0, 1, -1, 0], [0, 1, 2, 10**9], [[0, 1], [1]], [0.5] * 4])
def test_targets_that_do_not_say_the_classes_give_no_counts(targets: Any) -> None:
    class Own(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> Any:
            return torch.zeros(2), index % 3

    own = Own()
    spec = DataSpec((2,), 3, "classification")
    data = StreamingDataset(spec, {"test": own, "train": own, "val": own}, "x", workers=0)  # type: ignore[arg-type]
    own.targets = targets
    assert data.class_counts() is None
    own.targets = np.array([0, 1, 2, 0])
    assert data.class_counts() == [2, 1, 1]


def test_folders_that_go_round_are_one_sentence(tmp_path: Path) -> None:
    top = fill(tmp_path / "loop")
    (top / "train" / "ant" / "again").symlink_to(top / "train" / "ant")
    with pytest.raises(UserError, match="path must hold folders that can be read, got"):
        load(str(top))
