"""`python -m bench.step_cost`: the real command once, every refusal, and what a replicate measures."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import commands
import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench import tables
from bench.base.paths import CONF_DIR
from bench.config.parse import parse_step_cost
from bench.execution.workload import dataset
from bench.report.study.sentences import quick_words
from bench.step_cost import measurement, worker

FEW = [
    "optimizers=[adam,{name:sgd,momentum:0.9},sgd,rmsprop]",
    "implementations=[forloop,fused]",
    "builds=1",
    "rounds=3",
]

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return OmegaConf.to_container(compose("step_cost", list(overrides)), resolve=True)


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("bench.step_cost", *arguments, cwd=folder)


def test_the_command(folder: Path) -> None:
    done = call(folder, *FEW)
    assert done.returncode == 0, done.stderr
    for words in (
        "sgd-momentum-0.9",
        "× sgd forloop",
        "rmsprop fused: skipped",
        "step_costs.csv",
    ):
        assert words in done.stdout
    rows = tables.load_side("results/digits-mlp", "step_costs")
    ok = rows[rows["status"] == "ok"]
    assert len(ok) == 5 * 7
    assert ok.groupby("process").size().tolist() == [7] * 5
    assert set(rows[rows["status"] == "skipped"]["reason"].str.contains("no argument fused")) == {True}
    assert set(ok["baseline"]) == {"sgd/forloop"}
    base = ok[(ok["optimizer"] == "sgd") & (ok["implementation"] == "forloop")]
    assert (base["step_ratio"] == 1).all()
    assert (ok["timer_share"] < 1e-3).all()
    for column in ("step_us", "train_step_us", "data_us", "zero_grad_us", "forward_us", "backward_us", "optimizer_us"):
        assert (ok[column] > 0).all(), column
    state = ok.drop_duplicates("optimizer").set_index("optimizer")["state_mib"] * 2**20 / 8970
    assert state.round(1).to_dict() == {"adam": 8.0, "sgd": 0.0, "rmsprop": 4.0, "sgd-momentum-0.9": 4.0}
    traffic = ok.drop_duplicates("optimizer").set_index("optimizer")["least_traffic_mib"] * 2**20 / 8970
    assert traffic.round(0).to_dict() == {"adam": 28, "sgd": 12, "rmsprop": 20, "sgd-momentum-0.9": 20}
    for file in (
        "index.html",
        "report.md",
        "figures/step-cost.svg",
        "figures/training-step.png",
        "tables/step-costs.csv",
    ):
        assert (Path("reports/digits-mlp") / file).stat().st_size > 0
    if (ok["timing_quality"] != "contended").all():  # of contended times nothing is said
        assert "The update rule" in Path("reports/digits-mlp/report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m"], "step costs must be measured in one go, got -m"),
        (["optimizer=adam"], "name them in a list, such as optimizers=[adam,sgd]"),
        (["optimizers=adam"], "optimizers must be a list such as [adam,sgd], got 'adam'"),
        (["optimizers=[adma]"], "optimizers[0] must be one of adadelta, ada"),
        (["optimizers=[adam,adam]"], "optimizers must be different from each other"),
        (["optimizers=[{name:sgd,betas:0.9}]"], "optimizers[0].betas must be a setting of sgd"),
        (["optimizers=[{name:sgd,momentum:-1}]"], "optimizer.momentum must be a finite number of at least 0"),
        (["optimizers=[3]"], "optimizers[0] must be one of"),
        (["implementations=[fast]"], "implementations[0] must be one of"),
        (["implementations=[]"], "implementations must be a list of reference"),
        (["implementations=[fused,fused]"], "implementations must be different from each other"),
        (["baseline=lion"], "baseline must be one of the optimizers (adam, sgd,"),
        (["replicates=4"], "replicates must be a whole number from 5 to 1000"),
        (["builds=0"], "builds must be a whole number from 1 to 1000"),
        (["rounds=1.5"], "rounds must be a whole number from 1 to 100000"),
        (["train.batch_size=0"], "train.batch_size must be a whole number"),
        (["device=fake"], "device must be one whose clock can be read, got fake"),
        (["device.name=gpu"], "device.name must be one of"),
        (["train.epochs=3"], "train.epochs must be a key of"),
        (["results_dir=null"], "results_dir must be the path of a folder"),
    ],
)
def test_what_is_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["step_cost", *arguments])
    assert measurement.main() == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train.batch_size=2000"], "train.batch_size must be at most the 1,077 training examples"),
        (["data.resize=9", "model=mnist_cnn"], "must be 1x28x28 for mnist_cnn"),
        (["optimizers=[{_target_:mine.NotAnOptimizer}]"], "must be a torch.optim.Optimizer"),
        (["device.precision=tf32"], "needs a CUDA GPU"),
    ],
)
def test_what_a_replicate_refuses(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    config = parse_step_cost(composed(*arguments))
    spec = {"config": config.model_dump(), "known": {"device": "cpu"}, "process": 0}
    answers = io.StringIO()
    monkeypatch.setattr(sys, "stdout", answers)
    assert worker.main(json.dumps(spec)) == 0
    assert sentence in json.loads(answers.getvalue())["refused"]


def test_a_refusal_of_a_replicate_is_the_commands(folder: Path) -> None:
    done = call(folder, "optimizers=[{_target_:mine.NotAnOptimizer}]")
    assert done.returncode == 2
    assert "must be a torch.optim.Optimizer" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("results").exists()


def build(*overrides: str, known: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    config = parse_step_cost(composed(*overrides))
    row = {
        "process": 0, "build": 0, "workload_id": "w", "environment_id": "e", "device": "cpu", "session_id": "s",
        "last_cache_mib": 1.0,
    }  # fmt: skip
    device = torch.device("cpu")
    data = dataset(config.data, device)
    return worker.build_and_time(config, data, device, nullcontext(), row | (known or {}), set())


def test_a_class_of_ones_own_is_measured_and_fails_alone(folder: Path) -> None:
    for at, trouble in ((10**9, "raise"), (2, "raise"), (8, "raise")):
        own = f"{{_target_:mine.Mine,trouble:{trouble},at:{at}}}"
        rows = build(f"optimizers=[sgd,{own},adam]", "implementations=[forloop,fused]", "rounds=1")
        found = {(row["optimizer"], row["implementation"]): row for row in rows}
        assert set(found) == {
            ("sgd", "forloop"),
            ("sgd", "fused"),
            ("adam", "forloop"),
            ("adam", "fused"),
            ("Mine", "own"),
        }
        row = found.pop(("Mine", "own"))
        assert row["status"] == ("ok" if at > 100 else "failed")
        assert at > 100 or row["reason"] == "RuntimeError: gave up"
        assert {row["status"] for row in found.values()} == {"ok"}
        assert all(row["step_us"] > 0 for row in found.values())


def test_what_an_optimizer_does_to_gradients_stays_its_own(folder: Path) -> None:
    (folder / "greedy.py").write_text(
        "import torch\n"
        "class Greedy(torch.optim.SGD):\n"
        "    def step(self, closure=None):\n"
        "        for group in self.param_groups:\n"
        "            for p in group['params']:\n"
        "                assert p.grad.abs().max() < 1e3, 'not the gradient of a batch'\n"
        "                p.grad.mul_(1e6)\n"
        "                p.grad.mul_(1e-6)\n"
        "                p.grad.fill_(7.0)\n"
    )
    rows = build("optimizers=[sgd,{_target_:greedy.Greedy}]", "implementations=[forloop]", "rounds=2")
    assert {row["status"] for row in rows} == {"ok"}


def test_settings_of_torchs_optimizers(folder: Path) -> None:
    rows = build("optimizers=[sgd,{name:adam,amsgrad:true}]", "implementations=[foreach]", "rounds=1")
    by_name = {row["optimizer"]: row for row in rows}
    assert by_name["adam-amsgrad-True"]["state_mib"] * 2**20 == pytest.approx(12 * 8970, rel=0.01)
    assert by_name["sgd"]["baseline"] == "sgd/foreach"


def test_share_of_the_memory_limit() -> None:
    rows = build("optimizers=[sgd,adam]", "implementations=[forloop]", "rounds=3", "model.hidden=[512,512]")
    for row in rows:
        seconds = row["least_traffic_mib"] / 2**10 / row["bandwidth_gib_per_s"]
        assert row["limit_share"] == pytest.approx(seconds / (1e-6 * row["step_us"]))
        assert 0 < row["limit_share"] < 1.5  # the limit is faster, but for noise


def test_an_optimizer_at_the_limit_is_seen_to_be_there(folder: Path) -> None:
    (folder / "flat.py").write_text(
        "import torch\n"
        "class Flat(torch.optim.Optimizer):\n"
        "    def __init__(self, params, lr=0.1):\n"
        "        super().__init__(params, {'lr': lr})\n"
        "        n = sum(p.numel() for group in self.param_groups for p in group['params'])\n"
        "        self.flat, self.other = torch.zeros(n), torch.zeros(n)\n"
        "    def step(self, closure=None):\n"
        "        self.flat.add_(self.other, alpha=0.5)\n"
    )
    (row, _) = build(
        "optimizers=[{_target_:flat.Flat},sgd]", "implementations=[forloop]", "rounds=15", "model.hidden=[1024,1024]"
    )
    assert 0.2 < row["limit_share"] < 5


def test_a_gpu_without_room_for_the_limit_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(worker, "least_traffic", full)
    (row,) = build("optimizers=[sgd]", "implementations=[forloop]", "rounds=1")
    assert row["status"] == "ok"
    assert (row["limit_share"], row["bandwidth_gib_per_s"]) == (None, None)


def test_a_process_that_dies_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def dying(command: list[str], **options: Any) -> Any:
        return real([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], **options)

    monkeypatch.setattr("bench.step_cost.measurement.subprocess.Popen", dying)
    rows, failure = measurement._one_process("", ENVIRONMENT, lambda: None)
    assert rows == []
    assert failure is not None
    assert "killed by signal 9" in failure


def test_names_of_settings() -> None:
    config = parse_step_cost(composed("optimizers=[{name:adam,betas:[0.8,0.9]},{name:sgd,lr:0.001}]"))
    assert [o.name for o in config.optimizers] == ["adam-betas-_0.8_0.9_", "sgd"]
    assert config.baseline == "sgd"


def test_a_step_that_needs_a_closure_is_skipped_with_the_reason() -> None:
    rows = build("optimizers=[sgd,lbfgs]", "implementations=[forloop]", "rounds=1")
    statuses = {row["optimizer"]: row["status"] for row in rows}
    assert statuses == {"sgd": "ok", "lbfgs": "skipped"}
    (skipped,) = (row for row in rows if row["optimizer"] == "lbfgs")
    assert skipped["reason"] == "a step of lbfgs cannot be timed alone: its gradients come from a closure"


def test_quick_makes_fewer_builds_unless_set_by_hand_and_says_what_it_cannot_tell(folder: Path) -> None:
    quick = parse_step_cost(composed("quick=true"), ["quick=true"])
    assert (quick.replicates, quick.builds, quick.rounds) == (5, 1, 3)
    by_hand = parse_step_cost(composed("quick=true", "builds=2"), ["quick=true", "builds=2"])
    assert (by_hand.builds, by_hand.rounds) == (2, 3)
    costs = pd.DataFrame({"num_processes": [5, 5], "num_replicates": [5, 5]})
    for builds, said in ((1, True), (5, False)):
        words = quick_words(costs.assign(num_replicates=5 * builds))
        assert ("it cannot tell smaller differences" in words) == said
