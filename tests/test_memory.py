"""The tracker: every storage once, freed when it dies, each byte in one category, peaks by phase."""

from __future__ import annotations

import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.measure.memory_tracker import CATEGORIES, PeakMemory, StorageTracker, return_free_memory

CPU = torch.device("cpu")


def test_a_storage_counts_once_however_many_views() -> None:
    with StorageTracker(CPU) as tracker, tracker.phase("forward"):
        x = torch.zeros(100)
        views = [x[:10], x.view(10, 10), x.t(), x.detach(), x.expand(7, 100), x.untyped_storage()]
        y = torch.zeros(50)
    assert tracker.peaks["forward"].num_bytes == 4 * 150
    assert len(views) + len(y)


def test_a_storage_lives_as_long_as_its_last_view() -> None:
    with StorageTracker(CPU) as tracker, tracker.phase("forward"):
        x = torch.zeros(1000)
        view = x[:1]
        del x
        a = torch.zeros(1)
        del view
        b = torch.zeros(100)
    assert tracker.peaks["forward"].num_bytes == 4 * 1001
    with tracker, tracker.phase("step"):
        pass
    assert tracker.peaks["step"].num_bytes == a.nbytes + b.nbytes


@given(program=st.lists(st.tuples(st.integers(0, 50), st.booleans(), st.integers(0, 10**6)), max_size=40))
def test_the_peak_is_that_of_a_ledger_kept_by_hand(program: list[tuple[int, bool, int]]) -> None:
    live: list[torch.Tensor] = []
    peak = 0
    with StorageTracker(CPU) as tracker, tracker.phase("backward"):
        for size, is_free, which in program:
            if is_free and live:
                del live[which % len(live)]
            else:
                live.append(torch.empty(size, dtype=torch.float64))
            peak = max(peak, sum(8 * len(x) for x in live))
    assert tracker.peaks["backward"].num_bytes == peak
    assert sum(tracker._now.values()) == sum(8 * len(x) for x in live)


def test_in_place_and_resized() -> None:
    with StorageTracker(CPU) as tracker, tracker.phase("step"):
        x = torch.zeros(10)
        x.add_(1).mul_(2)
        assert tracker.peaks["step"].num_bytes == 40
        x.resize_(100)
    assert tracker.peaks["step"].num_bytes == 400


def test_sparse_tensors_are_their_indices_and_values() -> None:
    embedding = torch.nn.Embedding(1000, 8, sparse=True)
    with StorageTracker(CPU) as tracker:
        with tracker.phase("forward"):
            loss = embedding(torch.tensor([1, 2, 3])).sum()
        with tracker.phase("backward"):
            loss.backward()
        tracker.assign("gradients", [embedding.weight.grad])
    assert tracker._now["gradients"] == 3 * 8 * 4 + 3 * 8  # values, and int64 indices


def test_what_turns_out_later_moves_in_the_peaks_it_was_part_of_and_in_no_other() -> None:
    with StorageTracker(CPU) as tracker, tracker.phase("step"):
        state, scratch = torch.zeros(10), torch.zeros(5)
        del scratch
        late = torch.zeros(1)
        tracker.assign("optimizer_state", [state, late, None, 3])
        peak = tracker.peaks["step"]
        assert {k: v for k, v in peak.split.items() if v} == {"optimizer_state": 40, "temporaries": 20}
        assert tracker._now["optimizer_state"] == 44
        tracker.assign("temporaries", [state])  # what has its place keeps it
        tracker.assign("gradients", [state])
        assert tracker._now["optimizer_state"] == 44
    assert peak.num_bytes == 60


def test_phases_nest_and_begin_at_what_lives() -> None:
    with StorageTracker(CPU) as tracker, tracker.phase("step"):
        x = torch.zeros(4)
        with tracker.phase("forward"):
            y = torch.zeros(2)
        with tracker.phase("backward"):
            pass
        z = torch.zeros(1)
    assert [tracker.peaks[p].num_bytes for p in ("forward", "backward", "step")] == [24, 24, 28]
    assert tracker.peaks["step"].split == dict.fromkeys(CATEGORIES, 0) | {"activations": y.nbytes, "temporaries": 20}
    assert tracker.peak_phase == "step"
    assert x.nbytes + z.nbytes == 20


def test_outside_of_phases_bytes_are_booked_but_set_no_peak() -> None:
    with StorageTracker(CPU) as tracker:
        x = torch.zeros(100)
        del x
        with tracker.phase("forward"):
            pass
    assert tracker.peaks["forward"].num_bytes == 0


def test_other_devices_are_not_booked() -> None:
    with StorageTracker(CPU) as tracker, tracker.phase("forward"):
        torch.zeros(100, device="meta")
    assert tracker.peaks["forward"].num_bytes == 0


def test_cuda_rounds_to_blocks() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), StorageTracker(torch.device("cuda")) as tracker, tracker.phase("forward"):
        kept = [torch.zeros(1, device="cuda"), torch.zeros(128, device="cuda"), torch.zeros(129, device="cuda")]
    assert tracker.peaks["forward"].num_bytes == 512 + 512 + 1024
    assert len(kept) == 3


def test_the_tracker_keeps_nothing_alive() -> None:
    with StorageTracker(CPU) as tracker, tracker.phase("forward"):
        x = torch.zeros(10)
        reference = weakref.ref(x.untyped_storage())
        del x
        assert reference() is None
        assert tracker._blocks == {}


def test_the_peak_of_the_process_is_null_where_it_cannot_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.measure.memory_tracker._reset_peak", lambda: False)
    assert PeakMemory(CPU).row() == {"baseline_rss_mib": None, "peak_rss_mib": None}


def test_the_peak_of_the_process_sees_what_was_touched_and_freed() -> None:
    return_free_memory()
    watch = PeakMemory(CPU)
    row = watch.row()
    if row["peak_rss_mib"] is None or row["baseline_rss_mib"] is None:
        pytest.skip("this system cannot reset the peak resident set")
    x = torch.ones(2**24)
    del x
    row = watch.row()
    assert row["peak_rss_mib"] is not None
    assert row["baseline_rss_mib"] is not None
    assert 60 < row["peak_rss_mib"] - row["baseline_rss_mib"] < 90
