"""The tables: what is written is what is read, and damage is named, not fatal."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import tables
from bench.base.errors import UserError

POINTS = [(0, 0.0, "val", "loss", 2.3, 0.0), (1, 0.5, "train", "loss", 2.2, 0.01), (2, 1.0, "val", "loss", 1.5, 0.02)]


def row(run_id: str = "c0ffee-0-abc", **extra: Any) -> dict[str, Any]:
    cell, seed, place = run_id.split("-")
    required = {"cell_id": cell, "environment_id": place, "study": "s", "stage": "single", "status": "ok"}
    required |= {"workload": "m on d", "budget": "2 steps", "model": "m", "data": "d", "optimizer": "adam"}
    required |= {"model_options": "{}", "data_options": "{}", "device": "cpu", "precision": "fp32", "num_threads": 1}
    return {"run_id": run_id, **required, "seed": int(seed), "lr": 0.1, **extra}


def write(study: Path, *ids: str, **extra: Any) -> None:
    for run_id in ids:
        tables.write_run(study, row(run_id, **extra), POINTS, {"config": {"a": 1}})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e", hp_betas="[0.9, 0.99]", hp_momentum=0.9, hp_nesterov=True, reason=None)
    write(tmp_path, "b-1-e", status="diverged", reason="train loss nan at step 3")
    for study in (tables.load(tmp_path), tables.build(tmp_path), tables.load(tmp_path)):
        runs, curves = study
        assert list(runs["run_id"]) == ["a-0-e", "b-1-e"]
        assert runs.loc[1, "reason"] == "train loss nan at step 3"
        assert runs.loc[0, "hp_betas"] == "[0.9, 0.99]"
        assert runs.loc[0, "hp_momentum"] == 0.9
        assert runs.loc[0, "hp_nesterov"]
        assert [str(runs[f"hp_{name}"].dtype) for name in ("betas", "momentum", "nesterov")] == [
            "string",
            "float64",
            "boolean",
        ]
        assert pd.isna(runs.loc[1, "hp_nesterov"])
        assert pd.isna(runs.loc[0, "final_val_loss"])
        assert runs["seed"].tolist() == [0, 1]
        assert list(curves.columns) == [column.name for column in tables.CURVES]
        assert curves[curves["run_id"] == "a-0-e"].drop(columns="run_id").to_numpy().tolist() == [
            list(p) for p in POINTS
        ]
        assert study.problems == ()


def test_dtypes_are_the_documented_ones(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e")
    tables.build(tmp_path)
    kinds = {"string": "string", "json": "string", "int": "Int64", "float": "float64", "bool": "boolean"}
    runs, curves = tables.load(tmp_path)
    for frame, columns in ((runs, tables.RUNS), (curves, tables.CURVES)):
        for column in columns:
            assert str(frame[column.name].dtype).startswith(kinds[column.kind]), column.name


def test_csv_holds_the_same(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e", "b-0-e")
    study = tables.build(tmp_path)
    assert pd.read_csv(tmp_path / "runs.csv")["run_id"].tolist() == study.runs["run_id"].tolist()
    assert pd.read_csv(tmp_path / "curves.csv")["value"].tolist() == study.curves["value"].tolist()


@settings(max_examples=30)
@given(
    values=st.lists(
        st.tuples(
            st.integers(0, 10**9),
            st.floats(0, 1e6),
            st.sampled_from(tables.SPLITS),
            st.sampled_from(["loss", "accuracy"]),
            st.floats(allow_nan=False, allow_infinity=False),
            st.floats(0, 1e6),
        ),
        max_size=20,
    )
)
def test_curves_survive_to_the_bit(values: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    study = tmp_path_factory.mktemp("study")
    tables.write_run(study, row(), values, {})
    assert [tuple(v) for v in tables.build(study).curves.drop(columns="run_id").to_numpy()] == values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "great"}, "runs.status must be one of ok, diverged"),
        ({"stage": "first"}, "runs.stage must be one of"),
        ({"study": None}, "runs.study must be set"),
        ({"seed": 1.5}, "runs.seed must be of kind int"),
        ({"seed": True}, "runs.seed must be of kind int"),
        ({"lr": "fast"}, "runs.lr must be of kind float"),
        ({"colour": "red"}, "runs.colour must be a column"),
        ({"hp_x": [1]}, "runs.hp_x must be a number, a boolean or text"),
    ],
)
def test_rows_are_checked_on_write(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables.write_run(tmp_path, row() | change, POINTS, {})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_nan_is_never_a_number(tmp_path: Path, value: float) -> None:
    assert tables.checked_row(row(final_val_loss=value))["final_val_loss"] is None
    with pytest.raises(ValueError, match="curves.value must be finite"):
        tables.write_run(tmp_path, row(), [(0, 0.0, "val", "loss", value, 0.0)], {})


def test_columns_are_documented() -> None:
    for columns in (tables.RUNS, tables.CURVES):
        names = [column.name for column in columns]
        assert len(set(names)) == len(names)
        for column in columns:
            assert column.meaning
            assert column.kind in ("string", "json", "int", "float", "bool")
            if column.name.endswith(("_s", "_ms", "_mib")):
                assert column.kind == "float"
            if column.name.startswith("num_") and column.name != "num_epochs":
                assert column.kind == "int"


def test_a_run_written_again_replaces_itself(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e", status="failed")
    tables.build(tmp_path)
    write(tmp_path, "a-0-e", status="ok")
    assert tables.load(tmp_path).runs["status"].tolist() == ["ok"]
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["a-0-e"]


def test_a_result_is_not_replaced_by_less(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e", status="diverged")
    write(tmp_path, "a-0-e", status="interrupted")
    assert tables.load(tmp_path).runs["status"].tolist() == ["diverged"]


def test_a_copied_folder_is_no_second_run(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e")
    shutil.copytree(tmp_path / "runs" / "a-0-e", tmp_path / "runs" / "backup")
    study = tables.load(tmp_path)
    assert len(study.runs) == 1
    assert "backup cannot be read and was left out: it holds run a-0-e" in study.problems[0]


def test_load_sees_runs_that_no_build_has_seen(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e")
    tables.build(tmp_path)
    write(tmp_path, "b-0-e")
    assert len(tables.load(tmp_path).runs) == 2


def test_tables_alone_are_enough(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e")
    tables.build(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    assert len(tables.load(tmp_path).runs) == 1


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("run.json", b""),
        ("run.json", b'{"schema_version": 1, "run": {"run_id"'),
        ("run.json", b"[1]"),
        ("run.json", b'{"schema_version": 1, "run": {"run_id": "b-0-e"}}'),
        ("run.json", b"\xff\xfe"),
        ("run.json", None),
        ("curves.parquet", b"PAR1 no"),
        ("curves.parquet", None),
    ],
)
def test_a_damaged_folder_is_named_and_left_out(tmp_path: Path, file: str, content: bytes | None) -> None:
    write(tmp_path, "a-0-e", "b-0-e")
    damaged = tmp_path / "runs" / "b-0-e" / file
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    study = tables.load(tmp_path)
    runs, curves, problems = study.runs, study.curves, study.problems
    assert runs["run_id"].tolist() == ["a-0-e"]
    assert set(curves["run_id"]) == {"a-0-e"}
    assert len(problems) == 1
    assert "b-0-e" in problems[0]
    assert tables.build(tmp_path).problems == problems
    assert tables.load(tmp_path).problems == problems, "read from the tables"
    assert tables.find(tmp_path, "b-0-e") is None, "it is made again"


def test_a_truncated_curves_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e", "b-0-e")
    damaged = tmp_path / "runs" / "b-0-e" / "curves.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert "b-0-e" in tables.load(tmp_path).problems[0]


@pytest.mark.parametrize("name", ["runs.parquet", "curves.parquet"])
def test_a_damaged_study_table_is_rebuilt(tmp_path: Path, name: str) -> None:
    write(tmp_path, "a-0-e")
    tables.build(tmp_path)
    (tmp_path / name).write_bytes(b"PAR1")
    study = tables.load(tmp_path)
    assert len(study.runs) == 1
    assert "rebuilt" in study.problems[0]


def test_results_of_a_newer_version_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e", "b-0-e")
    path = tmp_path / "runs" / "b-0-e" / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"schema_version": 99}))
    for use in (tables.load, tables.build, lambda study: tables.find(study, "b-0-e")):
        with pytest.raises(UserError, match="version 1 or older, got version 99 in .*b-0-e; upgrade"):
            use(tmp_path)


def test_study_tables_of_a_newer_version_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a-0-e")
    with monkeypatch.context() as patch:
        patch.setattr("bench.tables.write.SCHEMA_VERSION", 99)
        tables.build(tmp_path)
    with pytest.raises(UserError, match="version 1 or older, got version 99"):
        tables.load(tmp_path)


def test_no_study_and_an_empty_study_say_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the study must be a folder"):
        tables.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="at least one run, found none"):
        tables.load(tmp_path)


# --- runs in flight -------------------------------------------------------------------------------


def test_a_claim_is_exclusive_until_released(tmp_path: Path) -> None:
    first = tables.RunLock.take(tmp_path, "c0ffee-0-abc")
    assert first is not None
    assert tables.RunLock.take(tmp_path, "c0ffee-0-abc") is None
    assert tables.RunLock.take(tmp_path, "d-1-e") is not None
    first.release()
    assert tables.RunLock.take(tmp_path, "c0ffee-0-abc") is not None


def test_a_living_process_is_not_recovered(tmp_path: Path) -> None:
    claim = tables.RunLock.take(tmp_path, "c0ffee-0-abc")
    assert tables.recover(tmp_path).rows == []
    assert claim is not None


def _claim_and_die(study: Path) -> None:
    claim = tables.RunLock.take(study, "c0ffee-0-abc")
    assert claim is not None
    claim.describe(row(status="failed"))
    os._exit(9)


def test_the_run_of_a_killed_process_is_recorded_as_failed(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_claim_and_die, args=(tmp_path,))
    process.start()
    process.join()
    lost = tables.recover(tmp_path).rows
    assert [r["run_id"] for r in lost] == ["c0ffee-0-abc"]
    runs = tables.load(tmp_path).runs
    assert runs["status"].tolist() == ["failed"]
    assert "without a message" in runs.loc[0, "reason"]
    assert tables.recover(tmp_path).rows == []
    assert tables.find(tmp_path, "c0ffee-0-abc") is None, "a failed run is tried again"


def test_a_run_killed_after_it_was_written_stays_as_it_is(tmp_path: Path) -> None:
    write(tmp_path, "c0ffee-0-abc")
    (tmp_path / "inflight").mkdir()
    (tmp_path / "inflight" / "c0ffee-0-abc.json").write_text(json.dumps({"run": row(status="failed")}))
    (tmp_path / "inflight" / "torn.json").write_text('{"run": {"ru')
    assert tables.recover(tmp_path).rows == []
    assert tables.load(tmp_path).runs["status"].tolist() == ["ok"]
    assert list((tmp_path / "inflight").iterdir()) == []


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a-0-e")
    (tmp_path / "runs" / "a-0-e").rename(tmp_path / "runs" / ".old-a-0-e")
    (tmp_path / "inflight").mkdir()
    (tmp_path / "inflight" / "a-0-e.json").write_text(json.dumps({"run": row("a-0-e", status="failed")}))
    assert tables.recover(tmp_path).rows == []
    assert tables.load(tmp_path).runs["status"].tolist() == ["ok"]


@pytest.mark.parametrize("status", tables.STATUSES)
def test_only_results_count_as_done(tmp_path: Path, status: str) -> None:
    write(tmp_path, "a-0-e", status=status)
    assert (tables.find(tmp_path, "a-0-e") is not None) == (status in tables.DONE)


def _write_many(study: Path, cell: str) -> None:
    for seed in range(15):
        write(study, f"{cell}-{seed}-e")
        tables.build(study)


def test_processes_side_by_side_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_many, args=(tmp_path, cell)) for cell in ("a", "b", "a")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(tables.load(tmp_path).runs) == 30
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 30


# --- side tables ----------------------------------------------------------------------------------


def memory_row(**changes: Any) -> dict[str, Any]:
    return {"cell_id": "c", "stage": "single", "peak_phase": "step", "peak_mib": 1.5, **changes}


def test_side_tables_are_kept_part_by_part_and_built(tmp_path: Path) -> None:
    tables.write_side(tmp_path, "memory", "a", [memory_row()])
    tables.write_side(tmp_path, "memory", "b", [memory_row(cell_id="d", stage="predicted")])
    tables.write_side(tmp_path, "memory", "a", [memory_row(peak_mib=2.5)])
    assert tables.find_side(tmp_path, "memory", "a") is not None
    assert tables.find_side(tmp_path, "memory", "z") is None
    frame = tables.load_side(tmp_path, "memory")
    assert frame["peak_mib"].tolist() == [2.5, 1.5]
    assert list(frame) == [c.name for c in tables.MEMORY]
    tables.build(tmp_path)
    assert (tmp_path / "memory.csv").read_text().count("\n") == 3
    runs, _ = tables.load(tmp_path)
    assert runs.empty
    for path in (tmp_path / "memory").iterdir():
        path.unlink()
    assert len(tables.load_side(tmp_path, "memory")) == 2, "the built table stands for its parts"
    assert tables.load_side(tmp_path, "step_costs").empty


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nonsense": 1}, "memory.nonsense must be a column of memory"),
        ({"peak_phase": "lunch"}, "memory.peak_phase must be one of forward, backward, step"),
        ({"cell_id": None}, "memory.cell_id must be set"),
        ({"peak_mib": "much"}, "memory.peak_mib must be of kind float"),
        ({"num_steps": True}, "memory.num_steps must be of kind int"),
    ],
)
def test_rows_of_side_tables_are_checked(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables.write_side(tmp_path, "memory", "a", [memory_row(**changes)])
    assert not (tmp_path / "memory").exists()


def test_a_damaged_part_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    tables.write_side(tmp_path, "memory", "a", [memory_row()])
    (tmp_path / "memory" / "b.parquet").write_bytes(b"not a table")
    frame = tables.load_side(tmp_path, "memory")
    assert len(frame) == 1
    assert "b.parquet cannot be read" in frame.attrs["problems"][0]
    assert tables.find_side(tmp_path, "memory", "b") is None


def test_runs_in_flight_are_counted_over_all_studies(tmp_path: Path) -> None:
    claims = [tables.RunLock.take(tmp_path / study, run) for study, run in (("a", "1"), ("a", "2"), ("b", "3"))]
    (tmp_path / "a" / "inflight" / "killed.json").write_text("{}")
    assert tables.num_in_flight(tmp_path, "1") == 2
    assert tables.num_in_flight(tmp_path, "none") == 3
    for claim in claims:
        assert claim is not None
        claim.release()
    assert tables.num_in_flight(tmp_path, "none") == 0


def test_writing_is_part_of_the_whole(tmp_path: Path) -> None:
    tables.write_run(tmp_path, row(total_s=1.0, train_s=1.0), [], {})
    written = tables.load(tmp_path).runs.iloc[0]
    assert 0 < written["write_s"] < 5
    assert written["total_s"] == 1.0 + written["write_s"]
