"""Data sets whose examples are read one by one, in worker processes, when their batch comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as MapDataset

from bench.base.errors import UserError
from bench.base.text import one_line
from bench.data.dataset import SPLITS, Batch, Dataset, DataSpec, batch_order

CPU = torch.device("cpu")


@dataclass(frozen=True)
class StreamingDataset(Dataset):
    """Three splits whose examples are read from files when their batch comes.

    For anybody's own `torch.utils.data.Dataset` with `__getitem__` and `__len__`: a loader of your own
    returns

        StreamingDataset(DataSpec((3, 64, 64), 20, "classification"),
               {"train": one, "val": another, "test": a_third}, fingerprint="...", workers=2)

    and is reached by data=custom data._target_=my_file.load. An example is a pair (input, target):
    tensors, arrays or numbers, the input of `spec.input_shape`. Reading one must give the same each
    time and draw nothing at random (that is for augment=); where workers are spawned (macOS, Windows)
    the three must be picklable. An exception in `__getitem__` ends the run as one sentence, that of a
    ValueError as it stands. An attribute `targets` of train, the class of each example, gives
    `class_counts`, and lets `limited` keep the shares of the classes.

    Attributes:
        splits: Train, val and test, as map-style data sets.
        fingerprint: What tells these examples from others; nothing is read to compute it.
        workers: Processes that read, 0 to 256; 0: the process that trains reads. It does not change a batch.
        device: Where batches go.
        reads_files: True.

    Raises:
        UserError: A split is missing or empty, or `workers` is out of its range.
    """

    splits: dict[str, MapDataset[Any]]  # type: ignore[assignment]
    reads_files: bool = True
    workers: int = 2
    device: torch.device = CPU

    def __post_init__(self) -> None:
        """Hold what was given to its ranges."""
        if type(self.workers) is not int or not 0 <= self.workers <= 256:
            raise UserError(f"workers must be a whole number from 0 to 256, got {self.workers}; 0 starts none")
        if set(self.splits) != set(SPLITS):
            raise UserError(f"data: splits must be {', '.join(SPLITS)}, got {', '.join(self.splits) or 'none'}")
        for split in SPLITS:
            if self.size(split) < 1:
                raise UserError(f"data: {split} must have at least one example, got none")

    def size(self, split: str) -> int:
        """Return the number of examples of a split."""
        return len(self.splits[split])  # type: ignore[arg-type]

    def to(self, device: torch.device) -> StreamingDataset:
        """Return the same data, its batches on another device."""
        return replace(self, device=device)

    def sample_batch(self, num: int) -> Batch:
        """Return the first training examples: to try a model on, not to learn from. Read by this process."""
        (batch,) = self._batches("train", [list(range(min(num, self.size("train"))))], workers=0)
        return batch

    def shuffled(self, batch_size: int, seed: int, frozen: bool = False) -> Iterator[Batch]:
        """Yield training batches without end, on the device. Workers stop when the generator is closed.

        Args:
            batch_size: Examples in each; the last of an epoch holds what is left.
            seed: Of the order, which nothing else draws from; the order of a data set in memory.
            frozen: Every epoch in the order of the first; otherwise each in a new one.
        """
        return self._batches("train", _Order(self.size("train"), batch_size, seed, frozen), self.workers)

    def in_order(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Yield a split once, in batches."""
        return self._batches(split, _Sequence(self.size(split), batch_size), self.workers)

    def train_classes(self) -> np.ndarray | None:
        """Return the class of each training example, shape (N,); None where the training split has no `targets` that say so."""
        if self.spec.task != "classification" or self.spec.target_shape:
            return None
        try:
            targets = np.asarray(getattr(self.splits["train"], "targets", None))
        except ValueError:  # rows of different lengths
            return None
        if targets.shape != (self.size("train"),) or targets.dtype.kind not in "iu":
            return None
        if targets.min() < 0 or targets.max() >= self.spec.num_outputs:
            return None
        return targets

    def _train_at(self, places: np.ndarray) -> MapDataset[Any]:
        return _Part(self.splits["train"], places, self.train_classes())

    def _batches(self, split: str, order: Iterable[list[int]], workers: int) -> Iterator[Batch]:
        loader = DataLoader(
            _Told(self.splits[split], split),
            batch_sampler=order,
            num_workers=workers,
            collate_fn=_Collate(self.spec, split),
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(0),  # seeds the workers; without one, the run's would be drawn from
        )
        batches = iter(loader)
        try:
            for batch in batches:
                if isinstance(batch, _Unreadable):
                    raise UserError(batch.sentence)
                inputs, targets = batch
                yield inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)
        finally:
            del batches  # the last reference: its workers stop now


@dataclass(frozen=True)
class _Order:
    """The batches of `batch_order`, for a DataLoader: one without end, so that workers start once."""

    num: int
    batch_size: int
    seed: int
    frozen: bool

    def __iter__(self) -> Iterator[list[int]]:
        return (chosen.tolist() for chosen in batch_order(self.num, self.batch_size, self.seed, self.frozen))


@dataclass(frozen=True)
class _Sequence:
    """The batches of a split in the order of its examples."""

    num: int
    batch_size: int

    def __iter__(self) -> Iterator[list[int]]:
        return (
            list(range(start, min(start + self.batch_size, self.num))) for start in range(0, self.num, self.batch_size)
        )


class _Part(MapDataset[Any]):
    """The examples at some places of another data set, and their classes where these are known."""

    def __init__(self, examples: MapDataset[Any], places: np.ndarray, classes: np.ndarray | None) -> None:
        self.examples, self.places = examples, places
        self.targets = None if classes is None else classes[places]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        return self.examples[int(self.places[index])]


@dataclass(frozen=True)
class _Unreadable:
    """What comes from a worker in place of a batch: an exception would come wrapped in its traceback."""

    sentence: str


class _Told(MapDataset[Any]):
    """Another data set, its exceptions returned as sentences."""

    def __init__(self, examples: MapDataset[Any], split: str) -> None:
        self.examples, self.split = examples, split

    def __getitem__(self, index: int) -> Any:
        try:
            return self.examples[index]
        except UserError as error:
            return _Unreadable(one_line(error))
        except Exception as error:
            what = f"{type(error).__name__}: {one_line(error)}"
            return _Unreadable(f"data: example {index} of {self.split} must be readable, got {what}; mend its loader")


@dataclass(frozen=True)
class _Collate:
    """A batch of examples, held to what the data set says of itself; in the worker, where it costs least."""

    spec: DataSpec
    split: str

    def __call__(self, examples: list[Any]) -> Batch | _Unreadable:
        for example in examples:
            if isinstance(example, _Unreadable):
                return example
        try:
            inputs, targets = zip(*examples, strict=True)
            x = [torch.as_tensor(part) for part in inputs]
            y = torch.stack([torch.as_tensor(part) for part in targets])
        except (TypeError, ValueError, RuntimeError) as error:
            return self._refused(f"a pair of input and target, got {type(examples[0]).__name__} ({one_line(error)})")
        if wrong := [tuple(part.shape) for part in x if tuple(part.shape) != self.spec.input_shape]:
            return self._refused(f"an input of shape {list(self.spec.input_shape)}, got {list(wrong[0])}")
        batch = torch.stack(x)
        if self.spec.num_tokens is not None:
            batch = batch.long()
        elif batch.is_floating_point():
            batch = batch.float()
        if self.spec.task != "classification":
            y = y.float().reshape(len(y), -1)
            if y.shape[1] != self.spec.num_outputs:
                return self._refused(f"a target of {self.spec.num_outputs} values, got {y.shape[1]}")
            return batch, y
        if y.is_floating_point() or tuple(y.shape[1:]) != self.spec.target_shape:
            return self._refused(
                f"whole-number classes of shape {list(self.spec.target_shape)}, got {y.dtype} of {list(y.shape[1:])}"
            )
        if int(y.min()) < 0 or int(y.max()) >= self.spec.num_outputs:
            outside = int(y.min()) if int(y.min()) < 0 else int(y.max())
            return self._refused(f"a class from 0 to {self.spec.num_outputs - 1}, got {outside}")
        return batch, y.long()

    def _refused(self, what: str) -> _Unreadable:
        return _Unreadable(f"data: every example of {self.split} must have {what}; mend its loader")
