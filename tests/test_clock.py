"""The stopwatch adds up, the yardstick is shared, and the rule of timing quality is the documented one."""

from __future__ import annotations

import random
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.clock import Noise, Stopwatch, Yardstick, timing_quality


def test_counters_add_up_to_the_whole() -> None:
    watch = Stopwatch(torch.device("cpu"))
    started = time.perf_counter()
    for name in ("train", "eval", "train", "log", "rest"):
        watch.switch(name)
        time.sleep(0.002)
    watch.switch("rest")
    assert sum(watch.seconds.values()) == watch.total
    assert 0.01 <= watch.total <= time.perf_counter() - started + 1e-3
    assert watch.seconds["train"] >= 0.004


@pytest.mark.parametrize(
    ("share", "slowdown", "threads", "load", "quality"),
    [
        (1.0, 1.0, 0.5, 0.5, "clean"),
        (0.97, 1.15, 1.0, 1.0, "clean"),
        (None, 1.0, 0.5, 0.5, "clean"),
        (0.96, 1.0, 0.5, 0.5, "noisy"),
        (1.0, 1.2, 0.5, 0.5, "noisy"),
        (1.0, 1.0, 0.5, 1.5, "noisy"),
        (0.89, 1.0, 0.5, 0.5, "contended"),
        (1.0, 1.6, 0.5, 0.5, "contended"),
        (1.0, 1.0, 1.5, 0.5, "contended"),
    ],
)
def test_timing_quality(share: float | None, slowdown: float, threads: float, load: float, quality: str) -> None:
    assert timing_quality(share, slowdown, threads, load) == quality


@given(
    st.one_of(st.none(), st.floats(0, 1)), st.floats(1, 5), st.floats(0, 4), st.floats(0, 4),
    st.floats(0, 0.5), st.floats(0, 2), st.floats(0, 2), st.floats(0, 2),
)  # fmt: skip
def test_more_disturbance_is_never_better(
    share: float | None, slow: float, threads: float, load: float, d: float, e: float, f: float, g: float
) -> None:
    order = ("clean", "noisy", "contended")
    worse = timing_quality(None if share is None else share - d, slow + e, threads + f, load + g)
    assert order.index(worse) >= order.index(timing_quality(share, slow, threads, load))


def test_neighbours_share_a_reading_of_the_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    yardstick = Yardstick()
    first = yardstick.seconds()
    assert yardstick.seconds() == first
    monkeypatch.setattr(Yardstick, "MAX_AGE_S", 0.0)
    readings = {yardstick.seconds() for _ in range(3)}
    assert len(readings) > 1
    assert yardstick.best == min(readings | {first})


def test_noise_of_a_thread_that_sleeps_is_contended_and_of_one_that_works_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.measure.clock.YARDSTICK", Yardstick())
    noise = Noise("cpu", 1, 4)
    time.sleep(0.05)
    asleep = noise.row()
    assert asleep["cpu_share"] < 0.5  # type: ignore[operator]
    assert asleep["timing_quality"] == "contended"
    threads = Noise("cpu", 2, 4)  # a thread that waits for others tells nothing
    time.sleep(0.01)
    assert threads.row()["cpu_share"] < 0.5  # type: ignore[operator]
    beside = Noise("cpu", 1, 4, num_jobs_beside=4)
    sum(range(100_000))
    assert beside.row()["timing_quality"] == "contended"
    assert beside.row()["num_jobs_beside"] == 4


def test_the_record_draws_from_no_generator() -> None:
    torch.manual_seed(3)
    random.seed(3)
    states = torch.get_rng_state(), random.getstate()
    Noise("cpu", 1, 4).row()
    Yardstick().seconds()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
