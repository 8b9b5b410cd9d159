"""A folder of results from a stranger: nothing outside it is touched, and one odd file costs one run."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import made_up
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile import folders
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.base import files
from bench.base.errors import UserError
from bench.report.study.render import write_report
from bench.report.terminal import step_cost_text, summary_text

NUM_MUTATIONS = int(os.environ.get("BENCH_NUM_MUTATIONS", "100"))
NUM_EACH = 3
"""Mutations of a study on average, see `try_damage`."""

SWEEP = ["optimizer=adam,sgd", "train.steps=5", "seeds=[0,1]", "study=s", "report=false", "-m"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with every side table, to be copied."""
    return new_study(tmp_path_factory.mktemp("shelf") / "s")


def new_study(study: Path) -> Path:
    """Write a study with every side table and a run in flight."""
    for optimizer in ("adam", "sgd"):
        for seed in (0, 1):
            made_up.write(study, optimizer, 0.01, seed, hp_momentum=0.9)
    made_up.side_tables(study)
    tables.build(study)
    (study / "inflight").mkdir()
    row = made_up.row("adam", 0.01, 7)
    (study / "inflight" / f"{row['run_id']}.json").write_text(json.dumps({"schema_version": 1, "run": row}))
    return study


def victim_in(folder: Path) -> Path:
    victim = folder / "victim"
    victim.mkdir()
    (victim / "kept.txt").write_text("kept")
    (victim / "kept.json").write_text("{}")
    return victim


def use(study: Path, rebuild: bool = True, report_dir: Path | None = None) -> None:
    """Do what commands do with a study: take it up again, build its tables, summarise and report it."""
    try:
        tables.check_study(study)
        tables.recover(study)
        if rebuild:
            tables.build(study)
    except (OSError, UserError):
        pass  # a sentence: results_dir cannot be written
    try:
        found = tables.load(study)
    except (FileNotFoundError, UserError):
        return
    summary_text(StudyAnalysis(found, study).analyses, show_all=True)
    for _, session in tables.load_side(study, "step_costs").groupby("session_id"):
        step_cost_text(session)
    if report_dir is not None:
        write_report(StudyAnalysis(found, study), report_dir)


def try_damage(rng: random.Random, shelf: Path, place: Path, with_report: bool) -> None:
    """Damage a copy of a study in one to eight ways, and use it."""
    study = place / "results" / "s"
    shutil.copytree(shelf, study)
    victim = victim_in(place)
    done = [folders.damage(study, victim, rng) for _ in range(rng.choice([1, 1, 2, 8]))]
    before = folders.listing(victim)
    try:
        with folders.no_hang():
            use(study, rng.choice([False, True]), place / "reports" / "s" if with_report else None)
    except Exception as error:
        raise AssertionError(done) from error
    assert folders.listing(victim) == before, done
    assert {path.name for path in place.iterdir()} <= {"results", "reports", "victim"}, done
    shutil.rmtree(place)


@pytest.mark.filterwarnings("ignore")
def test_mutations_cost_no_more_than_what_they_damage(shelf: Path, tmp_path: Path) -> None:
    places = itertools.count()

    @given(st.randoms(use_true_random=True))
    @settings(max_examples=NUM_MUTATIONS // NUM_EACH, phases=[Phase.generate])
    def damaged(rng: random.Random) -> None:
        try_damage(rng, shelf, tmp_path / str(next(places)), with_report=rng.choice([False] * 19 + [True]))

    damaged()


def lost_run(study: Path, **changes: Any) -> Path:
    """Record a run whose process is gone, as a stranger may write it, and return its file."""
    row = made_up.row("adam", 0.01, 9) | changes
    path = study / "inflight" / f"{made_up.row('adam', 0.01, 9)['run_id']}.json"
    path.write_text(json.dumps({"schema_version": 1, "run": row}))
    return path


def test_a_run_id_from_a_file_leads_nowhere_else(shelf: Path, tmp_path: Path) -> None:
    study = tmp_path / "results" / "s"
    shutil.copytree(shelf, study)
    victim = victim_in(tmp_path)
    (study / "runs" / ".new-x").mkdir()
    (study / "runs" / ".old-x").mkdir()
    path = lost_run(study, run_id="x/../../../../victim")
    found = tables.recover(study)
    assert [row["seed"] for row in found.rows] == [7], "the other lost run is recorded"
    assert any("is no record of a run" in problem and path.name in problem for problem in found.problems)
    assert folders.listing(victim) == {"kept.json": ("file", b"{}"), "kept.txt": ("file", b"kept")}
    with pytest.raises(ValueError, match="must have a name of letters"):
        tables.write_run(study, made_up.row("adam", 0.01, 9) | {"run_id": "x/../../../victim"}, [], {})


def test_links_are_not_followed_where_tables_are_replaced(shelf: Path, tmp_path: Path) -> None:
    study = tmp_path / "s"
    shutil.copytree(shelf, study)
    victim = victim_in(tmp_path)
    for name in (".lock", ".runs.csv.new", "inflight/x-0-e.json"):
        (study / name).unlink(missing_ok=True)
        (study / name).symlink_to(victim / "kept.txt")
    with pytest.raises(OSError, match=r"\.lock is a symbolic link, which is not followed"):
        tables.build(study)
    (study / ".lock").unlink()
    tables.build(study)
    with pytest.raises(OSError, match="is a symbolic link"):
        tables.RunLock.take(study, "x-0-e")
    assert any("was left as it is" in problem for problem in tables.recover(study).problems)
    assert (victim / "kept.txt").read_text() == "kept"


def test_a_linked_run_costs_this_run_only(tmp_path: Path, cli: Callable[..., Any]) -> None:
    assert cli(*SWEEP).status == 0
    study, victim = Path("results/s"), victim_in(tmp_path)
    run, *_ = sorted((study / "runs").iterdir())
    run.rename(victim / "moved")
    run.symlink_to(victim / "moved")
    before = folders.listing(victim)
    done = cli(*SWEEP, "force=true")
    assert done.status == 1
    assert "is a symbolic link, which is not followed" in done.err
    assert "Traceback" not in done.err
    assert len(tables.load(study).runs) == 3
    assert folders.listing(victim) == before
    run.unlink()
    assert cli(*SWEEP).status == 0
    assert len(tables.load(study).runs) == 4


def test_a_folder_that_is_a_link_is_refused_before_anything_runs(tmp_path: Path, cli: Callable[..., Any]) -> None:
    victim = victim_in(tmp_path)
    Path("results/s").mkdir(parents=True)
    Path("results/s/runs").symlink_to(victim)
    done = cli(*SWEEP)
    assert done.status == 2
    assert "runs is a symbolic link, which is not followed" in done.err
    assert set(folders.listing(victim)) == {"kept.json", "kept.txt"}


@pytest.mark.parametrize(
    "text", ['{"run": {}}', '{"run": []}', "[]", "[" * 100_000, "\x00", '{"run": {"seed": 36893488147419103232}}']
)
def test_an_odd_record_blocks_no_command(text: str, cli: Callable[..., Any], folder: Path) -> None:
    assert cli(*SWEEP).status == 0
    (Path("results/s") / "inflight").mkdir(exist_ok=True)
    (Path("results/s") / "inflight" / "x.json").write_text(text)
    done = cli(*SWEEP)
    assert done.status == 0
    assert "x.json is no record of a run" in done.err
    assert "x.json" not in cli(*SWEEP).err, "it is named once"


def test_a_pipe_hangs_nothing(shelf: Path, tmp_path: Path) -> None:
    study = tmp_path / "s"
    shutil.copytree(shelf, study)
    (run, *_) = sorted((study / "runs").iterdir())
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")
    tables.build(study)
    found = tables.load(study)
    assert len(found.runs) == 3
    assert found.problems == (f"{run} cannot be read and was left out: {run / 'run.json'} is not a regular file",)


def test_what_was_written_aside_is_swept_by_the_next_command(shelf: Path, tmp_path: Path) -> None:
    study = tmp_path / "s"
    shutil.copytree(shelf, study)
    left = [study / "runs" / f".x-0-e.{'0' * 16}.new", study / f".runs.csv.{'1' * 16}.new"]
    left[0].mkdir()
    left[1].write_text("half")
    with files.replacing(study / "mine.csv") as file, files.replacing_folder(study / "runs" / "mine") as aside:
        file.write(b"x")
        working = [path for path in study.rglob(".*.new") if path not in left]
        assert len(working) == 2 and aside in working
        for path in (*left, *working):
            os.utime(path, (0, 0))
        tables.recover(study)
        tables.build(study)
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in working), "a living process holds their locks"
    assert (study / "mine.csv").read_text() == "x"


def test_one_cost_under_two_names_counts_once(shelf: Path, tmp_path: Path) -> None:
    study = tmp_path / "s"
    shutil.copytree(shelf, study)
    path = sorted((study / "step_costs").glob("*.parquet"))[0]
    table = pq.read_table(path, partitioning=None)
    index = table.column_names.index("implementation")
    pq.write_table(table.set_column(index, "implementation", pa.array(["other"] * len(table))), path)
    use(study)
