"""Training options from the command line: what each does, and that the tables say so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bench import tables

Cli = Callable[..., Any]
SHORT = ["seeds=[0]", "train.epochs=2", "report=false"]


def runs(name: str = "digits-mlp") -> pd.DataFrame:
    return tables.load(Path("results") / name).runs


def only(name: str = "digits-mlp") -> pd.Series:
    (row,) = (row for _, row in runs(name).iterrows())
    return row


def ok(done: Any) -> None:
    assert done.status == 0, done.err


def test_options_are_recorded(cli: Cli) -> None:
    ok(
        cli(
            *SHORT, "train.clip_norm=0.5", "train.accumulate=3", "regularization.l1=1e-4",
            "regularization.weights_only=true", "data.order=frozen", "optimizer.weight_decay=0.1",
        )
    )  # fmt: skip
    run = only()
    assert (run["clip_norm"], run["accumulate"], run["l1"], run["order"]) == (0.5, 3, 1e-4, "frozen")
    assert bool(run["weights_only_decay"])
    assert not bool(run["compiled_model"])
    assert (run["augment"], run["loss"], run["num_evaluations"]) == ("none", "cross_entropy", run["num_steps"])
    assert json.loads(run["class_counts"]) == [107, 109, 106, 110, 108, 109, 109, 107, 104, 108]
    assert pd.isna(run["step_cost_id"]), "such a step is not what bench.step_cost times"


@pytest.mark.parametrize(
    "option",
    [
        "train.clip_norm=0.1", "regularization.l1=1e-2", "data.order=frozen", "train.accumulate=2", "loss=as_printed",
    ],
)  # fmt: skip
def test_every_option_is_another_cell_and_the_neutral_value_is_none(cli: Cli, option: str) -> None:
    ok(cli(*SHORT, "memory=false"))
    ok(cli(*SHORT, "memory=false", option))
    assert runs()["cell_id"].nunique() == 2
    key = option.partition("=")[0]
    neutral = {"train.clip_norm": "null", "regularization.l1": "0.0", "data.order": "reshuffled", "loss": "default"}
    ok(cli(*SHORT, "memory=false", f"{key}={neutral.get(key, '1')}"))
    assert runs()["cell_id"].nunique() == 2


def test_a_batch_in_parts_trains_alike_and_needs_less_memory(cli: Cli) -> None:
    ok(cli(*SHORT, "train.accumulate=1,4", "model=mnist_cnn", "train.steps=5", "-m"))
    table = runs("digits-mnist_cnn").set_index("accumulate")
    assert table.loc[4, "final_val_loss"] == pytest.approx(table.loc[1, "final_val_loss"], rel=1e-4)
    memory = tables.load_side("results/digits-mnist_cnn", "memory").set_index("cell_id")["activations_mib"]
    assert memory[table.loc[4, "cell_id"]] < 0.5 * memory[table.loc[1, "cell_id"]]


def test_weight_decay_leaves_biases_alone_on_request(cli: Cli) -> None:
    """With plain SGD at learning rate r and decay d, a weight that has no gradient shrinks by 1 - r d a step."""
    from bench.build.optimizer import build_optimizer
    from bench.config.schema import OptimizerConfig

    config = OptimizerConfig(
        target="torch.optim.SGD", name="sgd", options={"lr": 0.1, "weight_decay": 0.5}, implementation="forloop"
    )
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.nn.init.ones_(model[0].bias)
    for weights_only in (True, False):
        before = [p.detach().clone() for p in model.parameters()]
        optimizer, _ = build_optimizer(config, model, weights_only)
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer.step()
        for p, old in zip(model.parameters(), before, strict=True):
            kept = weights_only and p.ndim == 1
            assert torch.allclose(p, old if kept else old * (1 - 0.1 * 0.5))


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "adafactor", "sgd"])
def test_weight_decay_of_any_optimizer_takes_weights_only(cli: Cli, optimizer: str) -> None:
    ok(cli(*SHORT, f"optimizer={optimizer}", "optimizer.weight_decay=0.1", "regularization.weights_only=true"))
    assert only()["status"] == "ok"


# --- checkpoints ----------------------------------------------------------------------------------


def test_the_best_weights_are_kept_and_training_starts_from_them(cli: Cli) -> None:
    ok(cli("seeds=[0]", "train.epochs=8", "optimizer.lr=0.05", "train.save_best=true", "study=one", "report=false"))
    first = only("one")
    best = Path("results/one/runs") / first["run_id"] / "best.pt"
    state = torch.load(best, weights_only=True)
    assert sum(t.numel() for t in state.values()) == 8970
    ok(cli("seeds=[3]", "train.steps=1", f"train.init_from={best}", "study=two", "report=false"))
    curves = tables.load("results/two").curves
    start = curves[(curves["step"] == 0) & (curves["split"] == "val") & (curves["metric"] == "loss")]["value"].item()
    assert start == pytest.approx(first["best_val_loss"], rel=1e-6)
    digest = hashlib.sha256(best.read_bytes()).hexdigest()[:8]
    assert only("two")["init_from"] == f"best.pt {digest}"
    assert only("two")["workload"] == f"mlp on digits, batch 64, from best.pt {digest}"
    ok(cli("seeds=[3]", "train.steps=1", "study=two", "report=false"))
    assert runs("two")["workload_id"].nunique() == 2, "a fresh start is no competitor"


def test_what_is_kept_beside_a_result_makes_no_other_cell_and_is_made_up_for(cli: Cli) -> None:
    """A run that left less than is asked for is repeated, and then leaves what it left before, too."""
    ok(cli(*SHORT))
    first = only()
    assert not list(Path("results").rglob("best.pt"))
    for options in (["train.save_best=true"], ["metrics=[distance,distance]"], ["metrics=[grad_norm]"]):
        assert "exists already" not in cli(*SHORT, *options).err
        assert "exists already" in cli(*SHORT, *options).err
        assert (only()["run_id"], only()["final_val_loss"]) == (first["run_id"], first["final_val_loss"])
    assert len(list(Path("results").rglob("best.pt"))) == 1
    assert only()["metrics"] == "distance,grad_norm"
    assert "exists already" in cli(*SHORT).err


def test_the_cell_goes_by_the_weights_not_by_the_name_of_their_file(cli: Cli, folder: Path) -> None:
    ok(cli(*SHORT, "train.save_best=true", "study=one"))
    (best,) = Path("results/one/runs").glob("*/best.pt")
    for name in ("a.pt", "b.pt"):
        (folder / name).write_bytes(best.read_bytes())
        ok(cli(*SHORT, f"train.init_from={name}", "study=two"))
    assert len(runs("two")) == 1
    changed = {k: v + 1 for k, v in torch.load(best, weights_only=True).items()}
    torch.save(changed, folder / "b.pt")
    ok(cli(*SHORT, "train.init_from=b.pt", "study=two"))
    assert len(runs("two")) == 2


@pytest.mark.parametrize("kind", ["text", "pickle", "list", "other model"])
def test_files_that_hold_no_weights_of_this_model_are_one_sentence(cli: Cli, folder: Path, kind: str) -> None:
    file = folder / "w.pt"
    if kind == "text":
        file.write_text("not weights")
    else:
        contents = {"pickle": Path("/"), "list": [1, 2], "other model": torch.nn.Linear(2, 2).state_dict()}
        torch.save(contents[kind], file)
    done = cli(*SHORT, "train.init_from=w.pt")
    assert done.status == 2
    assert done.err.count("train.init_from must ") == 1
    assert "Traceback" not in done.err
    assert not (folder / "results").exists()


# --- losses and metrics ---------------------------------------------------------------------------


def test_nll_on_log_softmax_is_cross_entropy(cli: Cli) -> None:
    ok(cli(*SHORT, "study=s"))
    ok(cli(*SHORT, "study=s", "model.log_softmax=true", "loss=nll"))
    table = runs("s")
    assert sorted(table["loss"]) == ["cross_entropy", "nll"]
    assert table["final_val_loss"].max() == pytest.approx(table["final_val_loss"].min(), rel=1e-5)
    done = cli(*SHORT, "loss=nll", "study=other")
    assert done.status == 2
    assert "loss=nll must be given log-probabilities" in done.err


def test_the_printed_loss_teaches_nothing(cli: Cli) -> None:
    """An epoch of cross-entropy lifts accuracy far above chance; the printed loss sends it below."""
    for loss in ("default", "as_printed"):
        cli("seeds=[0]", "train.epochs=5", "report=false", f"loss={loss}", "optimizer.lr=0.01", "train.loss_limit=1e9")
    table = runs().set_index("loss")
    assert table.loc["cross_entropy", "final_val_accuracy"] > 0.8
    assert not table.loc["as_printed", "final_val_accuracy"] > 0.2
    assert table["workload_id"].nunique() == 2, "losses of different kinds are not compared"


def test_metrics_are_recorded_and_change_nothing(cli: Cli) -> None:
    ok(cli(*SHORT, "train.clip_norm=0.5"))
    ok(cli(*SHORT, "train.clip_norm=0.5", "metrics=[grad_norm,update_ratio,distance,latency]", "study=s"))
    table, curves = tables.load("results/s")
    assert table["final_val_loss"].item() == only()["final_val_loss"]
    metrics = curves[curves["split"] == "train"].pivot_table(index="step", columns="metric", values="value")
    metrics = metrics.dropna()
    assert len(metrics) == 6
    assert metrics["grad_norm"].max() <= 0.5 + 1e-4
    assert metrics["grad_norm"].min() > 0
    assert metrics["distance"].is_monotonic_increasing
    assert metrics["update_ratio"].between(1e-5, 1).all()
    assert table["latency_ms"].item() > 0
    assert table["latency_batch_ms"].item() > 0
    assert pd.isna(only()["latency_ms"])


def curves_of(study: str) -> pd.DataFrame:
    table = tables.load(f"results/{study}").curves
    return table[["step", "epoch", "split", "metric", "value"]].reset_index(drop=True)


def test_norms_of_layers_and_moved_images_change_no_curve_and_are_made_up_for(cli: Cli) -> None:
    ok(cli(*SHORT, "study=s"))
    plain, first = curves_of("s"), only("s")
    assert pd.isna(first["moved_test_accuracy"])
    for metric in ("layer_grad_norm", "moved_accuracy"):
        assert "exists already" not in cli(*SHORT, "study=s", f"metrics=[{metric}]").err
        assert "exists already" in cli(*SHORT, "study=s", f"metrics=[{metric}]").err
    run, found = only("s"), curves_of("s")
    assert run["metrics"] == "layer_grad_norm,moved_accuracy"
    assert run["run_id"] == first["run_id"]
    norms = found["metric"].isin(["grad_norm_first", "grad_norm_last"])
    assert found[norms].groupby("metric")["value"].count().to_dict() == {"grad_norm_first": 6, "grad_norm_last": 6}
    assert (found.loc[norms, "value"] > 0).all()
    pd.testing.assert_frame_equal(found[~norms].reset_index(drop=True), plain)


def test_accuracy_on_moved_images_is_that_of_the_trained_weights_and_below_the_clean_one(cli: Cli) -> None:
    from bench.data import digits
    from bench.data.dataset import as_dataset
    from bench.training.augmentation import ShiftRotate
    from models.mlp import MLP

    base = ["seeds=[0]", "train.epochs=6", "optimizer.lr=0.01", "report=false", "memory=false", "train.save_best=true"]
    for study, more in (("one", []), ("two", ["force=true"]), ("parts", ["train.accumulate=3"])):
        ok(cli(*base, "metrics=[moved_accuracy]", f"study={study}", *more))
    run = only("one")
    assert run["best_val_step"] == run["num_steps"], "so that the weights kept are the last ones"
    assert run["moved_test_accuracy"] == only("two")["moved_test_accuracy"]
    (best,) = Path("results/one/runs").glob("*/best.pt")
    model = MLP((1, 8, 8), 10)
    model.load_state_dict(torch.load(best, weights_only=True))
    x, y = as_dataset(digits.load()).splits["test"]
    with torch.no_grad():
        right = (model(ShiftRotate((1, 8, 8))(x)).argmax(1) == y).sum().item()
    assert run["moved_test_accuracy"] == right / 360
    assert 0.1 < run["moved_test_accuracy"] < run["final_test_accuracy"] - 0.1
    parts = only("parts")
    assert abs(parts["moved_test_accuracy"] - run["moved_test_accuracy"]) < 0.02, "batches of 22: the same images"


@pytest.mark.parametrize(
    "arguments",
    [["model=linear", "data=regression"], ["model=logistic", "data=text"], ["model=autoencoder"]],
)
def test_accuracy_on_moved_images_is_of_images(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, *SHORT, "metrics=[moved_accuracy]")
    assert done.status == 2
    assert done.err.count("metrics must leave out moved_accuracy for data that is not images") == 1
    assert "Traceback" not in done.err
    assert not Path("results").exists()


# --- fewer training examples ------------------------------------------------------------------------


def test_fewer_training_examples_are_another_workload(cli: Cli) -> None:
    for num in ("100", "500", "1077", "null"):
        ok(cli(*SHORT, f"data.num_train={num}", "memory=false", "study=s"))
    table = runs("s").set_index("num_train", drop=False).sort_index()
    assert list(table.index) == [100, 500, 1077, 1077]
    for column in ("cell_id", "workload_id", "workload", "data_fingerprint"):
        assert table[column].nunique() == 4, column
    assert table.loc[500, "workload"] == "mlp on digits, 500 training examples, batch 64"
    assert sum(json.loads(table.loc[100, "class_counts"])) == 100
    assert table.loc[500, "num_steps"] == 16
    assert table.loc[1077, "final_val_loss"].nunique() == 1, "all of them are all of them, bit for bit"
    assert table.loc[[100, 500, 1077], "final_val_loss"].nunique() == 3
    assert list(table["num_val"].unique()) == [360]


def test_every_seed_and_optimizer_trains_on_the_same_examples(cli: Cli) -> None:
    ok(cli("optimizer=adam,sgd", "seeds=[0,1]", "data.num_train=64,128", "train.steps=2", "report=false", "-m"))
    table = runs()
    assert len(table) == 8
    assert table.groupby("num_train")["data_fingerprint"].nunique().tolist() == [1, 1]
    assert table.groupby("num_train")["workload_id"].nunique().tolist() == [1, 1]
    memory = tables.load_side("results/digits-mlp", "memory")
    assert set(memory["workload_id"]) == set(table["workload_id"])


def test_memory_is_predicted_for_fewer_examples_under_their_id(cli: Cli) -> None:
    ok(cli(*SHORT, "device=fake", "data.num_train=200"))
    ok(cli(*SHORT, "device=fake"))
    table = runs()
    assert table["workload_id"].nunique() == 2
    assert table["data_fingerprint"].nunique() == 2


def test_step_costs_and_compare_take_fewer_examples(folder: Path) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from bench import compare
    from bench.base.paths import CONF_DIR
    from bench.config.parse import parse_step_cost
    from bench.execution.workload import dataset

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node: Any = OmegaConf.to_container(compose("step_cost", ["+data.num_train=80"]), resolve=True)
    data = dataset(parse_step_cost(node).data, torch.device("cpu"))
    assert data.size("train") == 80
    x, y = torch.randn(90, 4), torch.arange(90) % 3
    given: Any = tuple((x, y) for _ in range(3))
    settings = {"data.num_train": 30, "memory": False}
    for what in ("digits", given):
        found = compare("mlp", what, ["adam"], seeds=1, epochs=1, batch_size=16, settings=settings)
        assert found.runs["num_train"].tolist() == [30]
    counts = json.loads(found.runs["class_counts"].item())
    assert counts == [10, 10, 10]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["data.num_train=1078"], "data.num_train must be at most 1,077, the training examples there are, got 1,078"),
        (["data.num_train=63"], "train.batch_size must be at most the 63 training examples of data=digits, got 64"),
        (["data.num_train=0"], "data.num_train must be a whole number from 1 to 10^12, or null, got 0"),
        (["experiment=rosenbrock", "data.num_train=2"], "data.num_train must be at most 1, the training examples"),
    ],
)
def test_more_examples_than_there_are_is_one_sentence(cli: Cli, arguments: list[str], sentence: str) -> None:
    done = cli(*arguments, *SHORT)
    assert done.status == 2
    assert done.err.count(sentence) == 1
    assert "Traceback" not in done.err
    assert not Path("results").exists()


def test_the_gap_to_the_optimum_of_other_examples_is_not_recorded(cli: Cli) -> None:
    ok(cli("model=linear", "data=regression", "data.size=64,128", "data.num_train=64", *SHORT, "-m"))
    assert runs("regression-linear")["final_train_gap"].isna().all()


def test_the_first_update_is_its_distance(cli: Cli) -> None:
    """After one step of SGD: distance = lr x gradient norm = update_ratio x norm of the weights at the start."""
    ok(
        cli(
            "seeds=[0]", "train.steps=1", "optimizer=sgd", "optimizer.lr=0.5", "report=false",
            "metrics=[grad_norm,update_ratio,distance]",
        )
    )  # fmt: skip
    curves = tables.load("results/digits-mlp").curves
    at = curves[(curves["step"] == 1) & (curves["split"] == "train")].set_index("metric")["value"]
    assert at["distance"] == pytest.approx(0.5 * at["grad_norm"], rel=1e-4)
    from models.mlp import MLP

    torch.manual_seed(0)
    norm = torch.cat([p.detach().flatten() for p in MLP((1, 8, 8), 10).parameters()]).norm().item()
    assert at["update_ratio"] == pytest.approx(at["distance"] / norm, rel=1e-4)


def test_the_gap_to_the_closed_form_optimum_closes(cli: Cli) -> None:
    done = cli(
        "model=linear", "data=regression", "optimizer=lbfgs", "train.batch_size=1000", "train.steps=20", "seeds=[0]",
        "report=false",
    )  # fmt: skip
    ok(done)
    run = only("regression-linear")
    assert 0 <= run["final_train_gap"] + 1e-7 < 1e-5
    assert run["num_evaluations"] > run["num_steps"] == 20
    curves = tables.load("results/regression-linear").curves
    gaps = curves[curves["metric"] == "gap"].sort_values("step")["value"].to_numpy()
    assert gaps[0] > 1


# --- optimizers with wishes -----------------------------------------------------------------------


OWN = """
import torch


class Averaging(torch.optim.SGD):
    '''Is judged by the running mean of its weights; refuses to step on them.'''

    def __init__(self, params, lr=0.1):
        super().__init__(params, lr=lr)
        self.on_mean, self.switches = True, 0

    def train(self):
        if self.on_mean:
            self.swap()
        self.on_mean = False

    def eval(self):
        assert not self.on_mean, "told twice"
        self.swap()
        self.on_mean = True

    @torch.no_grad()
    def swap(self):
        for group in self.param_groups:
            for p in group["params"]:
                if "mean" in self.state[p]:
                    there = p.clone()
                    p.copy_(self.state[p]["mean"])
                    self.state[p]["mean"].copy_(there)

    def step(self, closure=None):
        assert not self.on_mean, "stepped on the mean"
        super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", p.detach().clone())
                mean.lerp_(p.detach(), 0.05)


class Curvature(torch.optim.Optimizer):
    '''Takes derivatives of gradients.'''

    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            ps = [p for p in group["params"] if p.grad is not None]
            seconds = torch.autograd.grad([p.grad.sum() for p in ps], ps, allow_unused=True)
            with torch.no_grad():
                for p, second in zip(ps, seconds):
                    p.sub_(group["lr"] * p.grad / (1 if second is None else second.abs() + 1))
"""


def test_an_optimizer_is_told_before_evaluation_and_after(cli: Cli, folder: Path) -> None:
    (folder / "wishes.py").write_text(OWN)
    ok(cli("optimizer=sgd", "optimizer.lr=0.1", *SHORT))
    ok(cli("optimizer=custom", "optimizer._target_=wishes.Averaging", *SHORT))
    table = runs().set_index("optimizer")
    assert table.loc["Averaging", "final_train_loss"] == table.loc["sgd", "final_train_loss"], "it trains as SGD"
    assert table.loc["Averaging", "final_val_loss"] != table.loc["sgd", "final_val_loss"]


def test_second_derivatives_are_to_be_had_where_the_config_says_so(cli: Cli, folder: Path) -> None:
    (folder / "wishes.py").write_text(OWN)
    wish = ["optimizer=custom", "optimizer._target_=wishes.Curvature", *SHORT]
    done = cli(*wish)
    assert done.status == 1
    ok(cli(*wish, "optimizer.needs=[create_graph]", "study=with"))
    assert only("with")["final_val_loss"] < 2.3
    done = cli(*wish, "optimizer.needs=[magic]")
    assert done.status == 2
    assert "optimizer.needs[0] must be one of closure, create_graph, evaluation_weights, got 'magic'" in done.err
    done = cli(*wish, "optimizer.needs=[evaluation_weights]")
    assert done.status == 2
    assert "methods train and eval" in done.err


@pytest.mark.parametrize(
    ("target", "lr", "settings"),
    [
        ("schedulefree.AdamWScheduleFree", 0.02, {}),
        ("pytorch_optimizer.Lion", 0.003, {}),
        ("pytorch_optimizer.SOAP", 0.01, {}),
    ],
)
def test_third_party_optimizers_train(cli: Cli, target: str, lr: float, settings: dict[str, Any]) -> None:
    pytest.importorskip(target.partition(".")[0], reason="pip install 'optbench[test]' brings it")
    done = cli(
        "optimizer=custom", f"optimizer._target_={target}", f"+optimizer.lr={lr}", "seeds=[0]", "train.epochs=10",
        "report=false",
    )  # fmt: skip
    ok(done)
    run = only()
    assert run["final_val_accuracy"] > 0.85
    assert run["implementation"] == "own"


# --- compiled models ------------------------------------------------------------------------------


def test_a_compiled_model_trains_alike_and_is_compiled_before_the_clock_runs(cli: Cli) -> None:
    import torch._dynamo
    from torch._dynamo.utils import counters

    ok(cli(*SHORT, "memory=false"))
    graphs = []
    from bench.training.loop import train

    def watched(*args: Any, **kwargs: Any) -> None:
        before = counters["stats"]["unique_graphs"]
        train(*args, **kwargs)
        graphs.append((before, counters["stats"]["unique_graphs"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.execution.run.train", watched)
        done = cli(*SHORT, "train.compile=true", "train.accumulate=3", "memory=false", "train.save_best=true")
    ok(done)
    table = runs().set_index("compiled_model")
    if table.loc[True, "status"] == "skipped":
        pytest.skip(table.loc[True, "reason"])
    assert table.loc[True, "final_val_loss"] == pytest.approx(table.loc[False, "final_val_loss"], rel=1e-3)
    ((before, after),) = graphs
    assert 0 < before == after, "nothing is compiled while the clock runs"
    (best,) = Path("results/digits-mlp/runs").glob("*/best.pt")
    assert not any("_orig_mod" in name for name in torch.load(best, weights_only=True))


def test_memory_of_a_compiled_model_is_not_to_be_had(cli: Cli) -> None:
    done = cli(*SHORT, "train.compile=true", "device=fake")
    assert done.status == 2
    assert "memory with train.compile=true is not available" in done.err


# --- what goes wrong stays one row, or one sentence -----------------------------------------------


def test_divergence_is_a_row_whatever_is_recorded_beside_the_loss(cli: Cli) -> None:
    wide = ["seeds=[0]", "train.steps=20", "report=false", "optimizer=sgd", "-m"]
    done = cli(*wide, "optimizer.lr=1e25,0.1", "metrics=[distance,update_ratio,grad_norm]")
    assert done.status == 1
    assert sorted(runs()["status"]) == ["diverged", "ok"]
    done = cli(*wide, "experiment=rosenbrock", "optimizer.lr=1e10,1e-4", "train.steps=20")
    assert sorted(runs("none-rosenbrock")["status"]) == ["diverged", "ok"]
    paths = tables.load_side("results/none-rosenbrock", "trajectories")
    assert paths.groupby("run_id")["step"].max().max() == 20
    assert len(tables.load_side("results/none-rosenbrock", "surfaces")) == 101 * 101


DOWN = """
import torch


class Down(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return (self.w - float("inf")).expand(len(x), 1)
"""


def test_a_loss_of_minus_infinity_is_divergence(cli: Cli, folder: Path) -> None:
    (folder / "own.py").write_text(DOWN)
    cli("model=custom", "model._target_=own.Down", "data=none", "train.batch_size=1", "memory=false", "seeds=[0]")
    assert only("none-Down")["status"] == "diverged"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["optimizer=rprop", "schedule=cosine"], "schedule must be constant for Rprop"),
        (["loss=as_printed", "train.accumulate=2"], "train.accumulate must be 1 with loss=as_printed"),
        (["model=autoencoder", "augment=flip"], "augment must be none where targets are values"),
        (["model=logistic", "data=text", "augment=crop"], "augment must be none for data that is not images"),
        (
            ["model=logistic", "data=text", "data.path=x.csv"],
            "data.name must be one of your own where data.path is set",
        ),
        (["model=transformer", "data=chars", 'data.path="~nosuchuser/x"'], "data.path must be a file or folder that"),
        (["model=transformer", "data=chars", f"data.path={'x' * 300}"], "data.path must be a file or folder that"),
        (['train.init_from="~nosuchuser/x"'], "train.init_from must be a file of weights"),
        (["model=torchvision", "model.name=vit_b_16", "data.resize=28"], "input_shape must be one that vit_b_16 takes"),
        (["train.compile=true", "device=fake"], "memory with train.compile=true is not available"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(cli: Cli, arguments: list[str], sentence: str) -> None:
    done = cli(*arguments, *SHORT)
    assert done.status == 2
    assert sentence in done.err
    assert "Traceback" not in done.err
    assert not Path("results").exists()


def test_a_gap_is_that_of_the_model_the_optimum_is_of(cli: Cli) -> None:
    ok(cli("model=linear,mlp", "data=regression", "data.size=64", *SHORT, "-m"))
    assert runs("regression-linear")["final_train_gap"].notna().all()
    assert runs("regression-mlp")["final_train_gap"].isna().all()


def test_what_varies_is_in_the_names_and_titles_of_the_report(cli: Cli) -> None:
    from bench.analysis.sections import sections

    base = ["seeds=[0]", "train.steps=5", "report=false", "memory=false", "study=s"]
    ok(cli(*base, "augment=rotation", "augment.degrees=5,30", "-m"))
    (section,) = sections(runs("s"))
    assert set(section.runs["series"]) == {
        "adam augment=rotation (degrees 5.0)",
        "adam augment=rotation (degrees 30.0)",
    }
    ok(cli(*base, "loss=default,as_printed", "train.loss_limit=1e9", "-m"))
    titles = [section.title for section in sections(runs("s"))]
    assert [title.partition(" (")[2] for title in titles] == ["loss cross_entropy)", "loss as_printed)"]
    ok(cli(*base, "model.dropout=0.5"))
    assert any("(model dropout 0.5, loss cross_entropy)" in section.title for section in sections(runs("s")))


def test_progress_tells_cells_apart(cli: Cli) -> None:
    done = cli("train.clip_norm=0.1,1", "train.steps=5", "seeds=[0]", "report=false", "memory=false", "-m")
    assert "adam train.clip_norm=0.1 seed 0" in done.err
    assert "adam train.clip_norm=1 seed 0" in done.err


def test_weight_decay_that_is_nobodys_setting_leaves_biases_alone_too() -> None:
    from bench.build.optimizer import build_optimizer
    from bench.config.schema import OptimizerConfig

    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    config = OptimizerConfig(target="torch.optim.AdamW", name="x", options={"lr": 0.1}, implementation="default")
    optimizer, _ = build_optimizer(config, model, weights_only=True)
    assert [(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups] == [(1, 0.01), (3, 0.0)]
    only_biases, _ = build_optimizer(config, torch.nn.LayerNorm(4), weights_only=True)
    assert [g["weight_decay"] for g in only_biases.param_groups] == [0.0]


def test_l1_of_no_weights_is_nothing(cli: Cli) -> None:
    short = ["experiment=quadratic_deep", "train.steps=5", "seeds=[0]", "report=false", "study=q"]
    ok(cli(*short, "regularization.l1=0.5", "regularization.weights_only=true"))
    ok(cli(*short))
    assert runs("q")["final_val_loss"].nunique() == 1
