"""What is timed, and how: one stopwatch whose counters add up to the whole."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable

import torch


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Return a function that returns once all work queued on `device` is done."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    if device.type == "mps":
        return torch.mps.synchronize
    return lambda: None


class Stopwatch:
    """Books every second since it was made on one of several counters.

    `switch(name)` waits for the device, reads the clock once, books the time since the last switch on
    the counter that was running and starts `name`. Nothing is counted twice and nothing is lost.
    """

    def __init__(self, device: torch.device, counter: str = "rest") -> None:
        self._synchronize = synchronizer(device)
        self.seconds: dict[str, float] = defaultdict(float)
        self._counter = counter
        self._started = time.perf_counter()

    def switch(self, counter: str) -> None:
        """Book the time since the last switch, and start `counter`."""
        self._synchronize()
        now = time.perf_counter()
        self.seconds[self._counter] += now - self._started
        self._counter, self._started = counter, now

    @property
    def total(self) -> float:
        """Seconds booked so far, all counters together."""
        return sum(self.seconds.values())


class Yardstick:
    """A fixed piece of work on one core, timed now and then: how fast this machine is just now.

    It hashes, and touches neither torch nor a random generator. A reading of the last second is used
    again, so that sweeps of short runs do not pay for one each.
    """

    MAX_AGE_S = 1.0

    def __init__(self) -> None:
        self._block = bytes(2**20)
        self._read_at = -math.inf
        self._seconds = math.nan
        self.best = math.inf

    def seconds(self) -> float:
        """Return the seconds of the work, now or up to a second ago."""
        if time.perf_counter() - self._read_at > self.MAX_AGE_S:
            readings = []
            for _ in range(7):
                started = time.perf_counter()
                hashlib.sha256(self._block).digest()
                readings.append(time.perf_counter() - started)
            self._seconds = statistics.median(readings)
            self.best = min(self.best, self._seconds)
            self._read_at = time.perf_counter()
        return self._seconds


YARDSTICK = Yardstick()


class Noise:
    """What may have disturbed a measurement, from when this was made until `row`.

    Args:
        device: The device that computes: cpu, cuda or mps.
        num_threads: Threads of torch's CPU operators.
        num_cores: Cores that this process may use.
        num_jobs_beside: Other runs known to be in flight; None where nobody looked.
        waits: Whether the thread waits for other processes of its own, such as loader workers.
    """

    def __init__(
        self,
        device: str,
        num_threads: int,
        num_cores: int,
        num_jobs_beside: int | None = None,
        waits: bool = False,
    ) -> None:
        self._waits = waits
        self._device, self._num_threads, self._num_cores = device, num_threads, num_cores
        self._num_jobs_beside = num_jobs_beside
        self._yardstick_s = YARDSTICK.seconds()
        self._usage = resource.getrusage(resource.RUSAGE_SELF)
        self._thread_s, self._wall_s = time.thread_time(), time.perf_counter()

    def row(self) -> dict[str, float | int | str | None]:
        """Return the columns of the tables that record noise."""
        thread_s, wall_s = time.thread_time() - self._thread_s, time.perf_counter() - self._wall_s
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yardstick_s = max(self._yardstick_s, YARDSTICK.seconds())
        load, cpu_share = os.getloadavg()[0], thread_s / wall_s
        return {
            "timing_quality": timing_quality(
                cpu_share if self._device == "cpu" and self._num_threads == 1 and not self._waits else None,
                yardstick_s / YARDSTICK.best,
                (1 + (self._num_jobs_beside or 0)) * self._num_threads / self._num_cores,
                load / self._num_cores,
            ),
            "load_1min": load,
            "cpu_s": usage.ru_utime + usage.ru_stime - self._usage.ru_utime - self._usage.ru_stime,
            "cpu_share": cpu_share,
            "yardstick_ms": 1e3 * yardstick_s,
            "yardstick_best_ms": 1e3 * YARDSTICK.best,
            "gpu_clock_mhz": _gpu_clock_mhz() if self._device == "cuda" else None,
            "num_involuntary_switches": usage.ru_nivcsw - self._usage.ru_nivcsw,
            "num_jobs_beside": self._num_jobs_beside,
        }


def timing_quality(cpu_share: float | None, slowdown: float, threads_per_core: float, load_per_core: float) -> str:
    """Return how far a time can be trusted: clean, noisy or contended. A contended time ranks nothing.

    - contended: the thread had the CPU for less than 90 % of the time, or the yardstick beside it took
      more than 1.5 times its best, or the runs known to be in flight have more threads than there are cores;
    - noisy: less than 97 %, or more than 1.15 times, or a load average above the number of cores;
    - clean: otherwise.

    Args:
        cpu_share: CPU time of the thread over wall-clock time; None where it says nothing, since the
            thread waits for a GPU or for other threads.
        slowdown: Yardstick over its best, >= 1.
        threads_per_core: Threads of the runs in flight over cores.
        load_per_core: Load average of the last minute over cores.
    """
    share = 1.0 if cpu_share is None else cpu_share
    if share < 0.90 or slowdown > 1.5 or threads_per_core > 1:
        return "contended"
    if share < 0.97 or slowdown > 1.15 or load_per_core > 1:
        return "noisy"
    return "clean"


def _gpu_clock_mhz() -> float | None:
    try:
        return float(torch.cuda.clock_rate())
    except Exception:  # it needs NVML, which is not everywhere
        return None
