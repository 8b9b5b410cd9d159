"""Peak memory of a run: of the process, and of the GPU's allocator."""

from __future__ import annotations

import re
from pathlib import Path

import torch

MIB = 2**20


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
        """The columns of `runs` that record memory."""
        columns: dict[str, float | None] = {
            "baseline_rss_mib": self._baseline,
            "peak_rss_mib": None if self._baseline is None else _resident("VmHWM"),
        }
        if self._device.type == "cuda":
            columns["peak_allocated_mib"] = torch.cuda.max_memory_allocated(self._device) / MIB
            columns["peak_reserved_mib"] = torch.cuda.max_memory_reserved(self._device) / MIB
        return columns


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
