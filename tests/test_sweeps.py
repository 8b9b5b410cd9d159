"""Sweeps as processes: tuned ones, side by side, killed and taken up again."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from commands import Command

from bench import tables
from bench.measure.environment import num_cores

ROOT = Path(__file__).resolve().parent.parent
POOL = ["launcher=pool", "launcher.n_jobs=2"]
SWEEP = [
    "sweep=tuned", "sweep.trials=3", "sweep.seeds=2", "optimizer=adam,sgd,rmsprop", "train.epochs=2", "report=false",
    "study=s", "-m",
]  # fmt: skip
KEYS = ["stage", "optimizer", "lr", "seed", "trial", "edge", "split", "metric", "step"]
NUM_KILLS = int(os.environ.get("BENCH_NUM_KILLS", "1"))
"""Random moments at which each kind of sweep is killed."""

two_cores = pytest.mark.skipif(
    num_cores() < 2,
    reason="two processes need two cores",
)

needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="Optuna is not installed")


def done(*arguments: str, cwd: Path, status: int = 0) -> tuple[str, str]:
    process = Command("bench", *arguments, cwd=cwd)
    out, err = process.communicate()
    assert process.returncode == status, err
    assert "Traceback" not in err
    return out, err


def losses(study: Path) -> pd.DataFrame:
    runs, curves = tables.load(study)
    merged = curves.merge(runs[["run_id", *KEYS[:6]]], on="run_id")
    return merged.sort_values(KEYS)[[*KEYS, "value"]].reset_index(drop=True)


def rows(study: Path) -> pd.DataFrame:
    columns = ["run_id", "stage", "status", "trial", "edge", "tuning", "search", "lr", "final_val_loss", "num_steps"]
    return tables.load(study).runs.sort_values("run_id")[columns].reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that an interpreter of its own made, to which those of forked processes are compared."""
    folder = tmp_path_factory.mktemp("undisturbed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "bench", *SWEEP], cwd=folder, env=environment, check=True, capture_output=True
    )
    return folder / "results" / "s"


def test_a_tuned_sweep_leaves_trials_finals_and_defaults(undisturbed: Path) -> None:
    runs = tables.load(undisturbed).runs
    by_stage = runs.groupby(["optimizer", "stage"]).size().unstack()
    assert by_stage["tune"].eq(3).all()
    assert by_stage["final"].eq(2).all()
    assert by_stage["single"].eq(2).all()
    for name, group in runs.groupby("optimizer"):
        trials = group[group["stage"] == "tune"].set_index("trial")
        best = trials["final_val_loss"].astype(float).idxmin()
        final = group[group["stage"] == "final"]
        assert set(final["trial"]) == {best}, name
        assert set(final["lr"]) == {trials.loc[best, "lr"]}
        assert set(final["seed"]) == {1, 2}
        assert set(trials["seed"]) == {0}
        at_end = trials.loc[best, "lr"] in (trials["lr"].min(), trials["lr"].max())
        assert final["edge"].notna().all() == at_end
    assert runs["tuning"].nunique() == 1
    assert set(runs["launcher"]) == {"local"}


@two_cores
def test_side_by_side_curves_are_the_same_to_the_bit_and_rows_say_so(tmp_path: Path, undisturbed: Path) -> None:
    done(*SWEEP, *POOL, cwd=tmp_path)
    study = tmp_path / "results" / "s"
    pd.testing.assert_frame_equal(losses(study), losses(undisturbed), check_exact=True)
    pd.testing.assert_frame_equal(rows(study), rows(undisturbed), check_exact=True)
    runs = tables.load(study).runs
    assert set(runs["launcher"]) == {"pool"}
    assert set(runs["num_jobs"]) == {2}
    assert set(runs["num_threads"]) == {1}


@two_cores
@pytest.mark.parametrize(
    ("number", "name"), [(9, "SIGKILL (signal 9)"), (15, "SIGTERM (signal 15)"), (40, "signal 40")]
)
def test_a_killed_worker_costs_its_run_and_is_replaced(tmp_path: Path, number: int, name: str) -> None:
    (tmp_path / "deadly.py").write_text(
        "import os, signal, torch\n"
        "class Deadly(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        if torch.initial_seed() == 2**32 + 1:\n"
        f"            os.kill(os.getpid(), {number})\n"
        "        return super().step(closure)\n"
    )
    arguments = ["optimizer=custom", "optimizer._target_=deadly.Deadly", "+optimizer.lr=0.1,0.2"]
    out, err = done(*arguments, *POOL, "train.epochs=1", "study=s", "report=false", "-m", cwd=tmp_path, status=1)
    runs = tables.load(tmp_path / "results" / "s").runs
    assert len(runs) == 6
    assert runs.groupby("seed")["status"].unique().map(list).to_dict() == {0: ["ok"], 1: ["failed"], 2: ["ok"]}
    lost = runs[runs["seed"] == 1]
    assert set(lost["reason"]) == {f"its process was ended by {name}"}
    assert err.count("is recorded as failed") == 2
    assert "existed already" not in out, "all were made by this command"


@two_cores
def test_a_sweep_ends_though_nobody_reads_what_it_says(tmp_path: Path) -> None:
    process = Command(
        "bench", "optimizer=adam,sgd", "train.epochs=1", *POOL, "study=s", "report=false", "-m", cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert set(tables.load(tmp_path / "results" / "s").runs["status"]) == {"ok"}


def test_without_standard_output_runs_are_made(tmp_path: Path) -> None:
    command = f"exec {sys.executable} -m bench train.epochs=1 study=s report=false >&-"
    ended = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr


@two_cores
def test_ctrl_c_in_a_pool_keeps_what_was_done(tmp_path: Path) -> None:
    process = Command(
        "bench", "optimizer=adam,sgd", "seeds=[0,1,2,3,4]", "train.epochs=60", *POOL, "study=s", "-m", cwd=tmp_path
    )
    assert process.stderr is not None
    assert "[1/10]" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "run the same command again to resume" in err
    runs = tables.load(tmp_path / "results" / "s").runs
    assert set(runs["status"]) <= {"ok", "interrupted"}
    assert 1 <= (runs["status"] == "ok").sum() < 10


def kill_and_resume(folder: Path, undisturbed: Path, moment: float, *more: str) -> None:
    process = Command("bench", *SWEEP, *more, cwd=folder)
    time.sleep(moment)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while tables.num_in_flight(folder / "results", ""):  # processes of the pool end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done(*SWEEP, *more, cwd=folder)
    study = folder / "results" / "s"
    pd.testing.assert_frame_equal(losses(study), losses(undisturbed), check_exact=True)
    pd.testing.assert_frame_equal(rows(study), rows(undisturbed), check_exact=True)
    assert list((study / "inflight").iterdir()) == []


@pytest.fixture(scope="module")
def seconds(undisturbed: Path) -> tuple[float, float]:
    """When in a sweep runs are made, from its start."""
    started = pd.to_datetime(tables.load(undisturbed).runs["started_at"])
    span = (started.max() - started.min()).total_seconds()
    return 2.0, 2.0 + 3 * span + 1.0


@pytest.mark.parametrize("number", range(NUM_KILLS))
@pytest.mark.parametrize("kind", ["one at a time", pytest.param("side by side", marks=two_cores)])
def test_kill_9_at_any_moment_then_resume(
    tmp_path: Path, undisturbed: Path, seconds: tuple[float, float], kind: str, number: int
) -> None:
    moment = random.Random(f"{kind} {number}").uniform(*seconds)
    kill_and_resume(tmp_path, undisturbed, moment, *(POOL if kind == "side by side" else []))


@needs_optuna
def test_tpe_prunes_and_a_resumed_search_is_the_same(tmp_path: Path) -> None:
    sweep = [
        "sweep=tuned", "sweep.method=tpe", "sweep.trials=9", "sweep.seeds=1", "optimizer=adam,sgd", "train.epochs=3",
        "report=false", "study=s", "-m",
    ]  # fmt: skip
    done(*sweep, cwd=tmp_path)
    study = tmp_path / "results" / "s"
    before = rows(study)
    pruned = before[before["status"] == "pruned"]
    assert len(pruned)
    assert (pruned["num_steps"] < 51).all()
    assert set(pruned["stage"]) == {"tune"}
    assert pruned["final_val_loss"].isna().all()
    gone = before[before["stage"] == "tune"]["run_id"].iloc[::2]
    for run_id in gone:
        for path in sorted((study / "runs" / run_id).iterdir()):
            path.unlink()
        (study / "runs" / run_id).rmdir()
    done(*sweep, cwd=tmp_path)
    pd.testing.assert_frame_equal(rows(study), before, check_exact=True)


@pytest.mark.parametrize("method", ["grid", pytest.param("tpe", marks=needs_optuna)])
def test_a_plan_of_what_was_done_has_nothing_to_do(tmp_path: Path, method: str) -> None:
    sweep = [
        "sweep=tuned", f"sweep.method={method}", "sweep.trials=5", "sweep.decades=2", "sweep.seeds=1",
        "sweep.extend=true", "optimizer=sgd", "model=mlp,logistic", "train.epochs=1", "study=s", "memory=false",
        "report=false", "-m",
    ]  # fmt: skip
    done(*sweep, cwd=tmp_path)
    num_runs = len(rows(tmp_path / "results" / "s"))
    assert num_runs > 14, "some range was widened"
    out, _ = done(*sweep, "plan=true", cwd=tmp_path)
    assert f"{num_runs} runs, of which {num_runs} exist and 0 are to be made" in out


def test_a_plan_says_what_is_missing_and_runs_nothing(tmp_path: Path, undisturbed: Path) -> None:
    out, _ = done(*SWEEP, "plan=true", cwd=tmp_path)
    assert "21 runs, of which 0 exist and 21 are to be made: about" in out
    assert "5 steps made now" in out
    assert not (tmp_path / "results").exists()
    out, _ = done(*SWEEP, "plan=true", cwd=undisturbed.parent.parent)
    assert "21 runs, of which 21 exist and 0 are to be made: about 0 s, one at a time. Nothing was run." in out
    out, _ = done(*SWEEP, "plan=true", "sweep.seeds=4", cwd=undisturbed.parent.parent)
    assert "33 runs, of which 21 exist and 12 are to be made" in out
    out, _ = done(*SWEEP, "plan=true", "force=true", cwd=undisturbed.parent.parent)
    assert "21 runs, of which 0 exist and 21 are to be made" in out
    out, _ = done("plan=true", "seeds=[0,1]", cwd=tmp_path)
    assert "2 runs, of which 0 exist and 2 are to be made" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sweep=tuned"], "sweep must be product without -m, got tuned; add -m"),
        (["launcher=pool"], "launcher must be local without -m, got pool; add -m"),
        (["launcher=pool", "launcher.n_jobs=999", "optimizer=adam,sgd", "-m"], "launcher.n_jobs must be at most"),
        (["sweep=tuned", "sweep.over=[rho]", "optimizer=adam,adadelta", "-m"], "sweep.over must name something to search of optimizer=adam"),
        (["sweep=product,tuned", "-m"], "sweep must be one value for all jobs of a sweep, got sweep=product,tuned; give"),
        (["plan=true", "launcher=pool", "launcher.n_jobs=999", "-m"], "launcher.n_jobs must be at most"),
        (["sweep=tuned", "seeds=[1]", "optimizer=adam", "-m"], "seeds must be left out with sweep=tuned"),
        (["sweep=tuned", "sweep.select=val_error", "sweep.trials=2", "experiment=linear_regression", "train.steps=2", "-m"], "sweep.select must be another for data=regression"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    _, err = done(*arguments, "report=false", cwd=tmp_path, status=2)
    assert f"bench: {sentence}" in err


@two_cores
@pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher") is None,
    reason="hydra-joblib-launcher is not installed",
)
def test_a_launcher_of_hydras_takes_a_tuned_sweep_too(tmp_path: Path, undisturbed: Path) -> None:
    done(*SWEEP, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", cwd=tmp_path)
    study = tmp_path / "results" / "s"
    pd.testing.assert_frame_equal(losses(study), losses(undisturbed), check_exact=True)
    assert (study / "runs.parquet").is_file(), "the command builds the tables of what other processes recorded"
    assert set(tables.load(study).runs["launcher"]) == {"other"}
    arguments = ["optimizer=adam,sgd", "optimizer.lr=1e9", "train.epochs=2", "report=false", "study=lost", "-m"]
    done(*arguments, "hydra/launcher=joblib", cwd=tmp_path, status=1)
