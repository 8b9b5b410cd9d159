"""One update: accumulation, penalties, clipping, closures and second derivatives against what they should be."""

from __future__ import annotations

import warnings
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from bench.base.errors import UserError
from bench.claims.checks.printed import as_printed
from bench.training.losses import LOSSES, check_log_probabilities, cross_entropy, loss_name, nll
from bench.training.step import StepOptions, Update

X = torch.randn(13, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(13) % 4


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)).double()


def made(
    options: StepOptions, optimizer: type[Any] = torch.optim.SGD, needs: frozenset[str] = frozenset(), **settings: Any
) -> tuple[nn.Sequential, Update, torch.Tensor]:
    """A net one update old."""
    model = net()
    parameters = list(model.parameters())
    settings = {"lr": 0.1} | settings
    update = Update(model, parameters, optimizer(parameters, **settings), cross_entropy, nullcontext(), options, needs)
    return model, update, update(X.double(), Y)


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def gradient(model: nn.Module, extra: Any = lambda model: 0.0) -> torch.Tensor:
    loss = functional.cross_entropy(model(X.double()), Y) + extra(model)
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def test_a_plain_update_is_a_plain_step() -> None:
    model, update, loss = made(StepOptions())
    start = net()
    assert torch.allclose(flat(model), flat(start) - 0.1 * gradient(start), rtol=0, atol=1e-14)
    assert loss.item() == functional.cross_entropy(start(X.double()), Y).item()
    assert not loss.requires_grad
    assert update.num_evaluations == 1


@given(parts=st.integers(1, 20))
def test_a_batch_in_parts_is_the_same_update(parts: int) -> None:
    """13 examples: into parts of unequal size, and at most one each."""
    whole, _, loss = made(StepOptions())
    model, update, summed = made(StepOptions(accumulate=parts))
    assert torch.allclose(flat(model), flat(whole), rtol=0, atol=1e-14)
    assert summed.item() == pytest.approx(loss.item(), rel=1e-12)
    assert update.num_evaluations == 1


@pytest.mark.parametrize("weights_only", [False, True])
def test_l1_adds_the_sign_of_the_weights_to_the_gradient(weights_only: bool) -> None:
    model, _, loss = made(StepOptions(l1=0.3, weights_only=weights_only))
    start = net()
    penalised = [p for p in start.parameters() if p.ndim > 1 or not weights_only]
    wanted = gradient(start, lambda _: 0.3 * torch.stack([p.abs().sum() for p in penalised]).sum())
    assert torch.allclose(flat(model), flat(start) - 0.1 * wanted, rtol=0, atol=1e-14)
    assert loss.item() == functional.cross_entropy(start(X.double()), Y).item(), "the penalty is no part of the loss"


def test_clipping_scales_to_the_norm_and_leaves_smaller_gradients_alone() -> None:
    start = net()
    g = gradient(start)
    clipped, _, _ = made(StepOptions(clip_norm=0.01))
    step = (flat(start) - flat(clipped)) / 0.1
    assert step.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.allclose(step / step.norm(), g / g.norm(), atol=1e-6)
    free, _, _ = made(StepOptions(clip_norm=1e6))
    assert torch.allclose(flat(free), flat(start) - 0.1 * g, rtol=0, atol=1e-14)


def test_clipping_comes_after_parts_and_penalty() -> None:
    model, _, _ = made(StepOptions(clip_norm=0.01, l1=5.0, accumulate=4))
    assert ((flat(net()) - flat(model)) / 0.1).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_lbfgs_is_torchs_own_and_its_evaluations_are_counted() -> None:
    model, update, loss = made(StepOptions(), torch.optim.LBFGS, frozenset({"closure"}), lr=1.0, max_iter=7)
    bare = net()
    optimizer = torch.optim.LBFGS(bare.parameters(), lr=1.0, max_iter=7)
    calls = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(bare(X.double()), Y)
        value.backward()
        calls.append(value.item())
        return value

    optimizer.step(closure)
    assert torch.equal(flat(model), flat(bare))
    assert update.num_evaluations == len(calls) > 1
    assert loss.item() == calls[0], "the loss before the update"


def test_a_line_search_sees_the_penalty() -> None:
    """Strong Wolfe compares values: with L1 left out of them it would follow another function."""
    settings = {"lr": 1.0, "max_iter": 30, "line_search_fn": "strong_wolfe"}
    model, _, _ = made(StepOptions(l1=0.5), torch.optim.LBFGS, frozenset({"closure"}), **settings)

    @torch.no_grad()
    def minimised(model: nn.Module) -> float:
        penalty = 0.5 * sum(p.abs().sum() for p in model.parameters())
        return float(functional.cross_entropy(model(X.double()), Y) + penalty)

    assert minimised(model) < 0.5 * minimised(net())


class NewtonDiagonal(torch.optim.Optimizer):
    """Divides by second derivatives, which it takes of the gradients."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            ps = group["params"]
            seconds = torch.autograd.grad(sum(p.grad.square().sum() for p in ps), ps)
            with torch.no_grad():
                for p, second in zip(ps, seconds, strict=True):
                    p.sub_(group["lr"] * p.grad / (second.abs() + 1))


def test_gradients_can_be_differentiated_where_an_optimizer_needs_it() -> None:
    with pytest.raises(RuntimeError, match="does not require grad"):
        made(StepOptions(), NewtonDiagonal)
    with warnings.catch_warnings(action="error"):
        model, _, _ = made(StepOptions(), NewtonDiagonal, frozenset({"create_graph"}))
    assert not torch.equal(flat(model), flat(net()))


def test_an_optimizer_that_leaves_its_closure_alone_is_refused() -> None:
    class Deaf(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            pass

    with pytest.raises(UserError, match="optimizer.needs must not hold closure for Deaf"):
        made(StepOptions(), Deaf, frozenset({"closure"}))


def test_phases_come_in_order() -> None:
    seen: list[str] = []

    @contextmanager
    def phase(name: str) -> Any:
        seen.append(name)
        yield

    model = net()
    parameters = list(model.parameters())
    sgd = torch.optim.SGD(parameters)
    Update(model, parameters, sgd, cross_entropy, nullcontext(), StepOptions(accumulate=2), phase=phase)(X.double(), Y)
    assert seen == ["forward", "backward", "forward", "backward", "step"]


# --- losses ---------------------------------------------------------------------------------------


def test_nll_of_log_probabilities_is_cross_entropy() -> None:
    outputs = torch.randn(13, 4, requires_grad=True)
    one, two = cross_entropy(outputs, Y), nll(outputs.log_softmax(-1), Y)
    assert one.item() == pytest.approx(two.item(), rel=1e-6)
    (a,), (b,) = (torch.autograd.grad(value, outputs) for value in (one, two))
    assert torch.allclose(a, b, atol=1e-7)
    check_log_probabilities(outputs.log_softmax(-1))
    with pytest.raises(UserError, match="loss=nll must be given log-probabilities"):
        check_log_probabilities(outputs)


def test_cross_entropy_of_sequences_is_the_mean_over_places() -> None:
    outputs, targets = torch.randn(3, 5, 7), torch.randint(7, (3, 5))
    each = [functional.cross_entropy(outputs[i], targets[i]).item() for i in range(3)]
    assert cross_entropy(outputs, targets).item() == pytest.approx(sum(each) / 3, rel=1e-6)


def test_the_printed_loss_is_as_printed_and_falls_with_the_right_output() -> None:
    outputs = torch.tensor([[1.0, 2.0, 4.0], [3.0, 0.5, 1.0]])
    assert as_printed(outputs, torch.tensor([1, 0])).item() == pytest.approx((2 + 3) / (2 * 4))
    worse = outputs - torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert as_printed(worse, torch.tensor([1, 0])) < as_printed(outputs, torch.tensor([1, 0]))


def test_which_loss() -> None:
    from bench.data.dataset import DataSpec

    classes, values = DataSpec((3,), 2, "classification"), DataSpec((3,), 2, "regression")
    assert [loss_name("default", spec) for spec in (classes, values)] == ["cross_entropy", "mse"]
    assert loss_name("nll", classes) == "nll"
    assert loss_name("default", DataSpec((3,), 1, "objective")) == "mean"
    assert LOSSES["mean"](torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1)).item() == 2
    with pytest.raises(UserError, match="loss must be default for data of regression, got as_printed"):
        loss_name("as_printed", values)
