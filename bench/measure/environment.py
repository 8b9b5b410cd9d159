"""Provenance of a run: versions, hardware, commit."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path

from bench.base.hashing import short_hash
from bench.base.paths import ROOT
from bench.base.version import __version__
from bench.config.schema import Config


def environment(device: str) -> dict[str, str | int | None]:
    """Return the columns of `runs` that say where a run took place.

    torch is imported only where `device` is a GPU, for its name.

    Args:
        device: cpu, cuda or mps.
    """
    return {
        **_host(),
        "gpu": _gpu() if device == "cuda" else _cpu() if device == "mps" else None,
    }


def device_name(config: Config) -> tuple[str, str | None]:
    """Return the device that a cell runs on, and why it can't where it can't. No torch for the CPU."""
    if config.device.name in ("cpu", "fake"):
        return config.device.name, None
    from bench.measure.device import Unavailable, resolve

    try:
        return resolve(config.device.name).type, None
    except Unavailable as error:
        return config.device.name, str(error)


def environment_id(columns: dict[str, str | int | None]) -> str:
    """Return six hexadecimal digits: the same hardware and the same Python and torch give the same ones.

    The machine's name, the commit and our own version do not count.
    """
    python = str(columns["python_version"]).rpartition(".")[0]
    kept = {key: columns[key] for key in ("torch_version", "os", "cpu", "num_cores", "gpu")}
    return short_hash({**kept, "python": python}, 6)


@functools.cache
def _host() -> dict[str, str | int | None]:
    return {
        "bench_version": __version__,
        "torch_version": importlib.metadata.version("torch"),
        "python_version": platform.python_version(),
        "os": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "num_cores": num_cores(),
        "hostname": platform.node(),
        "git_commit": _commit(),
    }


def num_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name()


@functools.cache
def last_cache_bytes() -> int | None:
    """Return the size of the CPU's last cache before memory, bytes; None where the machine does not say."""
    sizes = []
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        with suppress(OSError, ValueError, KeyError):
            text = (index / "size").read_text().strip()
            sizes.append((int((index / "level").read_text()), int(text[:-1]) * {"K": 2**10, "M": 2**20}[text[-1]]))
    if sizes:
        return max(sizes)[1]
    if platform.system() == "Darwin":
        found = [
            _output(["sysctl", "-n", key]) for key in ("hw.l3cachesize", "hw.perflevel0.l2cachesize", "hw.l2cachesize")
        ]
        return next((int(text) for text in found if text and text.isdigit() and int(text) > 0), None)
    return None


def _commit() -> str | None:
    if not (ROOT / ".git").exists():
        return None
    return _output(["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])


def _output(command: list[str]) -> str | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
