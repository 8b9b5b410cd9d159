"""Which times may be used: one rule for reports, claims and what claims run."""

from __future__ import annotations

import pandas as pd
import pytest

from bench.analysis.quality import enough_undisturbed, is_undisturbed
from bench.analysis.step_costs import MIN_PROCESSES, is_timed, newest_session


def session(name: str, processes: dict[str, int], quality: str = "clean", status: str = "ok") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"session_id": name, "started_at": name, "step_cost_id": cost, "process": process, "status": status,
             "timing_quality": quality}
            for cost, num in processes.items()
            for process in range(num)
        ]
    )  # fmt: skip


def test_a_time_counts_unless_it_was_contended_or_taken_beside_other_runs() -> None:
    rows = pd.DataFrame(
        [("clean", "local"), ("noisy", None), (None, "local"), ("contended", "local"), ("clean", "pool")],
        columns=["timing_quality", "launcher"],
    )
    for kind in (object, "string"):
        assert is_undisturbed(rows.astype(kind)).tolist() == [True, True, True, False, False]
    assert is_undisturbed(rows.drop(columns="launcher")).tolist() == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("num_clean", "num_contended", "enough"),
    [(5, 5, True), (5, 6, False), (4, 4, False), (4, 0, True), (2, 2, False), (4, 1, False), (0, 0, True)],
)
def test_enough_are_half_and_five_or_all_of_fewer(num_clean: int, num_contended: int, enough: bool) -> None:
    qualities = ["clean"] * num_clean + ["contended"] * num_contended
    assert enough_undisturbed(pd.DataFrame({"timing_quality": qualities})) == enough


def test_the_newest_session_of_these_is_taken_and_of_no_others() -> None:
    wanted = [{"a"}, {"b", "another b"}]
    whole = MIN_PROCESSES
    old, new = session("1", {"a": whole, "b": whole}), session("2", {"a": whole, "another b": whole})
    other, short = session("3", {"a": whole, "c": whole}), session("4", {"a": whole, "b": whole - 1})
    busy = session("5", {"a": whole, "b": whole}, quality="contended")
    failed = session("6", {"a": whole, "b": whole}, status="failed")
    rows = pd.concat([new, busy, old, failed, short, other], ignore_index=True)
    found = newest_session(rows, wanted)
    assert found is not None and set(found["session_id"]) == {"2"}
    assert newest_session(pd.concat([other, short, busy, failed]), wanted) is None
    assert is_timed(busy, wanted) and not is_timed(pd.concat([other, failed]), wanted)
    assert newest_session(rows, [{"a"}, set()]) is None and newest_session(rows, []) is None


def test_all_that_is_wanted_must_come_from_the_same_processes() -> None:
    rows = session("1", {"a": 6, "b": 6})
    lost = ((rows["step_cost_id"] == "a") & (rows["process"] == 0)) | (
        (rows["step_cost_id"] == "b") & (rows["process"] == 1)
    )
    assert newest_session(rows[~lost], [{"a"}]) is not None
    assert newest_session(rows[~lost], [{"a"}, {"b"}]) is None
