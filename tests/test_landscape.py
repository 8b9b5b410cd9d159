"""The loss around the weights: held to losses that are known, and without a trace in the run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from bench import tables
from bench.training.diagnostics.base import flat
from bench.training.diagnostics.landscape import MAX_KEPT, Landscape


class Quadratic(nn.Module):
    """Half the sum of curvature times squared weights, whatever the inputs."""

    def __init__(self, start: torch.Tensor, curvature: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone())
        self.curvature = curvature

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * (self.curvature * self.weight**2).sum().expand(len(x))


def mean(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return outputs.mean()


def landscape_of(model: nn.Module) -> Landscape:
    return Landscape(model, (torch.zeros(4, 1), torch.zeros(4)), mean, nullcontext(), seed=3)


def by_kind(rows: Any) -> dict[str, pd.DataFrame]:
    table = pd.DataFrame(rows, columns=["kind", "step", "x", "y", "value"])
    return dict(tuple(table.groupby("kind")))


def descended(
    num: int, start: torch.Tensor, curvature: torch.Tensor, lr: float
) -> tuple[Landscape, list[torch.Tensor]]:
    model = Quadratic(start, curvature)
    landscape, points = landscape_of(model), [start.clone()]
    for step in range(1, num + 1):
        before = model.weight.detach().clone()
        with torch.no_grad():
            model.weight -= lr * curvature * model.weight
        landscape.keep(step, flat([before]))
        points.append(model.weight.detach().clone())
    return landscape, points


def test_slices_and_planes_are_the_known_parabola() -> None:
    curvature = torch.tensor([[1.0, 4.0], [0.5, 2.0]])
    landscape, points = descended(6, torch.tensor([[3.0, 1.0], [-2.0, 0.5]]), curvature, 0.1)
    found = by_kind(landscape.rows(6))
    height = lambda w: float(0.5 * (curvature * w**2).sum())  # noqa: E731
    for row in found["update"].itertuples():
        assert row.value == pytest.approx(height(points[-2] + row.x * (points[-1] - points[-2])), rel=1e-5)
    middle = found["plane"][(found["plane"]["x"].abs() < 1e-6) & (found["plane"]["y"].abs() < 1e-6)]
    assert middle["value"].item() == pytest.approx(height(points[-1]), rel=1e-5)
    random = found["random"].sort_values("x")
    second = random["value"].diff().diff().dropna()
    assert second.std() / second.mean() < 1e-2  # a parabola: its second differences are all the same


def test_the_path_lies_in_the_plane_of_its_two_main_directions() -> None:
    curvature = torch.tensor([1.0, 6.0, 0.0])  # the third coordinate never moves: two directions explain all
    landscape, points = descended(12, torch.tensor([3.0, 1.0, 7.0]), curvature, 0.1)
    found = by_kind(landscape.rows(12))
    assert found["explained"]["value"].sum() == pytest.approx(1.0, abs=1e-5)
    path = found["path"].sort_values("step")
    assert path["step"].tolist() == list(range(13))
    between = torch.tensor(path[["x", "y"]].to_numpy()).float()
    wanted = torch.stack(points)[:, :2]
    assert torch.allclose(torch.cdist(between, between), torch.cdist(wanted, wanted), atol=1e-4)  # distances are kept
    heights = [float(0.5 * (curvature * w**2).sum()) for w in points]
    assert path["value"].tolist() == pytest.approx(heights, rel=1e-4, abs=1e-5)
    plane = found["path_plane"]
    assert plane["x"].min() < path["x"].min() and plane["y"].max() > path["y"].max()


@pytest.mark.parametrize("num", [1, MAX_KEPT, 5 * MAX_KEPT])
def test_a_long_path_is_thinned_and_a_short_one_left_out(num: int) -> None:
    landscape, _ = descended(num, torch.tensor([3.0, 1.0]), torch.tensor([1.0, 6.0]), 0.01)
    found = by_kind(landscape.rows(num))
    if num == 1:
        assert "path" not in found and "random" in found
        return
    steps = found["path"]["step"].tolist()
    assert steps[0] == 0 and steps[-1] == num and len(steps) <= MAX_KEPT + 2
    assert len(set(pd.Series(steps[:-1]).diff().dropna())) == 1


def test_filters_of_a_random_direction_have_the_norms_of_the_weights() -> None:
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    landscape = landscape_of(model)
    weights = [p.detach() for p in model.parameters()]
    one = landscape._random_direction(0, weights)
    assert torch.allclose(one[0].flatten(1).norm(dim=1), weights[0].flatten(1).norm(dim=1), rtol=1e-5)
    assert all(not direction.any() for direction in one[1:])
    assert not torch.equal(one[0], landscape._random_direction(1, weights)[0])
    assert torch.equal(one[0], landscape._random_direction(0, weights)[0])


def test_nothing_of_the_model_or_the_generators_changes() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    landscape = landscape_of(model)
    landscape.keep(1, flat(model.parameters()) + 0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    rows = list(landscape.rows(1))
    assert len(rows) > 300 and model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_a_run_leaves_its_landscape_and_is_otherwise_the_same(cli: Callable[..., Any], folder: Path) -> None:
    arguments = ("model=mlp", "train.steps=40", "seeds=1", "report=false", "memory=false")
    cli(*arguments, "study=plain")
    cli(*arguments, "study=with", "diagnostics.landscape=true")
    plain, found = tables.load("results/plain"), tables.load("results/with")
    columns = ["step", "split", "metric", "value"]
    assert plain.curves[columns].equals(found.curves[columns])
    rows = tables.load_side("results/with", "landscapes")
    assert set(rows["kind"]) == {"update", "random", "plane", "path", "path_plane", "explained"}
    assert rows[rows["kind"] == "path"]["step"].max() == 40
    assert found.runs["diagnostics"].item() == "landscape" and found.runs["diagnostics_s"].item() > 0
    out = cli(*arguments, "study=plain", "diagnostics.landscape=true").out  # it lacks it, and is made again
    assert "existed already" not in out
    assert "existed already" in cli(*arguments, "study=plain").out
