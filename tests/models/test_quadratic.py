"""DeepOBS's quadratic: its spectrum, its losses to the digits, its epochs, its gradient."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import UserError
from bench.data import quadratic_deep
from bench.training.losses import mean
from models.quadratic import DIMENSION, Quadratic, eigenvalues, hessian, rotation

pytestmark = pytest.mark.usefixtures("one_thread")


def test_nine_tenths_of_the_eigenvalues_are_below_1_and_the_rest_from_30_to_60() -> None:
    found = np.linalg.eigvalsh(hessian())
    drawn = eigenvalues(np.random.RandomState(42))
    assert found == pytest.approx(np.sort(drawn), rel=1e-9)
    assert drawn[[0, 1, 90]] == pytest.approx([0.3745401188, 0.9507143064, 33.5878384498])
    assert (found[:90] > 0).all()
    assert (found[:90] < 1).all()
    assert (found[90:] > 30).all()
    assert (found[90:] < 60).all()


@given(dimension=st.integers(2, 12), seed=st.integers(0, 2**32 - 1))
def test_a_rotation_is_orthogonal_with_determinant_1(dimension: int, seed: int) -> None:
    made = rotation(np.random.RandomState(seed), dimension)
    assert made @ made.T == pytest.approx(np.eye(dimension), abs=1e-12)
    assert np.linalg.det(made) == pytest.approx(1)


def test_rotations_spread_evenly_over_all_directions() -> None:
    random = np.random.RandomState(0)
    entries = np.array([rotation(random, 5) for _ in range(2_000)])
    assert np.abs(entries.mean(0)).max() < 0.05, "each entry has mean 0"
    assert (entries**2).mean(0) == pytest.approx(np.full((5, 5), 1 / 5), abs=0.025)


def test_losses_are_those_of_deepobs_to_the_digits() -> None:
    data = quadratic_deep.load()
    points, targets = data.splits["test"]
    start = mean(Quadratic((DIMENSION,))(points), targets)
    assert start.item() == pytest.approx(353.4468, abs=1e-4)
    assert quadratic_deep.lowest_loss(points) == pytest.approx(86.8735, abs=1e-4)


def test_the_optimum_is_what_the_model_has_at_the_mean_of_the_training_points_and_nowhere_less() -> None:
    data = quadratic_deep.load()
    model = Quadratic((DIMENSION,)).double()
    points = data.splits["train"][0].double()
    with torch.no_grad():
        model.theta.copy_(points.mean(0))
        assert data.optimum == pytest.approx(model(points).mean().item(), rel=1e-6)
        model.theta[3] += 0.01
        assert data.optimum is not None
        assert model(points).mean().item() > data.optimum + 1e-6


def test_the_gradient_is_q_times_the_distance_to_the_mean() -> None:
    torch.manual_seed(0)
    model = Quadratic((DIMENSION,)).double()
    with torch.no_grad():
        model.theta.normal_()
    points = quadratic_deep.load().splits["train"][0].double()
    model(points).mean().backward()
    expected = model.hessian @ (model.theta.detach() - points.mean(0))
    assert model.theta.grad is not None
    torch.testing.assert_close(model.theta.grad, expected, rtol=1e-9, atol=1e-9)
    assert model(points).shape == (len(points), 1)


def test_seven_steps_an_epoch_that_leave_out_others_each_time() -> None:
    data = quadratic_deep.load()
    assert {split: data.size(split) for split in data.splits} == {"train": 1000, "val": 1000, "test": 896}
    assert [data.steps_per_epoch(size) for size in (128, 64, 1000, 1)] == [7, 15, 1, 1000]
    number = {tuple(row): i for i, row in enumerate(data.splits["train"][0][:, :3].tolist())}
    epochs: list[set[int]] = []
    for frozen in (False, True):
        batches = list(islice(data.shuffled(128, 5, frozen), 14))
        assert {tuple(x.shape) for x, _ in batches} == {(128, 100)}
        used = [
            [number[tuple(row)] for x, _ in part for row in x[:, :3].tolist()] for part in (batches[:7], batches[7:])
        ]
        assert [len(set(epoch)) for epoch in used] == [896, 896]
        epochs += [set(epoch) for epoch in used]
    assert epochs[0] != epochs[1]
    assert epochs[2] == epochs[3] == epochs[0]


def test_a_last_batch_is_kept_where_asked_for() -> None:
    data = quadratic_deep.load(drop_last=False)
    assert data.steps_per_epoch(128) == 8
    assert [len(x) for x, _ in islice(data.shuffled(128, 0), 8)] == [128] * 7 + [104]
    assert data.fingerprint == quadratic_deep.load().fingerprint


def test_it_is_the_same_on_every_device_for_every_seed_and_draws_nothing_global() -> None:
    state = torch.get_rng_state()
    data = quadratic_deep.load()
    moved = data.to(torch.device("cpu"))
    assert (moved.steps_per_epoch(128), moved.fingerprint) == (7, data.fingerprint)
    assert (moved.optimum, moved.optimum_of) == (data.optimum, "models.quadratic.Quadratic")
    assert len(next(moved.shuffled(128, 0))[0]) == 128
    assert data.fingerprint == "44552e573eab"
    one, two = Quadratic((DIMENSION,)), Quadratic((DIMENSION,))
    assert torch.equal(one.hessian, two.hessian)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("drop_last", [1, "yes", None])
def test_drop_last_is_true_or_false(drop_last: Any) -> None:
    with pytest.raises(UserError, match=f"drop_last must be true or false, got {drop_last}"):
        quadratic_deep.load(drop_last=drop_last)


def test_other_data_is_refused() -> None:
    with pytest.raises(ValueError, match=r"input_shape must be 100 for quadratic, got 1x8x8$"):
        Quadratic((1, 8, 8))


def test_gradient_descent_ends_where_deepobs_says() -> None:
    data = quadratic_deep.load()
    torch.manual_seed(0)
    model = Quadratic((DIMENSION,))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    for batch, wanted in islice(data.shuffled(128, 0), 700):
        optimizer.zero_grad()
        mean(model(batch), wanted).backward()
        optimizer.step()
    with torch.no_grad():
        loss = model(data.splits["test"][0]).mean().item()
    assert loss == pytest.approx(87.293, abs=0.3), (
        "a single published run; ten seeds here: 87.37, standard deviation 0.07"
    )
