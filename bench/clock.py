"""What is timed, and how: one stopwatch whose counters add up to the whole."""

from __future__ import annotations

import os
import resource
import time
from collections import defaultdict
from collections.abc import Callable

import torch


def synchronizer(device: torch.device) -> Callable[[], None]:
    """A function that returns once all work queued on `device` is done."""
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


class Noise:
    """What may have disturbed a run: CPU time and preemptions of this process since it was made, and the load."""

    def __init__(self) -> None:
        self._start = resource.getrusage(resource.RUSAGE_SELF)

    def row(self) -> dict[str, float | int]:
        """The columns of `runs` that record noise."""
        now = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "load_1min": os.getloadavg()[0],
            "cpu_s": now.ru_utime + now.ru_stime - self._start.ru_utime - self._start.ru_stime,
            "num_involuntary_switches": now.ru_nivcsw - self._start.ru_nivcsw,
        }
