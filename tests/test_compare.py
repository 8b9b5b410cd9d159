"""`from bench import compare`: the machinery of the command, on objects of a running program."""

from __future__ import annotations

import functools
import random
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given as property_of
from hypothesis import strategies as st
from matplotlib import pyplot as plt
from torch import nn
from torch.utils.data import Subset, TensorDataset

from bench import compare, tables
from bench.analysis.comparisons import summary
from bench.analysis.sections import sections
from bench.api import inline_targets
from bench.base.errors import UserError
from bench.build import targets
from bench.data import digits
from bench.report.__main__ import main as report_command
from models.mlp import MLP

ROOT = Path(__file__).resolve().parent.parent
KEYS = ["optimizer", "seed", "step", "split", "metric"]
QUICK = {"memory": False}


def blobs(size: int = 100) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3 * size, 4, generator=generator)
    y = (x[:, 0] + x[:, 1] > 0).long()
    return tuple(zip(x.split(size), y.split(size), strict=True))


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))


def quick(**changes: Any) -> Any:
    arguments = {
        "model": net,
        "data": blobs(),
        "optimizers": ["adam", "sgd"],
        "seeds": 2,
        "epochs": 2,
        "settings": QUICK,
    }
    return compare(**(arguments | changes))


def values(comparison: Any) -> pd.DataFrame:
    merged = comparison.curves.merge(comparison.runs[["run_id", "optimizer", "seed"]], on="run_id")
    return merged.sort_values(KEYS)[[*KEYS, "value"]].reset_index(drop=True)


class Sign(torch.optim.Optimizer):
    """Sign descent, which may stop in the middle."""

    def __init__(self, params: Any, lr: float = 1e-3, at: int = -1, error: type[BaseException] = RuntimeError) -> None:
        super().__init__(params, {"lr": lr})
        self.calls, self.at, self.error = 0, at, error

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.calls += 1
        if self.calls == self.at:
            raise self.error("in the middle")
        for group in self.param_groups:
            for param in group["params"]:
                param.sub_(group["lr"] * param.grad.sign())


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    assert targets.RUNTIME_TARGETS == {}


# --- the same machinery ---------------------------------------------------------------------------


def test_curves_are_those_of_the_command(cli: Callable[..., Any], folder: Path) -> None:
    arguments = ["optimizer=adam,sgd", "seeds=[0,1,2]", "train.epochs=2", "report=false", "-m"]
    assert cli(*arguments).status == 0
    whole = tables.load("results/digits-mlp")
    ours = compare("mlp", "digits", ["sgd", "adam"], seeds=3, epochs=2, results_dir="mine")
    assert sorted(ours.runs["run_id"]) == sorted(whole.runs["run_id"])
    pd.testing.assert_frame_equal(values(ours), values(whole), check_exact=True)
    # and objects instead of names, by the same means
    objects = compare(
        lambda: MLP(input_shape=[1, 8, 8], num_outputs=10), digits.load(),
        [("adam", functools.partial(torch.optim.Adam, lr=1e-3)), ("sgd", lambda p: torch.optim.SGD(p, lr=1e-3))],
        seeds=3, epochs=2, settings={"memory": False, "metrics": ["grad_norm", "distance"]},
    )  # fmt: skip
    recorded = values(objects)
    recorded = recorded[~recorded["metric"].isin(["grad_norm", "distance"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(recorded, values(whole), check_exact=True)


def test_settings_give_the_cell_of_the_command(cli: Callable[..., Any], folder: Path) -> None:
    typed = ["optimizer=sgd", "optimizer.lr=0.1", "optimizer.momentum=0.9", "train.clip_norm=1.0", "schedule=cosine"]
    assert cli(*typed, "train.steps=5", "seeds=[0]", "memory=false", "report=false").status == 0
    settings = {"train.clip_norm": 1.0, "schedule": "cosine", "memory": False}
    whole = tables.load("results/digits-mlp").runs
    for entry in (("sgd", {"lr": 0.1, "momentum": 0.9}), {"name": "sgd", "lr": 0.1, "momentum": 0.9}):
        ours = compare("mlp", "digits", [entry], seeds=[0], steps=5, settings=settings).runs
        assert ours["run_id"].tolist() == whole["run_id"].tolist()
    command = ours["command"].iloc[0]
    assert command.startswith("python -m bench optimizer=sgd optimizer.lr=0.1 optimizer.momentum=0.9")
    assert cli(*shlex.split(command)[3:], "study=again", "report=false").status == 0
    assert tables.load("results/again").runs["cell_id"].tolist() == whole["cell_id"].tolist()


def test_every_optimizer_starts_from_the_same_weights() -> None:
    runs = quick(optimizers=["adam", Sign, lambda p: torch.optim.SGD(p, lr=0.1)], seeds=[3, 7]).runs
    assert sorted(set(runs["seed"])) == [3, 7]
    assert runs.groupby("seed")["first_train_loss"].nunique().tolist() == [1, 1]
    assert runs["first_train_loss"].nunique() == 2


def test_order_and_company_change_no_curve() -> None:
    one, other = quick(optimizers=["adam", "sgd", Sign]), quick(optimizers=[Sign, "adam"])
    kept = values(one)
    kept = kept[kept["optimizer"] != "sgd"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, values(other), check_exact=True)


@pytest.mark.parametrize("kind", ["arrays", "TensorDataset", "Subset", "lists"])
def test_data_may_come_in_any_of_these(kind: str) -> None:
    wrap: dict[str, Callable[[Any, Any], Any]] = {
        "arrays": lambda x, y: (x.numpy(), y.numpy()),
        "TensorDataset": TensorDataset,
        "Subset": lambda x, y: Subset(TensorDataset(x, y), range(len(x))),
        "lists": lambda x, y: [x, y],
    }
    plain = quick(optimizers=["adam"])
    ours = quick(optimizers=["adam"], data=[wrap[kind](x, y) for x, y in blobs()])
    assert set(ours.runs["data_fingerprint"]) == set(plain.runs["data_fingerprint"])
    assert set(ours.runs["run_id"]) == set(plain.runs["run_id"])
    pd.testing.assert_frame_equal(values(ours), values(plain), check_exact=True)


def test_values_are_predicted_by_squared_error() -> None:
    data = [(x, x.sum(1)) for x, _ in blobs()]
    runs = quick(model=lambda: nn.Linear(4, 1), data=data).runs
    assert set(runs["loss"]) == {"mse"}
    assert set(runs["status"]) == {"ok"}


def test_a_model_may_ask_for_the_shapes_of_the_data() -> None:
    def flexible(input_shape: Any, num_outputs: int) -> nn.Module:
        return nn.Linear(input_shape[0], num_outputs)

    assert set(quick(model=flexible).runs["num_parameters"]) == {10}


# --- optimizers -----------------------------------------------------------------------------------


def test_names_and_hyperparameters_of_what_is_given() -> None:
    def mine(params: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, lr=0.1)

    first = mine

    def mine(params: Any) -> torch.optim.Optimizer:  # type: ignore[no-redef]
        return torch.optim.SGD(params, lr=0.2)

    partial = functools.partial(torch.optim.AdamW, lr=0.01, betas=(0.8, 0.9))
    runs = quick(
        optimizers=[first, mine, partial, lambda p: Sign(p), lambda p: Sign(p, 0.1), ("named", Sign), (Sign, {"lr": 0.5})],
        seeds=[0], epochs=1,
    ).runs.set_index("optimizer")  # fmt: skip
    assert set(runs.index) == {"mine", "mine-2", "AdamW", "lambda", "lambda-2", "named", "Sign"}
    assert runs["cell_id"].is_unique
    assert runs["final_train_loss"].nunique() >= 6
    assert (runs.loc["AdamW", "optimizer_target"], runs.loc["AdamW", "lr"]) == ("torch.optim.AdamW", 0.01)
    assert runs.loc["AdamW", "hp_betas"] == "[0.8, 0.9]"
    assert runs.loc["Sign", "lr"] == 0.5
    assert runs["command"].str.contains(r"bench.compare\(", regex=True).all()


def test_one_optimizer_at_two_settings_is_told_apart_by_them() -> None:
    found = quick(optimizers=[("sgd", {"lr": 0.1}), ("sgd", {"lr": 0.2})])
    assert set(found.summary()["series"]) == {"sgd lr=0.1", "sgd lr=0.2"}


def test_a_run_that_fails_is_a_row() -> None:
    found = quick(
        optimizers=["adam", functools.partial(Sign, at=3), ("wild", functools.partial(torch.optim.SGD, lr=1e6))]
    )
    statuses = found.runs.groupby("optimizer")["status"].unique().map(list).to_dict()
    assert statuses == {"adam": ["ok"], "Sign": ["failed"], "wild": ["diverged"]}
    assert "in the middle" in found.runs.query("optimizer == 'Sign'")["reason"].iloc[0]
    assert "adam" in repr(found)


# --- what is returned -----------------------------------------------------------------------------


def test_what_comes_back(tmp_path: Path) -> None:
    found = quick(seeds=3)
    pd.testing.assert_frame_equal(found.summary(), summary(next(sections(found.runs)).runs))
    assert re.search(r"(adam|sgd) reaches the lowest validation loss", " ".join(repr(found).split()))
    assert "net on given-data, batch 64, 2 epochs, cpu" in repr(found)
    assert "<table" in found._repr_html_()
    page = found.report(tmp_path / "report")
    assert page.name == "index.html"
    assert "net on given-data" in page.read_text()
    whole = tables.load(found.path)
    assert set(whole.runs["run_id"]) == set(found.runs["run_id"])


def test_the_report_command_reads_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = quick(results_dir=tmp_path / "results", study="mine")
    assert found.path == tmp_path / "results" / "mine"
    monkeypatch.setattr(sys, "argv", ["bench.report", str(found.path), "--out", str(tmp_path / "out")])
    assert report_command() == 0


def test_figures_leave_matplotlib_as_it_was() -> None:
    found = quick()
    plt.close("all")
    before, backend = dict(mpl.rcParams), mpl.get_backend()
    figure = found.plot()
    assert [axis.get_ylabel() for axis in figure.axes] == ["train loss", "val loss"]
    assert len(found.plot("accuracy", x="epoch").axes) == 2
    assert plt.get_fignums() == []
    assert mpl.get_backend() == backend
    assert dict(mpl.rcParams) == before
    for wrong in ({"metric": "speed"}, {"x": "minutes"}):
        with pytest.raises(UserError, match=f"^{next(iter(wrong))} must be one .* choose one of these$"):
            found.plot(**wrong)
    own = mpl.figure.Figure()
    axis = own.subplots()
    assert found.plot("loss", ax=axis, split="train") is own
    assert axis.get_ylabel() == "train loss"
    assert len(axis.get_legend().get_texts()) == len(set(found.runs["optimizer"]))
    with pytest.raises(UserError, match=r"^metric must be one that was recorded .*, got 'loss' of holdout"):
        found.plot("loss", ax=axis, split="holdout")


def test_switches_and_generators_are_afterwards_what_they_were() -> None:
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    try:
        torch.set_num_threads(2)
        torch.set_default_dtype(torch.float64)
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(1), np.random.seed(2), random.seed(3)
        expected = torch.rand(3), np.random.rand(3), random.random()
        torch.manual_seed(1), np.random.seed(2), random.seed(3)
        quick(data=[(x.float(), y) for x, y in blobs()], model=lambda: net().float())
        assert torch.equal(torch.rand(3), expected[0])
        assert np.array_equal(np.random.rand(3), expected[1])
        assert random.random() == expected[2]
        assert (torch.get_num_threads(), torch.get_default_dtype()) == (2, torch.float64)
        assert torch.backends.cudnn.benchmark
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.backends.cudnn.benchmark = False


# --- the folder -----------------------------------------------------------------------------------


def test_what_exists_is_not_repeated_and_what_changed_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def width(num: int) -> Callable[[], nn.Module]:
        return lambda: nn.Sequential(nn.Linear(4, num), nn.ReLU(), nn.Linear(num, 2))

    there: dict[str, Any] = {"results_dir": tmp_path, "study": "s", "optimizers": ["adam", Sign]}
    first = quick(model=width(8), **there)
    capsys.readouterr()
    again = quick(model=width(8), **there)
    assert capsys.readouterr().err.count("exists already") == 4
    pd.testing.assert_frame_equal(first.runs, again.runs)
    other = quick(model=width(9), **there)
    assert "exists already" not in capsys.readouterr().err
    assert not set(other.runs["cell_id"]) & set(first.runs["cell_id"])
    assert len(tables.load(first.path).runs) == 8


def test_an_interrupt_keeps_what_was_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped = functools.partial(Sign, at=3, error=KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        quick(optimizers=["adam", stopped, "sgd"], results_dir=tmp_path, study="s")
    assert f"interrupted; finished runs are saved in {tmp_path / 's'}" in capsys.readouterr().err
    runs = tables.load(tmp_path / "s").runs
    assert runs.groupby("optimizer")["status"].apply(list).to_dict() == {"adam": ["ok", "ok"], "Sign": ["interrupted"]}
    assert pd.read_csv(tmp_path / "s" / "runs.csv").shape[0] == 3


def test_a_temporary_folder_goes_with_the_program_and_the_command_does_not_hide_the_function() -> None:
    code = (
        "import bench.compare\n"
        "from bench import compare\n"
        "found = compare('mlp', 'digits', ['adam'], seeds=[0], steps=2, settings={'memory': False})\n"
        "assert (found.path / 'runs.parquet').is_file()\n"
        "print(found.path.parent)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(tempfile.gettempdir())
    assert not Path(done.stdout.strip()).exists()


# --- imports --------------------------------------------------------------------------------------


def test_importing_bench_imports_nothing_heavy() -> None:
    code = "import bench, sys; print(sorted({'torch', 'pandas', 'numpy', 'hydra', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    import bench

    with pytest.raises(AttributeError, match="no attribute 'comparee'"):
        _ = bench.comparee


# --- refusals -------------------------------------------------------------------------------------

SHARED = net()


def unseeded() -> nn.Module:
    model, random = net(), np.random.default_rng()
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(random.standard_normal((8, 4))))
    return model


def broken() -> nn.Module:
    raise KeyError("no such thing")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": net()}, "model must be a function that returns a fresh torch.nn.Module, .* wrap what builds it: lambda"),
    ({"model": lambda: SHARED}, "model must return a fresh torch.nn.Module each time, got the same weights twice"),
    ({"model": unseeded}, "model must give the same weights for the same seed"),
    ({"model": broken}, r"model must be something that can be built, .*KeyError: 'no such thing' \(test_compare.py, line"),
    ({"model": lambda: 3}, "model must give a torch.nn.Module, got int"),
    ({"model": lambda: nn.Linear(5, 2)}, "model=lambda must fit data=given-data"),
    ({"model": "transformers"}, "model must be one of .*autoencoder.*, got 'transformers'"),
    ({"model": lambda: nn.AvgPool1d(2)}, "model must have parameters to train, got none in AvgPool1d"),
    ({"data": "digit"}, "data must be one of .*digits.*, got 'digit'"),
    ({"data": blobs()[:2]}, "data must be three pairs"),
    ({"data": [(x, y[:-1]) for x, y in blobs()]}, "data: train must have as many inputs as targets"),
    ({"data": 3}, "data must be three pairs"),
    ({"optimizers": "adam"}, r"optimizers must be a list such as \[\"adam\", \"sgd\"\], got 'adam'"),
    ({"optimizers": []}, "optimizers must be a list"),
    ({"optimizers": ["adam", "adamm"]}, r"optimizers\[1\] must be one of .*, got 'adamm'"),
    ({"optimizers": ["adam", 3]}, r"optimizers\[1\] must be one of"),
    ({"optimizers": ["adam", "adam"]}, r"optimizers\[1\] must differ from the others, got adam again"),
    ({"optimizers": [Sign, ("sgd", {"lr": -1.0})]}, r"optimizers\[1\].lr must be a finite number of at least 0, got -1.0"),
    ({"optimizers": [("sgd", {"beta": 1.0})]}, r"optimizers\[0\].beta must be a setting of sgd \(lr, momentum"),
    ({"optimizers": [(Sign, {"speed": 1})]}, r"optimizers\[0\].speed must be an argument of .*Sign, got an unknown one"),
    ({"optimizers": ["adam", lambda p: p]}, r"optimizers\[1\] must give a torch.optim.Optimizer, got list"),
    ({"optimizers": ["adam", dict]}, r"optimizers\[1\] must be a torch.optim.Optimizer, got builtins.dict"),
    ({"optimizers": [torch.optim.SGD(net().parameters())]}, r"optimizers\[0\] must be one of"),
    ({"seeds": 0}, "seeds must be a number of seeds from 1 to 10000"),
    ({"seeds": True}, "seeds must be a number of seeds from 1 to 10000"),
    ({"seeds": [1, 1]}, "seeds must be different from each other"),
    ({"epochs": 0}, r"^epochs must be a whole number from 1 to 10\^12"),
    ({"epochs": None, "steps": -1}, "^steps must be a whole number from 1"),
    ({"epochs": 2, "steps": 2}, "epochs must be left out where steps is given"),
    ({"batch_size": 1000}, "^batch_size must be at most the 100 training examples"),
    ({"loss": "hinge"}, "loss must be one of default, nll, as_printed"),
    ({"device": "tpu"}, "device must be one of .*cpu.*, got 'tpu'"),
    ({"device": "fake"}, "device must be one of .*cpu.*, got 'fake'"),
    ({"settings": {"optimizer.lr": 1.0}}, "settings must hold keys of the command .*, got 'optimizer.lr'"),
    ({"study": "../up"}, "study must be a name of letters"),
    ({"settings": {"train.speed": 1}}, "train.speed must be a key of train"),
    ({"settings": {"speed": 1}}, "settings must hold keys of the command such as train.clip_norm, got 'speed'"),
    ({"settings": {"schedule": "cosinus"}}, r"settings\['schedule'\] must be one of .*cosine.*, got 'cosinus'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED)
def test_refusals_are_one_sentence_about_the_argument(
    changes: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(UserError, match=said) as refused:
        quick(**changes)
    assert "\n" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="device=cuda is not available on this machine"):
        quick(device="cuda")


# --- what stands for a function -------------------------------------------------------------------

FACTOR = 1.0


@property_of(a=st.floats(allow_nan=False), b=st.floats(allow_nan=False))
def test_functions_are_the_same_just_where_what_they_refer_to_is(a: float, b: float) -> None:
    def made(value: float) -> Callable[[Any], Any]:
        return lambda params: torch.optim.SGD(params, lr=value)

    with inline_targets.resolvable():
        same = inline_targets.target_of(made(a)) == inline_targets.target_of(made(b))
    assert same == (repr(a) == repr(b))


def test_a_global_that_a_function_uses_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled() -> float:
        return FACTOR

    def target() -> str:
        with inline_targets.resolvable():
            return inline_targets.target_of(scaled)[0]

    before = target()
    assert target() == before
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert target() != before


def test_a_class_of_a_program_is_the_same_class_next_time() -> None:
    class Mine(Sign):
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            super().step(closure)

    with inline_targets.resolvable():
        first = inline_targets.target_of(Mine)
    with inline_targets.resolvable():
        assert inline_targets.target_of(functools.partial(Mine, lr=0.1)) == (first[0], {"lr": 0.1})
    found = quick(optimizers=[functools.partial(Mine, lr=0.1), functools.partial(Mine, lr=0.2)], seeds=[0])
    assert set(found.summary()["series"]) == {"Mine lr=0.1", "Mine lr=0.2"}


def test_code_without_source_is_new_each_time() -> None:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def f(params): return None", space)
    found = []
    for _ in range(2):
        with inline_targets.resolvable():
            found.append(inline_targets.target_of(space["f"])[0])
    assert found[0] != found[1]


def test_a_class_of_a_package_is_itself() -> None:
    assert inline_targets.target_of(torch.optim.AdamW) == ("torch.optim.AdamW", {})
    assert inline_targets.target_of(functools.partial(MLP, hidden=[3])) == ("models.mlp.MLP", {"hidden": [3]})


def test_a_chart_has_the_medians_of_the_curves_and_is_saved(folder: Path) -> None:
    found = compare("mlp", "digits", ["adam", "sgd"], seeds=2, steps=20)
    spec = found.chart().to_dict()
    assert {row["series"] for row in spec["data"]["values"]} == {"adam", "sgd"}
    own = found.curves[(found.curves["split"] == "val") & (found.curves["metric"] == "loss")]
    own = own.merge(found.runs[["run_id", "optimizer"]], on="run_id")
    medians = own.groupby(["optimizer", "step"])["value"].median()
    for row in spec["data"]["values"]:
        assert row["median"] == pytest.approx(medians[row["series"], row["step"]], rel=1e-6)
    for name, begins in (("a.svg", "<svg"), ("a.json", "{"), ("a.html", "<!DOCTYPE html>")):
        found.chart("accuracy", "epoch").save(name)
        assert Path(name).read_text().lstrip().startswith(begins)
    shown = found.chart()._repr_mimebundle_()
    assert shown["image/svg+xml"].startswith("<svg") and set(shown) > {"text/plain"}
    for bad, said in (
        ({"metric": "speed"}, "metric must be one that was recorded"),
        ({"x": "hours"}, "x must be one of"),
    ):
        with pytest.raises(UserError, match=said):
            found.chart(**bad)
    with pytest.raises(ValueError, match="path must end with one of"):
        found.chart().save("a.gif")
