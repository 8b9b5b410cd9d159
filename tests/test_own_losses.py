"""Losses and metrics of one's own: what they compute is what is minimised, and who edits them has new runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from bench import compare, tables
from bench.api.inline_targets import loss_path, resolvable

LOSSES = """
import torch
from bench.training.stop_metrics import StopMetric

def doubled(outputs, targets):
    return 2 * torch.nn.functional.cross_entropy(outputs, targets)

def per_example(outputs, targets):
    return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

def refuses(outputs, targets):
    raise ValueError("no")

class Largest(StopMetric):
    def values(self):
        return {"largest_weight": max(float(p.abs().max()) for p in self.parameters)}
"""
SMALL = ("train.steps=20", "train.log_every=1", "seeds=[0]", "memory=false", "report=false")


@pytest.fixture
def own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of losses under a name that no other test has imported."""
    name = f"losses_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(LOSSES)
    return name


def runs_of(study: str) -> Any:
    return tables.load(Path("results") / study)


def test_a_loss_twice_as_large_at_half_the_rate_is_the_same_run(cli: Callable[..., Any], own: str) -> None:
    assert cli(f"loss={own}.doubled", "optimizer=sgd", "optimizer.lr=0.05", "study=own", *SMALL).status == 0
    assert cli("optimizer=sgd", "optimizer.lr=0.1", "study=shipped", *SMALL).status == 0
    found, shipped = runs_of("own"), runs_of("shipped")
    assert found.runs["loss"].tolist() == [f"{own}.doubled"]
    ours, theirs = (
        table.curves.query("metric == 'loss'").set_index(["split", "step"])["value"] for table in (found, shipped)
    )
    assert ours.to_numpy() == pytest.approx(2 * theirs.reindex(ours.index).to_numpy(), rel=1e-5)
    assert found.runs["workload_id"].iloc[0] != shipped.runs["workload_id"].iloc[0]


def test_who_edits_a_loss_has_a_new_run(cli: Callable[..., Any], own: str, folder: Path) -> None:
    cli(f"loss={own}.doubled", "study=s", *SMALL)
    cli(f"loss={own}.doubled", "study=s", *SMALL)
    assert len(runs_of("s").runs) == 1
    (folder / f"{own}.py").write_text(LOSSES.replace("2 *", "3 *"))
    cli(f"loss={own}.doubled", "study=s", *SMALL)
    assert runs_of("s").runs["workload_id"].nunique() == 2


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ("per_example", "loss must return one number, the mean over the batch, got a tensor of shape [64] from {own}.per_example"),
        ("refuses", "loss must take outputs [64, 10] and targets [64], got {own}.refuses, which raised ValueError: no"),
        ("absent", "loss must be a class or function that can be imported, got {own}.absent"),
    ],
)  # fmt: skip
def test_what_is_no_loss_is_one_sentence(cli: Callable[..., Any], own: str, loss: str, sentence: str) -> None:
    done = cli(f"loss={own}.{loss}", "study=s", *SMALL)
    assert done.status != 0
    assert sentence.format(own=own) in done.err
    assert "Traceback" not in done.err


def test_a_metric_of_ones_own_is_a_curve_and_a_figure(cli: Callable[..., Any], own: str) -> None:
    arguments = [a for a in SMALL if a != "report=false"]
    assert cli(f"metrics=[{own}.Largest]", "study=s", *arguments).status == 0
    curve = runs_of("s").curves.query("metric == 'largest_weight'")
    assert len(curve) == 20
    assert (curve["value"] > 0).all()
    assert Path("reports/s/figures/largest-weight.svg").is_file()
    done = cli(f"metrics=[{own}.doubled]", "study=t", *SMALL)
    assert "metrics must hold names, or classes derived from bench.training.stop_metrics.StopMetric" in done.err


LINE = torch.linspace(-1, 1, 60)[:, None]
DATA = tuple((LINE[i::3], 3 * LINE[i::3, 0]) for i in range(3))


def test_compare_takes_a_function_or_an_object_of_torchs() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.huber_loss(outputs, targets, delta=0.5)

    common: dict[str, Any] = {"seeds": [0], "steps": 5, "batch_size": 8, "settings": {"memory": False}}
    by_function = compare(lambda: torch.nn.Linear(1, 1), DATA, ["sgd"], loss=loss, **common)
    by_object = compare(lambda: torch.nn.Linear(1, 1), DATA, ["sgd"], loss=torch.nn.HuberLoss(delta=0.5), **common)
    values = [found.curves.query("split == 'val'")["value"].tolist() for found in (by_function, by_object)]
    assert values[0] == pytest.approx(values[1])


def test_objects_of_one_class_with_other_settings_are_other_losses() -> None:
    with resolvable():
        paths = [loss_path(torch.nn.HuberLoss(delta=delta)) for delta in (0.5, 1.0, 0.5)]
    assert paths[0] == paths[2]
    assert paths[0] != paths[1]


def test_one_number_an_example_fits_one_dimensional_targets() -> None:
    flat = compare(
        lambda: torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Flatten(0)),
        DATA, ["sgd"], seeds=[0], steps=30, batch_size=8, settings={"memory": False},
    )  # fmt: skip
    column = compare(
        lambda: torch.nn.Linear(1, 1), DATA, ["sgd"], seeds=[0], steps=30, batch_size=8, settings={"memory": False}
    )
    losses = [json.loads(found.curves["value"].to_json()) for found in (flat, column)]
    assert losses[0] == losses[1]
