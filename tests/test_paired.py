"""Interleaved timing: what is called, in which order, in blocks of what length, and what comes out."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest
import torch

from bench.step_cost import interleave
from bench.step_cost.interleave import Arm, interleaved

CPU = torch.device("cpu")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only what is timed moves on: `once` appends its seconds."""
    spent: list[float] = []

    def time_block(once: Callable[[], object], num_calls: int, device: torch.device) -> tuple[float, float]:
        spent.clear()
        for _ in range(num_calls):
            once()
        return sum(spent), 0.5 * sum(spent)

    monkeypatch.setattr("bench.step_cost.interleave.time_block", time_block)
    monkeypatch.setattr("bench.step_cost.interleave.timer_cost", lambda: 1e-7)
    return spent


def test_ratios_and_seconds_are_of_one_call(clock: list[float]) -> None:
    slow, fast = (Arm(lambda: None, lambda s=s: clock.append(s)) for s in (0.0006, 0.0002))  # type: ignore[misc]
    timings = interleaved([slow, fast], 1, 15, CPU)
    assert timings[1].ratio == 1
    assert timings[0].ratio == pytest.approx(3)
    assert timings[0].seconds == pytest.approx(0.0006)
    assert timings[0].host_seconds == pytest.approx(0.0003)


def test_a_disturbed_round_moves_no_median_and_a_drift_falls_on_all(clock: list[float]) -> None:
    count = iter(range(10**6))

    def drifting(seconds: float) -> Callable[[], None]:
        def once() -> None:
            number = next(count)
            clock.append(seconds * (1 + number / 1e5) * (50 if number % 97 == 0 else 1))

        return once

    timings = interleaved([Arm(lambda: None, drifting(s)) for s in (0.004, 0.002, 0.004)], 0, 15, CPU)
    assert timings[1].ratio == pytest.approx(0.5, rel=1e-3)
    assert timings[2].ratio == pytest.approx(1.0, rel=1e-3)


def test_blocks_are_long_enough_for_the_clock(clock: list[float]) -> None:
    for seconds in (1e-8, 1e-6, 1e-4, 1e-2):
        (timing,) = interleaved([Arm(lambda: None, lambda s=seconds: clock.append(s))], 0, 3, CPU)  # type: ignore[misc]
        assert timing.calls_per_block * seconds >= interleave.MIN_BLOCK_S
        assert timing.timer_share < interleave.MAX_TIMER_SHARE
    assert timing.calls_per_block == 1


def test_reads_inside_a_call_count(clock: list[float]) -> None:
    (timing,) = interleaved([Arm(lambda: None, lambda: clock.append(0.004), reads=6)], 0, 3, CPU)
    assert timing.timer_share == pytest.approx(8e-7 / 0.002)


def test_every_round_visits_all_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []
    arms = [Arm(lambda i=i: order.append(i), lambda: None) for i in range(3)]  # type: ignore[misc]
    monkeypatch.setattr("bench.step_cost.interleave._calls_per_block", lambda *_: 1)
    interleaved(arms, 0, 4, CPU)
    assert order == [0, 1, 2, 2, 1, 0] * 2


def test_the_collector_rests_during_blocks_and_is_left_as_it_was() -> None:
    seen = []
    arm = Arm(lambda: None, lambda: seen.append(gc.isenabled()) or time.sleep(0.002))
    interleaved([arm], 0, 2, CPU)
    assert not seen[-1]
    assert gc.isenabled()
    gc.disable()
    try:
        interleaved([arm], 0, 1, CPU)
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("state_bytes", [0, 2**26])
def test_least_traffic_runs_at_a_speed_that_memory_has(state_bytes: int) -> None:
    move = interleave.least_traffic(2**24, state_bytes, CPU)
    move()
    seconds, _ = interleave.time_block(move, 1, CPU)
    assert 1e8 < (12 * 2**24 + 2 * state_bytes) / seconds < 1e13
