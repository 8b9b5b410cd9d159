"""The command line: the main job, every way a run can end, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bench import tables
from bench.config.parse import group_options

Cli = Callable[..., Any]
CUSTOM = ["optimizer=custom", "optimizer._target_=mine.Mine"]
SHORT = ["train.epochs=2", "report=false"]


def options(group: str) -> str:
    return ", ".join(group_options(group))


def study(name: str = "digits-mlp") -> tables.Study:
    return tables.load(Path("results") / name)


def record(name: str = "digits-mlp") -> dict[str, Any]:
    """The run.json of the only run of a study."""
    (path,) = (Path("results") / name / "runs").glob("*/run.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_main_job(cli: Cli) -> None:
    done = cli("optimizer=adam,sgd", "train.epochs=3", "-m")
    assert done.status == 0
    runs, curves = study()
    assert study().problems == ()
    assert len(runs) == 6
    assert set(runs["optimizer"]) == {"adam", "sgd"}
    assert sorted(runs["seed"]) == [0, 0, 1, 1, 2, 2]
    assert set(runs["status"]) == {"ok"}
    assert set(runs["num_steps"]) == {51}
    assert runs["git_commit"].nunique(dropna=False) == 1
    filled = [c for c in runs if c not in MAY_BE_EMPTY and not c.startswith("hp_")]
    assert not runs[filled].isna().any().any(), runs[filled].isna().sum()[lambda s: s > 0]
    counters = ["construct_s", "warmup_s", "train_s", "eval_s", "log_s", "diagnostics_s", "write_s", "rest_s"]
    assert (runs[counters].sum(axis=1) - runs["total_s"]).abs().max() < 1e-9
    assert set(curves["run_id"]) == set(runs["run_id"])
    assert {"mlp on digits", "adam", "sgd", "3 ok", "results/digits-mlp", "reports/digits-mlp/index.html"} <= {
        part
        for part in ("mlp on digits", "adam", "sgd", "3 ok", "results/digits-mlp", "reports/digits-mlp/index.html")
        if part in done.out
    }
    assert "[6/6] sgd seed 2: val loss" in done.err
    for file in ("index.html", "report.md", "figures/loss-step.svg", "figures/loss-step.png", "tables/summary.csv"):
        assert (Path("reports/digits-mlp") / file).stat().st_size > 0
    for file in ("runs.parquet", "runs.csv", "curves.parquet", "curves.csv"):
        assert (Path("results/digits-mlp") / file).stat().st_size > 0


MAY_BE_EMPTY = {
    "non_finite",
    "non_finite_layer",
    "non_finite_step",
    "trial",
    "tuning",
    "search",
    "edge",
    "num_looks",
    "metrics",
    "diagnostics",
    "init_from",
    "clip_norm",
    "latency_ms",
    "latency_batch_ms",
    "moved_test_accuracy",
    "final_train_gap",
    "reason",
    "gpu",
    "gpu_clock_mhz",
    "git_commit",
    "time_limit_s",
    "peak_allocated_mib",
    "peak_reserved_mib",
    "peak_rss_mib",
    "baseline_rss_mib",
}


def test_seeds_give_the_same_start_and_the_same_batches_to_every_optimizer(cli: Cli) -> None:
    cli("optimizer=adam,sgd,adadelta", "seeds=[0,1]", *SHORT, "-m")
    first = study().runs.groupby("seed")["first_train_loss"].nunique()
    assert first.tolist() == [1, 1]
    assert study().runs["first_train_loss"].nunique() == 2


@pytest.mark.parametrize("model", ["mlp", "mnist_cnn", "logistic"])
def test_every_model_trains_on_digits(cli: Cli, model: str) -> None:
    assert cli(f"model={model}", "seeds=[0]", "train.epochs=3", "optimizer.lr=0.01", "report=false").status == 0
    run = study(f"digits-{model}").runs.iloc[0]
    assert run["final_val_accuracy"] > 0.5
    assert run["num_parameters"] == {"mlp": 8970, "mnist_cnn": 21840, "logistic": 650}[model]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "nadam", "adamax", "adadelta"])
def test_reference_and_torch_train_alike(cli: Cli, optimizer: str) -> None:
    cli(f"optimizer={optimizer}", "optimizer.implementation=forloop,foreach,reference", "seeds=[0]", *SHORT, "-m")
    runs = study().runs
    assert sorted(runs["implementation"]) == ["foreach", "forloop", "reference"]
    assert runs["final_val_loss"].max() - runs["final_val_loss"].min() < 1e-4


def test_bf16_runs_on_the_cpu(cli: Cli) -> None:
    assert cli("device.precision=fp32,bf16", "seeds=[0]", *SHORT, "-m").status == 0
    losses = study().runs.set_index("precision")["final_val_loss"]
    assert losses["fp32"] != losses["bf16"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.05)


def test_a_budget_in_steps(cli: Cli) -> None:
    cli("train.steps=25", "train.eval_every=10", "seeds=[0]", "report=false")
    runs, curves = study()
    assert runs.loc[0, "num_steps"] == 25
    assert runs.loc[0, "budget"] == "25 steps"
    assert sorted(curves[curves["split"] == "val"]["step"].unique()) == [0, 10, 20, 25]


def test_a_persons_own_model_optimizer_and_data(cli: Cli) -> None:
    done = cli(
        *CUSTOM, "+optimizer.lr=0.01", "model=custom", "model._target_=mine.Net", "+model.width=4",
        "data=custom", "data._target_=mine.line", "+data.size=64", "seeds=[0,1]", "train.epochs=3",
    )  # fmt: skip
    assert done.status == 0, done.err
    run = study("line-Net").runs.iloc[0]
    assert (run["optimizer"], run["model"], run["data"], run["loss"]) == ("Mine", "Net", "line", "mse")
    assert run["implementation"] == "own"
    assert run["lr"] == 0.01
    assert pd.isna(run["final_test_accuracy"])
    assert "loss" in Path("reports/line-Net/report.md").read_text()


def test_persons_folders_named_like_ours_do_not_matter(folder: Path, cli: Cli) -> None:
    for name in ("models", "conf", "optimizers"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise RuntimeError('shadowed')")
    (folder / "conf" / "config.yaml").write_text("defaults: [nonsense]")
    assert cli("seeds=[0]", *SHORT).status == 0


# --- how a run can end ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "status", "reason"),
    [
        (["+optimizer.trouble=raise"], "failed", "RuntimeError: gave up"),
        (["+optimizer.trouble=memory"], "oom", "RuntimeError"),
        (["+optimizer.trouble=blowup"], "diverged", "train loss nan at step 10"),
        (["+optimizer.lr=1e20"], "diverged", "train loss"),
        (["train.loss_limit=0.1"], "diverged", "above train.loss_limit=0.1"),
        (["train.time_limit_s=1e-6"], "timeout", "train.time_limit_s=1e-06"),
        (["+optimizer.trouble=constructor"], "failed", "raised KeyError"),
        (["device.precision=tf32"], "skipped", "needs a CUDA GPU"),
        (["optimizer.implementation=reference"], "skipped", "there is a reference rule for"),
        (
            ["model=custom", "model._target_=mine.NotAnOptimizer", "+model.params=1"],
            "failed",
            "must give a torch.nn.Module",
        ),
        (["model=custom", "model._target_=mine.Scalars"], "failed", "must be of shape [64, 10], got [64]"),
    ],
)
def test_a_run_that_does_not_end_ok_is_a_row_and_the_sweep_goes_on(
    cli: Cli, overrides: list[str], status: str, reason: str
) -> None:
    done = cli(*CUSTOM, *overrides, "seeds=[0,1]", *SHORT, "study=s", "-m")
    assert done.status == (0 if status == "skipped" else 1)
    runs, curves = study("s")
    assert runs["status"].tolist() == [status, status]
    assert reason in runs.loc[0, "reason"]
    assert f"{status}: " in done.err
    assert "Traceback" not in done.err
    assert (curves["step"] < 34).all(), "a curve is never padded"
    assert runs["final_val_loss"].isna().all()


def test_troubles_of_one_cell_leave_the_others_alone(cli: Cli) -> None:
    done = cli(*CUSTOM, "+optimizer.trouble=raise,null,blowup", "seeds=[0,1]", *SHORT, "study=s", "-m")
    assert done.status == 1
    assert study("s").runs["status"].value_counts().to_dict() == {"failed": 2, "ok": 2, "diverged": 2}


def test_a_nan_in_the_first_step_is_a_diverged_run_without_numbers(cli: Cli) -> None:
    done = cli("model=custom", "model._target_=mine.NotANumber", "seeds=[0]", "study=s")
    assert done.status == 1
    runs, curves = study("s")
    assert runs.loc[0, "status"] == "diverged"
    assert runs.loc[0, "reason"].startswith("val loss nan at step 0")
    assert len(curves) == 0
    assert "diverged" in Path("reports/s/report.md").read_text()


def test_an_error_in_training_keeps_its_traceback(cli: Cli) -> None:
    done = cli(*CUSTOM, "+optimizer.trouble=raise", "seeds=[0]", *SHORT, "study=s")
    assert done.status == 1
    assert "mine.py" in record("s")["traceback"]
    assert record("s")["config"]["train"]["epochs"] == 2


def test_what_this_machine_lacks_is_skipped_in_a_sweep_and_refused_alone(cli: Cli) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = cli("device=cpu,cuda", "seeds=[0]", *SHORT, "-m")
    assert done.status == 0
    runs = study().runs.set_index("device")
    assert runs["status"].to_dict() == {"cpu": "ok", "cuda": "skipped"}
    assert "torch" in runs.loc["cuda", "reason"]
    alone = cli("device=cuda", *SHORT)
    assert alone.status == 2
    assert alone.err.count("\n") == 1
    assert alone.err.startswith("bench: device=cuda is not available on this machine")


def test_an_interrupt_marks_the_run_in_flight_and_keeps_the_rest(cli: Cli) -> None:
    done = cli(*CUSTOM, "+optimizer.trouble=null,interrupt", "+optimizer.at=20", "seeds=[0,1]", *SHORT, "study=s", "-m")
    assert done.status == 130
    runs, curves = study("s")
    assert sorted(runs["status"]) == ["interrupted", "ok", "ok"]
    cut = runs[runs["status"] == "interrupted"].iloc[0]
    assert cut["num_steps"] == 19
    assert curves[curves["run_id"] == cut["run_id"]]["step"].max() == 17
    assert "run the same command again to resume" in done.err
    assert "Traceback" not in done.err


# --- going on -------------------------------------------------------------------------------------


def test_the_same_command_again_does_only_what_is_missing(cli: Cli) -> None:
    cli("optimizer=adam", "seeds=[0,1]", *SHORT)
    before = study().runs.set_index("run_id")["started_at"]
    done = cli("optimizer=adam,sgd", "seeds=[0,1,2]", *SHORT, "-m")
    after = study().runs.set_index("run_id")["started_at"]
    assert len(after) == 6
    assert (after[before.index] == before).all()
    assert done.err.count("exists already (ok)") == 2
    assert "2 of these runs existed already" in done.out
    forced = cli("optimizer=adam", "seeds=[0]", "force=true", *SHORT)
    assert "exists already" not in forced.err
    assert study().runs.set_index("run_id").loc[before.index, "started_at"].ne(before).sum() == 1


def test_failures_are_tried_again_and_divergence_is_not(cli: Cli, folder: Path) -> None:
    arguments = [*CUSTOM, "+optimizer.trouble=blowup,interrupt", "seeds=[0]", *SHORT, "study=s", "-m"]
    cli(*arguments)
    done = cli(*arguments)
    assert "exists already (diverged)" in done.err
    assert done.status == 130
    assert "interrupted" in done.err


def test_the_exit_status_counts_the_runs_of_this_command(cli: Cli) -> None:
    arguments = [*CUSTOM, "+optimizer.trouble=blowup", "seeds=[0]", *SHORT, "study=s", "-m"]
    assert cli(*arguments).status == 1
    assert cli(*arguments).status == 1, "found, but diverged all the same"
    assert cli("seeds=[0]", *SHORT, "study=s", "-m").status == 0


def test_force_and_an_interrupt_keep_the_earlier_result(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*CUSTOM, "seeds=[0]", *SHORT, "study=s"]
    cli(*arguments)
    before = study("s").runs

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bench.execution.run.train", interrupted)
        assert cli(*arguments, "force=true").status == 130
    pd.testing.assert_frame_equal(study("s").runs, before)


def test_a_timeout_is_tried_again_with_a_higher_limit(cli: Cli) -> None:
    cli("seeds=[0]", "train.time_limit_s=1e-6", *SHORT)
    assert "exists already (timeout)" in cli("seeds=[0]", "train.time_limit_s=1e-6", *SHORT).err
    assert cli("seeds=[0]", "train.time_limit_s=100", *SHORT).status == 0
    assert study().runs["status"].tolist() == ["ok"]


@pytest.mark.parametrize(
    ("first", "second", "num_to_make"),
    [
        (["metrics=[grad_norm]"], ["metrics=[grad_norm]"], 0),
        (["metrics=[grad_norm,update_ratio]"], ["metrics=[update_ratio]"], 0),
        ([], ["metrics=[grad_norm]"], 2),
        (["metrics=[update_ratio]"], ["metrics=[grad_norm,update_ratio]"], 2),
        (["train.save_best=true"], [], 0),
        ([], ["train.save_best=true"], 2),
        (["train.time_limit_s=1e-6"], ["train.time_limit_s=1e-7"], 0),
        (["train.time_limit_s=1e-6"], ["train.time_limit_s=100"], 2),
        (["train.time_limit_s=1e-6"], ["train.time_limit_s=null"], 2),
        ([], ["train.time_limit_s=1e-6"], 0),
        ([], ["force=true"], 2),
        (["device=fake"], ["device=fake", "metrics=[grad_norm]"], 0),
    ],
)
def test_a_plan_counts_the_runs_that_will_be_made(
    cli: Cli, first: list[str], second: list[str], num_to_make: int
) -> None:
    """Runs that exist are made again where they left less than is asked for now, and the plan knows."""
    sweep = ["optimizer=adam,sgd", "seeds=[0]", "memory=false", "-m", *SHORT]
    cli(*sweep, *first)
    before = study().runs.set_index("run_id")["started_at"]
    plan = cli(*sweep, *second, "plan=true")
    assert plan.status == 0, plan.err
    assert f"2 runs, of which {2 - num_to_make} exist and {num_to_make} are to be made" in plan.out
    cli(*sweep, *second)
    after = study().runs.set_index("run_id")["started_at"]
    assert (after[before.index] != before).sum() == num_to_make


def test_a_plan_of_a_tuned_sweep_counts_trials_that_will_be_made_again(cli: Cli) -> None:
    sweep = [
        "sweep=tuned", "sweep.trials=2", "sweep.seeds=1", "optimizer=sgd", "memory=false", "study=digits-mlp", "-m", *SHORT
    ]  # fmt: skip
    cli(*sweep)
    num_runs = len(study().runs)
    assert num_runs == 4
    assert "4 runs, of which 4 exist and 0 are to be made" in cli(*sweep, "plan=true").out
    again = [*sweep, "metrics=[grad_norm]"]
    assert "4 runs, of which 0 exist and 4 are to be made" in cli(*again, "plan=true").out
    assert "existed already" not in cli(*again).out


def test_a_run_with_damaged_curves_is_planned_and_made_again(cli: Cli) -> None:
    cli("seeds=[0]", *SHORT)
    (curves,) = Path("results/digits-mlp/runs").glob("*/curves.parquet")
    curves.write_bytes(b"")
    assert "1 run, of which 0 exist and 1 are to be made" in cli("seeds=[0]", "plan=true", *SHORT).out
    assert "exists already" not in cli("seeds=[0]", *SHORT).err


def test_the_command_of_a_row_repeats_it(cli: Cli) -> None:
    import shlex

    cli("optimizer=sgd", "optimizer.lr=0.1,0.5", "seeds=[3]", *SHORT, "-m")
    runs = study().runs
    words = shlex.split(runs.loc[0, "command"])
    assert words[:3] == ["python", "-m", "bench"]
    value = runs.loc[0, "final_val_loss"]
    assert cli(*words[3:], "report=false").status == 0
    again = study().runs.set_index("run_id").loc[runs.loc[0, "run_id"]]
    assert again["final_val_loss"] == value
    assert again["started_at"] != runs.loc[0, "started_at"]


def _losses(name: str) -> pd.DataFrame:
    runs, curves = study(name)
    return (
        curves.merge(runs[["run_id", "optimizer", "seed"]], on="run_id")
        .sort_values(["optimizer", "seed", "split", "metric", "step"])[
            ["optimizer", "seed", "split", "metric", "step", "value"]
        ]
        .reset_index(drop=True)
    )


def test_same_result_in_any_order_and_company(cli: Cli) -> None:
    """Bit-identical curves, also with dropout, which draws from the global generator."""
    shared = ["model=custom", "model._target_=mine.Net", *SHORT]
    cli("optimizer=adam,sgd,nadam", "seeds=[0,1]", "study=one", *shared, "-m")
    cli("optimizer=nadam,adam,sgd", "seeds=[1,0]", "study=two", "device.precision=bf16,fp32", *shared, "-m")
    for optimizer in ("sgd", "adam", "nadam"):
        for seed in (0, 1):
            cli(f"optimizer={optimizer}", f"seeds=[{seed}]", "study=three", *shared)
    runs, curves = study("two")
    kept = set(runs.loc[runs["precision"] == "fp32", "run_id"])
    one, three = _losses("one"), _losses("three")
    two = curves[curves["run_id"].isin(kept)].merge(runs[["run_id", "optimizer", "seed"]], on="run_id")
    two = two.sort_values(["optimizer", "seed", "split", "metric", "step"])[list(one.columns)].reset_index(drop=True)
    assert len(one) > 100
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    pd.testing.assert_frame_equal(one, three, check_exact=True)


def test_a_model_that_changes_its_input_spoils_no_other_run(cli: Cli, folder: Path) -> None:
    (folder / "shifty.py").write_text(
        "import models.mlp\nclass Net(models.mlp.MLP):\n    def forward(self, x):\n        x -= 0.5\n        return super().forward(x)\n"
    )
    shared = ["model=custom", "model._target_=shifty.Net", "seeds=[0]", *SHORT]
    cli("optimizer=adam,sgd", "study=one", *shared, "-m")
    cli("optimizer=sgd", "study=two", *shared)
    one, two = _losses("one"), _losses("two")
    one = one[one["optimizer"] == "sgd"].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_a_loader_that_draws_gives_the_same_data_always(cli: Cli, folder: Path) -> None:
    (folder / "drawn.py").write_text(
        "import torch\n\ndef load(size=60):\n    return tuple((torch.randn(size, 4), torch.randn(size)) for _ in range(3))\n"
    )
    shared = ["data=custom", "data._target_=drawn.load", "data.name=drawn", "seeds=[0]", "train.batch_size=20", *SHORT]
    cli("+data.size=60,70,60", "study=one", "optimizer=adam,sgd", *shared, "-m")
    assert study("one").runs["data_fingerprint"].nunique() == 2


# --- refusals -------------------------------------------------------------------------------------

REFUSED = {
    "optimizer=adma": f"did you mean optimizer=adamax? optimizer must be one of {options('optimizer')}, got adma",
    "model=mpl": f"model must be one of {options('model')}, got mpl",
    "data=digit": f"did you mean data=digits? data must be one of {options('data')}, got digit",
    "device=gpu": "device must be one of auto, cpu, cuda, fake, mps, got gpu",
    "experiment=x": f"experiment must be one of {options('experiment')}, got x",
    "optimizer.foo=1": "optimizer.foo must be a key of optimizer=adam (name, implementation, lr, betas",
    "+optimizer.foo=1": "optimizer.foo must be an argument of torch.optim.Adam, got an unknown one",
    "train.foo=1": "train.foo must be a key of train (epochs, steps",
    "+train.foo=1": "train.foo must be a key of train, got an unknown one",
    "foo=1": "foo must be a key of the configuration (study, seeds, data",
    "+foo=1": "foo must be a key of the configuration, got an unknown one",
    "optimizer.lr=-1": "optimizer.lr must be a finite number of at least 0, got -1",
    "optimizer.lr=nan": "optimizer.lr must be a finite number of at least 0, got NaN",
    "optimizer.betas=[0.9]": "optimizer.betas must be two numbers",
    "train.epochs=0": "train.epochs must be a whole number from 1 to 10^12, or null, got 0",
    "train.epochs=many": "train.epochs must be a whole number from 1 to 10^12, or null, got 'many'",
    "train.epochs=1000000000": "train.epochs must come to at most 1,000,000,000 steps a run, got 17,000,000,000, 20 days at 0.1 ms",
    "train.steps=100000000000": "train.steps must come to at most 1,000,000,000 steps a run, got 100,000,000,000, 116 days",
    "device.threads=1000": f"device.threads must be at most {len(os.sched_getaffinity(0))}, the number of cores here, got 1000",
    "device.threads=0": "device.threads must be a whole number from 1 to 1024, got 0",
    "study=../../x": "study must be a name",
    "model.hidden=[0]": "model.hidden must be a list of widths of at least 1, got [0]",
    "data.resize=0": "data.resize must be a whole number of pixels from 1 to 1024",
    "train.batch_size=5000": "train.batch_size must be at most the 1,077 training examples",
    "optimizer=adam,sgd": "optimizer must be one value without -m, got adam,sgd; add -m",
    "adam": "every argument must be key=value, got 'adam'",
    "optimizer.lr=[1": "every argument must be key=value",
    "optimizer=custom": "optimizer._target_ must be the dotted path of a class when optimizer=custom",
    "data=mnist": "data.root must hold the MNIST files",
    "device.precision=tf32": "device.precision=tf32 is not available on cpu",
    "optimizer.implementation=fastest": "optimizer.implementation must be one of default, forloop",
    "~train": "train must be a mapping",
    "optimizer=null": "the command must be one that Hydra can compose",
    "+overrides=[a]": "overrides must not be set",
    "optimizer.lr=${nothing}": "optimizer.lr must be a value that can be resolved",
    "model.hidden=[true]": "model.hidden must be a list of widths",
    "optimizers=adam": "did you mean optimizer? optimizers must be a key of the configuration",
}


@pytest.mark.parametrize("argument", REFUSED)
def test_refused_in_one_sentence(cli: Cli, argument: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BENCH_DATA_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = cli(argument)
    assert done.status == 2
    assert done.err.startswith(f"bench: {REFUSED[argument]}"), done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert not Path("results").exists(), "a refused command leaves nothing behind"
    assert not (tmp_path / "cache").exists()


def test_model_that_does_not_fit_the_data(cli: Cli) -> None:
    done = cli("model=mnist_cnn", "data.resize=null")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "must be 1x28x28 for mnist_cnn, got 1x8x8; set data.resize=28" in done.err


def test_one_bad_cell_refuses_the_sweep_before_anything_runs(cli: Cli) -> None:
    for bad, message in (
        ("optimizer.lr=0.1,-1", "optimizer.lr must be a finite number"),
        ("optimizer=adam,adma", "optimizer must be one of"),
    ):
        done = cli(bad, *SHORT, "-m")
        assert done.status == 2
        assert message in done.err
        assert not Path("results").exists()
    done = cli("optimizer=adam,sgd", "optimizer.betas=[.8,.9]", *SHORT, "-m")
    assert "optimizer.betas must be a key of optimizer=sgd" in done.err
    assert "nothing of this sweep was run" in done.err


def test_unknown_keys_of_a_custom_class_and_sweeps_of_nothing(cli: Cli) -> None:
    done = cli("optimizer=custom", "optimizer.foo=1")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "optimizer.foo must be a key of optimizer=" in done.err
    done = cli("optimizer=glob(nothing*)", "-m")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "the sweep must span at least one job" in done.err


def test_times_of_a_run_that_diverged_late_are_of_the_steps_it_made(cli: Cli) -> None:
    cli("seeds=[0]", *SHORT, "study=whole")
    cli(*CUSTOM, "+optimizer.trouble=blowup", "+optimizer.at=25", "seeds=[0]", *SHORT, "study=s")
    run = study("s").runs.iloc[0]
    assert (run["status"], run["num_steps"]) == ("diverged", 30)
    assert run["step_ms"] == pytest.approx(1e3 * (run["train_s"] - run["first_step_s"]) / 29)
    whole = study("whole").runs.iloc[0]
    assert whole["examples_per_s"] == pytest.approx(2 * 1077 / whole["train_s"])


def test_trouble_before_training_is_a_row_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lack of memory while the data moves to the device, an interrupt while it loads."""

    for error, status in ((MemoryError("no room"), "oom"), (KeyboardInterrupt(), "interrupted")):

        def raising(*_: Any, error: BaseException = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("bench.execution.workload._dataset", raising)
            done = cli("seeds=[0]", *SHORT, f"study={status}")
        assert done.status == (130 if status == "interrupted" else 1)
        assert study(status).runs["status"].tolist() == [status]


@pytest.mark.parametrize("arguments", [[], ["-m"]])
def test_a_fault_before_training_keeps_its_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """A ValueError is no mistake of the user's, so its traceback is kept for whoever fixes it."""

    def faulty(*_: Any) -> None:
        raise ValueError("shapes (3,) and (4,) do not match")

    monkeypatch.setattr("bench.execution.workload._dataset", faulty)
    assert cli("seeds=[0]", "memory=false", *SHORT, *arguments).status == 1
    assert study().runs["reason"].tolist() == ["ValueError: shapes (3,) and (4,) do not match"]
    traceback = record()["traceback"]
    assert traceback.startswith("Traceback (most recent call last)")
    assert "in faulty" in traceback
    assert traceback.rstrip().endswith("ValueError: shapes (3,) and (4,) do not match")


def test_a_persons_mistake_is_recorded_without_a_traceback(cli: Cli) -> None:
    done = cli("model=custom", "model._target_=mine.Scalars", "seeds=[0]", "study=s", "-m", *SHORT)
    assert done.status == 1
    assert "must be of shape [64, 10], got [64]" in study("s").runs.loc[0, "reason"]
    assert "traceback" not in record("s")


def test_overrides_may_stand_on_both_sides_of_m(cli: Cli) -> None:
    assert cli("optimizer=adam,sgd", "-m", "train.epochs=1", "seeds=[0]", "report=false").status == 0
    assert len(study().runs) == 2


@pytest.mark.parametrize("where", ["file/results", "/proc/results"])
def test_results_that_cannot_be_written_are_one_sentence(cli: Cli, where: str) -> None:
    Path("file").write_text("")
    done = cli(f"results_dir={where}", *SHORT)
    assert done.status == 2
    assert done.err.splitlines()[-1].startswith("bench: results_dir must be a folder that can be written, got")
    assert "Traceback" not in done.err


def test_a_full_disk_is_one_sentence_and_earlier_runs_are_intact(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("optimizer=adam", "seeds=[0]", *SHORT)
    before = study().runs

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.write_table", full)
        done = cli("optimizer=sgd", "seeds=[0]", *SHORT, "-m")
    assert done.status == 2
    assert "No space left on device" in done.err
    assert "Traceback" not in done.err
    pd.testing.assert_frame_equal(study().runs, before)


def test_a_study_of_a_newer_version_is_refused_before_training(cli: Cli) -> None:
    cli("seeds=[0]", *SHORT)
    (path,) = Path("results/digits-mlp/runs").glob("*/run.json")
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    done = cli("seeds=[0]", *SHORT)
    assert done.status == 2
    assert "version 1 or older, got version 99" in done.err


def test_hydra_full_error_shows_the_traceback(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="adma"):
        cli("optimizer=adma")


# --- memory and noise -----------------------------------------------------------------------------


def test_memory_is_measured_once_a_cell_and_stands_in_every_run(cli: Cli) -> None:
    assert cli("optimizer=adam,sgd", "seeds=[0,1]", *SHORT, "-m").status == 0
    memory = tables.load_side("results/digits-mlp", "memory").set_index("optimizer")
    runs = study().runs
    assert len(memory) == 2
    assert set(runs["cell_id"]) == set(memory["cell_id"])
    for optimizer, group in runs.groupby("optimizer"):
        assert set(group["peak_tensors_mib"]) == {memory.loc[optimizer, "peak_mib"]}
        assert set(group["optimizer_state_mib"]) == {memory.loc[optimizer, "optimizer_state_mib"]}
    assert memory["state_bytes_per_parameter"].round(1).to_dict() == {"adam": 8.0, "sgd": 0.0}
    assert set(memory["stage"]) == {"single"}
    parts = [f"{part}_mib" for part in PARTS]
    assert (memory[parts].sum(axis=1) - memory["peak_mib"]).abs().max() < 1e-9


PARTS = ("parameters", "gradients", "optimizer_state", "activations", "temporaries", "buffers", "inputs")


def test_instruments_do_not_change_a_bit_of_a_curve(cli: Cli) -> None:
    dropout = ["model=custom", "model._target_=mine.Net", "optimizer=adam,sgd", "seeds=[0,1]", *SHORT, "-m"]
    cli(*dropout, "study=with")
    cli(*dropout, "study=without", "memory=false")
    assert tables.load_side("results/without", "memory").empty
    kept = ["run_id", "step", "split", "metric", "value"]
    with_, without = (study(name).curves[kept].sort_values(kept[:4], ignore_index=True) for name in ("with", "without"))
    pd.testing.assert_frame_equal(with_, without, check_exact=True)


def test_noise_is_recorded_and_counters_add_up_to_the_whole(cli: Cli) -> None:
    cli("optimizer=adam", "seeds=[0,1,2]", "report=false")
    runs = study().runs
    assert set(runs["timing_quality"]) <= {"clean", "noisy", "contended"}
    assert (runs["yardstick_ms"] >= runs["yardstick_best_ms"]).all()
    assert runs["cpu_share"].between(0, 1.01).all()
    assert (runs["num_jobs_beside"] == 0).all()
    counters = ["construct_s", "warmup_s", "train_s", "eval_s", "log_s", "write_s", "rest_s"]
    assert (runs[counters].sum(axis=1) - runs["total_s"]).abs().max() < 1e-9
    assert (runs["rest_s"] < 0.5 * runs["total_s"]).all()


def test_memory_is_predicted_without_the_hardware(cli: Cli) -> None:
    done = cli("device=fake", "model=mnist_cnn", "optimizer=adam,sgd", "-m")
    assert done.status == 0, done.err
    assert "predicted" in done.out
    predicted, curves = study("digits-mnist_cnn")
    assert curves.empty
    assert set(predicted["stage"]) == {"predicted"}
    assert len(predicted) == 2, "no seed changes a prediction"
    assert predicted["final_val_loss"].isna().all()
    page = Path("reports/digits-mnist_cnn/report.md").read_text()
    assert "nothing is ranked" in page
    assert "not measured" in page
    cli("model=mnist_cnn", "optimizer=adam,sgd", "seeds=[0]", *SHORT, "-m")
    memory = tables.load_side("results/digits-mnist_cnn", "memory")
    peaks = memory.pivot_table(index="optimizer", columns="stage", values="peak_mib", observed=True)
    assert (peaks["predicted"] / peaks["single"] - 1).abs().max() < 0.01
    assert cli("device=fake", "model=mnist_cnn", "optimizer=adam,sgd", "-m").err.count("exists already") == 2


def test_data_of_shapes_is_not_trained_on(cli: Cli) -> None:
    done = cli("data=imagenet_shapes", "model=torchvision", *SHORT)
    assert done.status == 2
    assert "data=imagenet_shapes has shapes but nothing to learn from, got device=cpu; use device=fake" in done.err


def test_memory_that_cannot_be_measured_does_not_stop_a_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:

    def failing(*_: Any) -> None:
        raise RuntimeError("no tracker today")

    monkeypatch.setattr("bench.execution.memory_pass.profile_memory", failing)
    done = cli("seeds=[0,1]", *SHORT)
    assert done.status == 0
    assert done.err.count("was not measured: RuntimeError: no tracker today") == 1
    assert study().runs["peak_tensors_mib"].isna().all()


def test_the_compiled_step_is_the_forloop_step(cli: Cli) -> None:
    done = cli("optimizer=adam", "optimizer.implementation=forloop,compiled", "seeds=[0,1]", *SHORT, "-m")
    assert done.status == 0, done.err
    runs = study().runs
    assert set(runs["implementation"]) == {"forloop", "compiled"}
    by = runs.pivot_table(index="seed", columns="implementation", values="final_val_loss")
    assert by["compiled"].tolist() == pytest.approx(by["forloop"].tolist(), rel=1e-4)


def test_no_compiler_is_a_skipped_row(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    done = cli("optimizer.implementation=compiled,forloop", "optimizer.weight_decay=0.125", "seeds=[0]", *SHORT, "-m")
    rows = study().runs.set_index("status")["reason"]
    if "skipped" in rows:  # a compiled step found in torch's cache needs no compiler
        assert "implementation=compiled is not available on this machine: torch.compile says" in rows["skipped"]
    assert "ok" in rows
    assert "Traceback" not in done.err


def test_runs_from_before_there_was_a_memory_pass_get_one(cli: Cli) -> None:
    cli("seeds=[0,1]", *SHORT, "memory=false")
    assert tables.load_side("results/digits-mlp", "memory").empty
    assert "existed already" in cli("seeds=[0,1]", *SHORT).out
    assert len(tables.load_side("results/digits-mlp", "memory")) == 1


def test_every_predicted_setting_is_shown(cli: Cli) -> None:
    done = cli("device=fake", "optimizer=sgd", "optimizer.momentum=0,0.9", "-m")
    assert done.status == 0, done.err
    text = Path("reports/digits-mlp/report.md").read_text()
    assert "| sgd momentum=0 |" in text
    assert "| sgd momentum=0.9 |" in text
    assert "lowest mean final validation loss" not in text


def test_json_is_all_that_is_printed_and_holds_what_was_concluded(cli: Cli) -> None:
    done = cli("optimizer=adam,sgd", "train.steps=20", "seeds=2", "memory=false", "--json", "-m")
    found = json.loads(done.out)
    assert (done.status, found["exit_status"]) == (0, 0)
    (one,) = found["studies"]
    assert one["report"] == "reports/digits-mlp/index.html"
    assert {row["optimizer"] for row in one["sections"][0]["leaderboard"]} == {"adam", "sgd"}
    refused = cli("optimizer=adamm", "--json")
    assert (refused.status, json.loads(refused.out)) == (2, {"studies": [], "exit_status": 2})
