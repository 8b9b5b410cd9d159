"""Device, threads, precision and determinism."""

from __future__ import annotations

import os
import random
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy
import torch


class Unavailable(Exception):
    """What a person asked for does not exist on this machine or in this torch; its text says why."""


def resolve(name: str) -> torch.device:
    """Return the device of that name.

    Args:
        name: cpu, cuda, mps, or auto: the first of cuda, mps, cpu that is there.

    Raises:
        Unavailable: This machine has no such device.
    """
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        why = "torch sees no CUDA GPU" if torch.version.cuda else "this torch is built without CUDA"
        raise Unavailable(f"device=cuda is not available on this machine: {why}; use device=cpu or device=auto")
    if name == "mps" and not has_mps:
        raise Unavailable(
            "device=mps is not available on this machine: torch sees no Apple GPU; use device=cpu or device=auto"
        )
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which forward passes run at that precision: fp32, tf32 or bf16.

    Raises:
        Unavailable: The device cannot compute so.
    """
    if precision == "tf32" and not (device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)):
        raise Unavailable(
            f"device.precision=tf32 is not available on {device.type}: it needs a CUDA GPU of compute"
            " capability 8.0 or later; use device.precision=fp32"
        )
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def free_bytes(device: torch.device) -> int:
    """Return the memory of a device that nothing uses; 0 where the machine does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, on the CPU or a GPU."""
    text = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in text for words in ("DefaultCPUAllocator", "out of memory", "not enough memory"))
    )


def reset(device: torch.device, threads: int, precision: str, seed: int) -> None:
    """Put every global switch where each run starts, whatever the run before it left behind.

    Args:
        device: Where the run will take place.
        threads: Threads of torch's CPU operators, >= 1.
        precision: fp32, tf32 or bf16.
        seed: Seeds torch (all devices), NumPy and `random`.
    """
    torch.set_num_threads(threads)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(True)
    if torch.are_deterministic_algorithms_enabled():  # Switching alone imports torch._inductor, a second.
        torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if "torch._dynamo" in sys.modules:  # what earlier runs compiled counts against a limit
        sys.modules["torch._dynamo"].reset()
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
