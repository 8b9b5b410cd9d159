"""Memory: peaks of the process and of the GPU's allocator, and every live tensor byte by what it is for."""

from __future__ import annotations

import ctypes
import gc
import re
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

MIB = 2**20


CATEGORIES = ("parameters", "gradients", "optimizer_state", "activations", "temporaries", "buffers", "inputs")
"""What a live tensor byte is for; every byte is in exactly one of them."""


PHASES = {"forward": "activations", "backward": "temporaries", "step": "temporaries"}
"""The parts of a training step, and what is born in each unless it turns out to be something else."""


CUDA_BLOCK = 512
"""Bytes to a multiple of which the CUDA caching allocator rounds every request."""


class PeakMemory:
    """Peaks since it was made; made right before training, after the warm-up was freed.

    The peak resident set of a process never falls by itself: it is reset through
    `/proc/self/clear_refs` (Linux, proc(5)), and where that cannot be done the columns stay empty.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.empty_cache()  # what earlier runs and the warm-up left reserved
            torch.cuda.reset_peak_memory_stats(device)
        self._baseline = _resident("VmRSS") if _reset_peak() else None

    def row(self) -> dict[str, float | None]:
        """Return the columns of `runs` that record memory."""
        columns: dict[str, float | None] = {
            "baseline_rss_mib": self._baseline,
            "peak_rss_mib": None if self._baseline is None else _resident("VmHWM"),
        }
        if self._device.type == "cuda":
            columns["peak_allocated_mib"] = torch.cuda.max_memory_allocated(self._device) / MIB
            columns["peak_reserved_mib"] = torch.cuda.max_memory_reserved(self._device) / MIB
        return columns


def return_free_memory() -> None:
    """Collect garbage, and hand what glibc keeps of freed memory back to the system, where it is glibc."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _resident(key: str) -> float | None:
    try:
        match = re.search(rf"^{key}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) / 1024 if match else None


@dataclass
class _Block:
    """A live storage. `reference` calls the tracker back when it is freed."""

    category: str
    num_bytes: int
    born: int
    reference: weakref.ref[torch.UntypedStorage]


@dataclass
class Peak:
    """The moment in which most bytes lived.

    Attributes:
        split: Bytes by category; they add up to the peak.
        at: Storages that had been born by then.
    """

    split: dict[str, int]
    at: int

    @property
    def num_bytes(self) -> int:
        """All bytes that lived."""
        return sum(self.split.values())


class StorageTracker(TorchDispatchMode):
    """Books every storage that an operator returns, from its birth to its end, in bytes.

    A storage counts once however many tensors view it. It sees what passes torch's dispatcher: not
    the workspace that a kernel allocates and frees inside one operator. Under `FakeTensorMode` it
    books the same storages though none is allocated.

    What a storage is for may show only later: a gradient is known when it is found in `p.grad`, a
    state when it is found in `optimizer.state`. So `assign` moves a block also in the peaks it was
    part of.

    Args:
        device: Where to look; storages elsewhere are not booked.

    Attributes:
        peaks: The peak of each phase so far, over all steps.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peaks: dict[str, Peak] = {}
        self._device = device
        self._blocks: dict[int, _Block] = {}
        self._now = dict.fromkeys(CATEGORIES, 0)
        self._num_born = 0
        self._phase: str | None = None

    @property
    def peak_phase(self) -> str:
        """The phase of the highest peak; the first of them, if several are as high."""
        return max(PHASES, key=lambda phase: self.peaks[phase].num_bytes if phase in self.peaks else -1)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Attribute peaks to that phase of the step until the context ends; phases may be nested (a closure)."""
        outer, self._phase = self._phase, name
        self._note_peak()
        try:
            yield
        finally:
            self._phase = outer

    def assign(self, category: str, tensors: Iterable[Any]) -> None:
        """Say what tensors are for: those not booked yet, and those booked as temporaries.

        Args:
            category: One of `CATEGORIES`.
            tensors: Those to book; whatever is no tensor is skipped.
        """
        for storage in self._storages(tensors):
            block = self._book(storage, category)
            if block.category == "temporaries" != category:
                for split in [self._now, *(peak.split for peak in self.peaks.values() if peak.at >= block.born)]:
                    split[block.category] -= block.num_bytes
                    split[category] += block.num_bytes
                block.category = category

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and book what it returned."""
        returned = func(*args, **kwargs or {})
        for storage in self._storages(tree_leaves(returned)):
            self._book(storage, PHASES.get(self._phase or "", "temporaries"))
        self._note_peak()
        return returned

    def _storages(self, tensors: Iterable[Any]) -> Iterator[torch.UntypedStorage]:
        for tensor in tensors:
            if not isinstance(tensor, Tensor) or tensor.device.type != self._device.type:
                continue
            if tensor.layout is torch.strided:
                yield tensor.untyped_storage()
            elif tensor.layout is torch.sparse_coo:
                yield tensor._indices().untyped_storage()
                yield tensor._values().untyped_storage()

    def _book(self, storage: torch.UntypedStorage, category: str) -> _Block:
        key, num_bytes = id(storage), storage.nbytes()
        if self._device.type == "cuda":
            num_bytes = -(-num_bytes // CUDA_BLOCK) * CUDA_BLOCK
        block = self._blocks.get(key)
        if block is None:
            self._num_born += 1
            reference = weakref.ref(storage, lambda _: self._free(key))
            block = self._blocks[key] = _Block(category, 0, self._num_born, reference)
        self._now[block.category] += num_bytes - block.num_bytes  # an operator may have resized it
        block.num_bytes = num_bytes
        return block

    def _free(self, key: int) -> None:
        block = self._blocks.pop(key)
        self._now[block.category] -= block.num_bytes

    def _note_peak(self) -> None:
        if self._phase is None:
            return
        peak = self.peaks.get(self._phase)
        if peak is None or sum(self._now.values()) > peak.num_bytes:
            self.peaks[self._phase] = Peak(dict(self._now), self._num_born)
