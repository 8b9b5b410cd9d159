"""Data sets in memory: splits, specification, batch order, and how tensors become one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import UserError

SPLITS = ("train", "val", "test")


Batch = tuple[Tensor, Tensor]
"""Inputs and targets of some examples."""


TASKS = {"classification": "cross_entropy", "regression": "mse", "objective": "mean"}
"""What is to be learnt, and the name of the loss that goes with it."""


@dataclass(frozen=True)
class DataSpec:
    """What a model must know of its data.

    Attributes:
        input_shape: Shape of one example, without the batch.
        num_outputs: Classes, or values to predict.
        task: "classification" (minimises cross-entropy), "regression" (mean squared error), or
            "objective" (the mean of what the model returns: it is the loss itself).
        target_shape: Of one example's classes: () for one class, (length,) for one at each place of a
            sequence. A model's output has the shape (N, *target_shape, num_outputs).
        num_tokens: Where inputs are whole numbers that stand for words or characters, how many there
            are; None otherwise.
    """

    input_shape: tuple[int, ...]
    num_outputs: int
    task: str
    target_shape: tuple[int, ...] = ()
    num_tokens: int | None = None

    @property
    def loss(self) -> str:
        """Name of what is minimised unless something else is asked for."""
        return TASKS[self.task]


@dataclass(frozen=True)
class Dataset:
    """Three splits in memory, on one device.

    Attributes:
        splits: For train, val and test, inputs (N, *input_shape) and targets: int64
            (N, *target_shape) for classification, float32 (N, num_outputs) otherwise.
        fingerprint: Hash of every input and target; of data that is `limited`, of that and of which examples are left.
        shapes_only: Whether only shapes and dtypes mean something: for memory, not for training.
        optimum: The lowest mean training loss of the model that the data was made for, where it is
            known in closed form: the gap to it is recorded.
        optimum_of: That model, by its `_target_`.
        reads_files: Whether making a batch waits for other processes that read files.

    Example:
        >>> split = torch.zeros(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
        >>> data = from_tensors({"train": split, "val": split, "test": split})
        >>> data.spec.task, data.spec.num_outputs, data.size("train"), data.steps_per_epoch(4)
        ('classification', 3, 6, 2)
        >>> [len(inputs) for inputs, _ in data.in_order("val", 4)]
        [4, 2]
    """

    spec: DataSpec
    splits: dict[str, Batch]
    fingerprint: str
    shapes_only: bool = False
    optimum: float | None = None
    optimum_of: str = ""
    reads_files: bool = False

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the number of batches that go once through the training set."""
        return math.ceil(self.size("train") / batch_size)

    def size(self, split: str) -> int:
        """Return the number of examples of a split."""
        return len(self.splits[split][0])

    def to(self, device: torch.device) -> Dataset:
        """Return the same data on another device. Examples that share their memory (stride 0) still do there."""
        moved = {split: (_moved(x, device), _moved(y, device)) for split, (x, y) in self.splits.items()}
        return replace(self, splits=moved)

    def sample_batch(self, num: int) -> Batch:
        """Return the first training examples, as copies: to try a model on, not to learn from."""
        inputs, targets = (part[:num].clone(memory_format=torch.contiguous_format) for part in self.splits["train"])
        return inputs, targets

    def shuffled(self, batch_size: int, seed: int, frozen: bool = False) -> Iterator[Batch]:
        """Yield training batches without end, gathered on the device of the data.

        Args:
            batch_size: Examples in each; the last of an epoch holds what is left.
            seed: Of the order, which nothing else draws from.
            frozen: Every epoch in the order of the first; otherwise each in a new one.
        """
        inputs, targets = self.splits["train"]
        for chosen in batch_order(len(inputs), batch_size, seed, frozen, inputs.device):
            yield inputs[chosen], targets[chosen]

    def in_order(self, split: str, batch_size: int) -> Iterator[Batch]:
        """Yield a split once, in batches; copies, for a model may change its input in place."""
        for batch, wanted in zip(*(part.split(batch_size) for part in self.splits[split]), strict=True):
            yield batch.clone(), wanted

    def class_counts(self) -> list[int] | None:
        """Return the number of training examples of each class; None where an example has no single class."""
        classes = self.train_classes()
        return None if classes is None else np.bincount(classes, minlength=self.spec.num_outputs).tolist()

    def train_classes(self) -> np.ndarray | None:
        """Return the class of each training example, shape (N,); None where an example has no single class."""
        if self.spec.task != "classification" or self.spec.target_shape or self.shapes_only:
            return None
        return self.splits["train"][1].numpy(force=True)

    def limited(self, num_train: int) -> Dataset:
        """Return the same data with fewer training examples, those of a smaller number among those of a larger.

        They are the first of one order of all training examples, kept in their old places: that of
        `stratified_order` where each has one class, so that the classes keep their shares, else a permutation;
        it is the same on every machine. Val and test stay what they are, and so does what was taken from all
        of train when it was loaded, such as a vocabulary, or mean and deviation. The lowest possible loss is
        not known any more.

        Args:
            num_train: Training examples, from 1.

        Returns:
            With a fingerprint of its own, also where `num_train` is all of them.

        Raises:
            UserError: There are not so many.
        """
        num = self.size("train")
        if num_train > num:
            raise UserError(
                f"data.num_train must be at most {num:,}, the training examples there are, got {num_train:,};"
                " leave it out for all of them"
            )
        classes = self.train_classes()
        order = stratified_order(np.zeros(num) if classes is None else classes)
        places = np.sort(order[:num_train])
        digest = hashlib.sha256(self.fingerprint.encode() + places.astype("<i8").tobytes())
        return replace(
            self,
            splits=self.splits | {"train": self._train_at(places)},
            fingerprint=digest.hexdigest()[:12],
            optimum=None,
        )

    def _train_at(self, places: np.ndarray) -> Any:
        """Return what `splits` holds as train, with the examples at these places only."""
        inputs, targets = self.splits["train"]
        chosen = torch.from_numpy(places).to(inputs.device)
        return _at(inputs, chosen), _at(targets, chosen)


def batch_order(
    num: int, batch_size: int, seed: int, frozen: bool = False, device: torch.device | str = "cpu"
) -> Iterator[Tensor]:
    """Yield the indices of training batches without end, each epoch a permutation, the same on every device.

    Args:
        num: Training examples.
        batch_size: Indices in each; the last of an epoch holds what is left.
        seed: Of the generator, which nothing else draws from.
        frozen: Every epoch in the order of the first.
        device: Where the indices go, an epoch at a time: a copy a step would wait for the GPU.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num, generator=generator).to(device)
    while True:
        yield from order.split(batch_size)
        if not frozen:
            order = torch.randperm(num, generator=generator).to(device)


def as_dataset(returned: Any) -> Dataset:
    """Check what a loader returned, and make a `Dataset` of it; one that is ready stays as it is.

    Raises:
        UserError: It is not three pairs of equally many inputs and targets, a split is empty, or a
            class is negative.
    """
    if isinstance(returned, Dataset):
        return returned
    try:
        pairs = {
            split: (torch.as_tensor(inputs), torch.as_tensor(targets))
            for split, (inputs, targets) in zip(SPLITS, returned, strict=True)
        }
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            "data must be three pairs (train, val, test) of inputs and targets as tensors or arrays,"
            f" got {type(returned).__name__} ({error}); return ((x, y), (x, y), (x, y))"
        ) from None
    return from_tensors(pairs)


def from_tensors(
    pairs: Mapping[str, Batch],
    task: str | None = None,
    num_outputs: int | None = None,
    num_tokens: int | None = None,
    optimum: float | None = None,
    optimum_of: str = "",
) -> Dataset:
    """Make a data set in memory, from inputs and targets of train, val and test.

    Args:
        pairs: Inputs and targets of each split.
        task: A key of `TASKS`; None: classification where all targets are one whole number each,
            regression otherwise. A class at each place of a sequence must say "classification".
        num_outputs: Classes; None: the highest that occurs, and one.
        num_tokens: How many different whole numbers inputs may hold, where they stand for words.
        optimum: The lowest mean training loss, where it is known.
        optimum_of: The `_target_` of the model of which it is.

    Raises:
        UserError: There are not as many inputs as targets, a split is empty, shapes or kinds differ
            between splits, or a class or token is out of its range.
    """
    pairs = {split: (_plain(x), _plain(y)) for split, (x, y) in pairs.items()}
    _check_lengths_and_shapes(pairs)
    if num_tokens is not None:
        pairs = {split: (x.long(), y) for split, (x, y) in pairs.items()}
        _check_tokens(pairs, num_tokens)
    _check_kinds(pairs)
    if task is None:
        task, pairs = _task_of(pairs)
    target_shape: tuple[int, ...] = ()
    if task == "classification":
        num_outputs = _num_classes(pairs, num_outputs)
        target_shape = tuple(pairs["train"][1].shape[1:])
        splits = {split: (_inputs(x), y.long().contiguous()) for split, (x, y) in pairs.items()}
    else:
        splits = {split: (_inputs(x), y.float().reshape(len(y), -1)) for split, (x, y) in pairs.items()}
        num_outputs = splits["train"][1].shape[1]
    spec = DataSpec(tuple(pairs["train"][0].shape[1:]), num_outputs, task, target_shape, num_tokens)
    return Dataset(spec, splits, _fingerprint(splits), optimum=optimum, optimum_of=optimum_of)


def _check_lengths_and_shapes(pairs: Mapping[str, Batch]) -> None:
    for split, (x, y) in pairs.items():
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise UserError(
                f"data: {split} must have as many inputs as targets, and at least one,"
                f" got inputs of shape {list(x.shape)} and targets of shape {list(y.shape)}"
            )
    shapes = {tuple(x.shape[1:]) for x, _ in pairs.values()}
    if len(shapes) > 1:
        raise UserError(f"data: inputs of all splits must have one shape, got {sorted(shapes)}")


def _check_tokens(pairs: Mapping[str, Batch], num_tokens: int) -> None:
    for split, (x, _) in pairs.items():
        if int(x.min()) < 0 or int(x.max()) >= num_tokens:
            raise UserError(
                f"data: tokens must be whole numbers from 0 to {num_tokens - 1},"
                f" got {int(x.min())} to {int(x.max())} in {split}"
            )


def _check_kinds(pairs: Mapping[str, Batch]) -> None:
    if len({_kind(y) for _, y in pairs.values()}) > 1:
        told = ", ".join(f"{y.dtype} {list(y.shape)} in {split}" for split, (_, y) in pairs.items())
        raise UserError(f"data: targets of all splits must be of one kind and shape, got {told.replace('torch.', '')}")


def _kind(targets: Tensor) -> tuple[tuple[int, ...], bool]:
    """Return the shape of a target, and whether it is of floating-point numbers."""
    return tuple(targets.shape[1:]), targets.is_floating_point()


def _task_of(pairs: Mapping[str, Batch]) -> tuple[str, Mapping[str, Batch]]:
    """Return the task that targets of one kind stand for, and the pairs with classes as single numbers."""
    shape, is_floating = _kind(pairs["train"][1])
    if is_floating:
        return "regression", pairs
    if shape == (1,):
        return "classification", {split: (x, y.squeeze(1)) for split, (x, y) in pairs.items()}
    if shape:
        raise UserError(
            f"data: targets must be one whole number each for classes, or floating-point numbers for values, got"
            f" whole numbers of shape {list(shape)}; convert them"
        )
    return "classification", pairs


def _num_classes(pairs: Mapping[str, Batch], num_outputs: int | None) -> int:
    """Return the number of classes: what was said, or the highest that occurs, and one.

    Raises:
        UserError: A class is out of range, or they are not numbered from 0.
    """
    lowest = min(int(y.min()) for _, y in pairs.values())
    highest = max(int(y.max()) for _, y in pairs.values())
    if lowest < 0:
        raise UserError(f"data: classes must be whole numbers from 0, got {lowest}")
    if num_outputs is not None and highest >= num_outputs:
        raise UserError(f"data: classes must be whole numbers from 0 to {num_outputs - 1}, got {highest}")
    num_examples = sum(len(y) for _, y in pairs.values())
    if num_outputs is None and highest >= max(1000, num_examples):
        raise UserError(
            f"data: classes must be numbered 0, 1, 2, ..., got {highest} among {num_examples:,} examples;"
            " number them anew"
        )
    return num_outputs or 1 + highest


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor dense, without a graph, and of a kind that all operators know."""
    tensor = tensor.detach()
    tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
    return tensor.long() if tensor.dtype in (torch.uint16, torch.uint32, torch.uint64) else tensor


def _inputs(x: Tensor) -> Tensor:
    return (x.float() if x.is_floating_point() else x).contiguous()


def _at(tensor: Tensor, places: Tensor) -> Tensor:
    return tensor[: len(places)] if tensor.stride(0) == 0 else tensor[places]


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor[:1].to(device).expand_as(tensor) if tensor.stride(0) == 0 else tensor.to(device)


def _fingerprint(splits: dict[str, tuple[Tensor, Tensor]]) -> str:
    digest = hashlib.sha256()
    for tensors in splits.values():
        for tensor in tensors:
            digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
            digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()[:12]


def stratified_order(targets: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return an order of all examples in which every stretch holds the classes in their overall shares.

    Within a class the order is random. It is the same on every machine and for every NumPy:
    `RandomState` is frozen.

    Args:
        targets: Classes, shape (N,).
        seed: Which of the orders.

    Returns:
        Indices, shape (N,).
    """
    random = np.random.RandomState(seed)
    place = np.empty(len(targets))
    for label in np.unique(targets):
        members = random.permutation(np.flatnonzero(targets == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(place, kind="stable")
