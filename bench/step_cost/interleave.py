"""Time several things in one process, paired and interleaved.

Every round visits all arms, in the order of the round before reversed (A B C, C B A, ...), so that a
drift of the machine falls on all alike; arms are compared within a round. What is timed runs in blocks
long enough that reading the clock costs under a thousandth.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from bench.measure.clock import synchronizer

MAX_TIMER_SHARE = 1e-3
"""Reading the clock may cost at most this share of a block."""


MIN_BLOCK_S = 1e-3
"""Shortest block: a dozen times what an interrupt takes."""


class ArmFailed(Exception):
    """An arm raised; the cause is its exception.

    Attributes:
        index: Which arm.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"arm {index} failed")
        self.index = index


@dataclass(frozen=True)
class Arm:
    """One of the things compared.

    Attributes:
        prepare: Called before each block, outside the clock.
        once: What is timed.
        reads: Times that `once` reads the clock itself, on average.
    """

    prepare: Callable[[], None]
    once: Callable[[], object]
    reads: float = 0.0


@dataclass(frozen=True)
class Timing:
    """The times of one arm.

    Attributes:
        seconds: Median over the rounds, of one call; on a CUDA GPU between device events.
        host_seconds: The same by the host's clock, which on a GPU stops when the call is queued.
        ratio: Median over the rounds of the ratio to the baseline's seconds in the same round.
        calls_per_block: Calls in a block.
        timer_share: Share of a block that reading the clock takes.
    """

    seconds: float
    host_seconds: float
    ratio: float
    calls_per_block: int
    timer_share: float


def interleaved(arms: Sequence[Arm], baseline: int, num_rounds: int, device: torch.device) -> list[Timing]:
    """Time all arms, round by round.

    Args:
        arms: What to time, each called at least twice before (warm).
        baseline: Index of the arm that ratios are taken to.
        num_rounds: Rounds, >= 1.
        device: Whose work is timed.

    Returns:
        A timing for each arm.

    Raises:
        ArmFailed: An arm raised.
    """
    timer_s = timer_cost()
    calls = [_calls_per_block(arm, i, timer_s, device) for i, arm in enumerate(arms)]
    seconds: list[list[float]] = [[] for _ in arms]
    host: list[list[float]] = [[] for _ in arms]
    order = list(range(len(arms)))
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(num_rounds):
            for i in order:
                elapsed, host_elapsed = _block(arms[i], i, calls[i], device)
                seconds[i].append(elapsed / calls[i])
                host[i].append(host_elapsed / calls[i])
            order.reverse()
    finally:
        if was_enabled:
            gc.enable()
    timings = []
    for arm, times, host_times, num in zip(arms, seconds, host, calls, strict=True):
        ratios = [a / b for a, b in zip(times, seconds[baseline], strict=True)]
        share = (2 / num + arm.reads) * timer_s / median(host_times)
        timings.append(Timing(median(times), median(host_times), median(ratios), num, share))
    return timings


def time_block(once: Callable[[], object], num_calls: int, device: torch.device) -> tuple[float, float]:
    """Return the seconds of some calls: on the device, and on the host until the last call returned."""
    calls = range(num_calls)
    synchronize = synchronizer(device)
    synchronize()
    if device.type == "cuda":
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        started = time.perf_counter()
        first.record()
        for _ in calls:
            once()
        last.record()
        host = time.perf_counter() - started
        synchronize()
        return first.elapsed_time(last) / 1e3, host
    started = time.perf_counter()
    for _ in calls:
        once()
    host = time.perf_counter() - started
    synchronize()
    return time.perf_counter() - started, host


def timer_cost() -> float:
    """Return the seconds that reading the clock once takes on this machine."""
    reads = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(1000):
            time.perf_counter()
        reads.append((time.perf_counter() - started) / 1001)
    return min(reads)


def _block(arm: Arm, index: int, num_calls: int, device: torch.device) -> tuple[float, float]:
    try:
        arm.prepare()
        return time_block(arm.once, num_calls, device)
    except Exception as error:
        raise ArmFailed(index) from error


def _calls_per_block(arm: Arm, index: int, timer_s: float, device: torch.device) -> int:
    """Return the number of calls that makes a block long enough."""
    least = max(MIN_BLOCK_S, 2 * timer_s / MAX_TIMER_SHARE)
    num = 1
    while True:
        elapsed = min(_block(arm, index, num, device)[0] for _ in range(2))
        if elapsed >= least or num >= 10**6:
            return num
        num = max(num + 1, math.ceil(1.2 * num * least / max(elapsed, timer_s)))


def least_traffic(num_parameters: int, state_bytes: int, device: torch.device) -> Callable[[], object]:
    """Return a call that moves the bytes which an optimizer step must move, by plain additions over flat arrays.

    It reads and writes the parameters, reads the gradients, and reads and writes the state, each once:
    12 bytes a parameter and 2 a byte of state, over arrays of the sizes that the optimizer's have. So
    the caches hold as much of them as they hold of the optimizer's. It is faster than any step can be
    that is bound by memory, and nothing is computed that would take longer.

    Args:
        num_parameters: How many, each in 4 bytes.
        state_bytes: Size of the state.
        device: Where the arrays lie.

    Raises:
        torch.OutOfMemoryError: The GPU has no room for them.
    """
    parameters, gradients = (torch.zeros(num_parameters, device=device) for _ in range(2))
    state = torch.zeros(state_bytes // 4, device=device)

    def move() -> None:
        parameters.add_(gradients)
        if len(state):
            state.add_(1.0)

    return move
