"""A GPU for each process of a pool."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

_held: IO[str] | None = None


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` gives them; starts none of them."""
    import torch

    num = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(i) for i in range(num)] if given is None else given.split(",")
    return [name.strip() for name in names[:num]]


def take_gpu(gpus: Sequence[str], folder: Path) -> None:
    """Let this process see one GPU only, one that no other process of the pool has; it keeps it.

    Must come before the process uses CUDA.

    Who has which is written in locks, which fall with a process however it ends.

    Args:
        gpus: What there is, as many as there are processes or more; empty where the pool works on the CPU.
        folder: Of the locks, the same for all processes of the pool.
    """
    global _held
    if _held is not None:
        return
    for i, gpu in enumerate(gpus):
        lock = (folder / f"gpu-{i}").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        _held = lock
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return
