"""Interleaved timing: what is called, in which order, in blocks of what length, and what comes out."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest
import torch

from bench import paired
from bench.paired import Arm, interleaved

CPU = torch.device("cpu")


def spin(seconds: float) -> Callable[[], None]:
    def once() -> None:
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass

    return once


def test_ratios_and_seconds_are_of_one_call() -> None:
    slow, fast = (Arm(lambda: None, spin(s)) for s in (0.0006, 0.0002))
    timings = interleaved([slow, fast], 1, 15, CPU)
    assert timings[1].ratio == 1
    assert timings[0].ratio == pytest.approx(3, rel=0.2)
    assert timings[0].seconds == pytest.approx(0.0006, rel=0.2)
    assert timings[0].host_seconds == pytest.approx(timings[0].seconds, rel=0.1)


def test_blocks_are_long_enough_for_the_clock() -> None:
    (timing,) = interleaved([Arm(lambda: None, lambda: None)], 0, 3, CPU)
    assert timing.calls_per_block > 1000
    assert timing.timer_share < paired.MAX_TIMER_SHARE
    (timing,) = interleaved([Arm(lambda: None, spin(0.002))], 0, 3, CPU)
    assert timing.calls_per_block == 1


def test_reads_inside_a_call_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "timer_cost", lambda: 1e-6)
    (timing,) = interleaved([Arm(lambda: None, spin(0.003), reads=6)], 0, 3, CPU)
    assert timing.timer_share == pytest.approx(8e-6 / 0.003, rel=0.2)


def test_every_round_visits_all_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []
    arms = [Arm(lambda i=i: order.append(i), spin(0.0)) for i in range(3)]  # type: ignore[misc]
    monkeypatch.setattr(paired, "_calls_per_block", lambda *_: 1)
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


def test_bandwidth_is_of_this_planet() -> None:
    assert 1e8 < paired.bandwidth(CPU, 2**26) < 1e13
