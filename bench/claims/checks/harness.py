"""What the checks of statements of fact share: small models, updates, differences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bench.claims.checks.printed import as_printed
from bench.data.dataset import Dataset
from bench.training.losses import Loss

SEEDS = (0, 1, 2)
"""Of initial weights and batch order, in checks that train."""


BATCH_SIZE = 64


ROUNDING = 1e-9
"""Relative difference that is put down to rounding, in double precision."""


LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
"""Adam's settings, where its arithmetic is checked."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        holds: Whether what the article says is so, whatever the check is called; a claim of several parts holds where
            all of them do.
        numbers: What was counted and computed, all finite, by names to quote them by.
    """

    holds: bool
    numbers: dict[str, float | int | str]


@contextmanager
def fresh_model(seed: int) -> Iterator[None]:
    """Return initial weights of that seed; leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs' generators too
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: two add in another order, and the printed losses amplify the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def trained_model(
    rule: Callable[..., Optimizer],
    settings: dict[str, Any],
    kind: Callable[[Sequence[int], int], nn.Module],
    data: Dataset,
    loss_of: Loss,
    num_epochs: int,
    seed: int,
) -> nn.Module:
    """Return a model of that kind, trained; with 0 epochs, as it was initialized."""
    with fresh_model(seed):
        model = kind(data.spec.input_shape, data.spec.num_outputs)
    optimizer = rule(model.parameters(), **settings)
    num_steps = num_epochs * data.steps_per_epoch(BATCH_SIZE)
    with _one_thread():
        for inputs, targets in islice(data.shuffled(BATCH_SIZE, seed), num_steps):
            optimizer.zero_grad()
            loss_of(model(inputs), targets).backward()
            optimizer.step()
    return model


def model_learns(
    printed: Callable[..., Optimizer],
    settings: dict[str, Any],
    kind: Callable[[Sequence[int], int], nn.Module],
    data: Dataset,
    loss_of: Loss,
    constant: Tensor,
    num_epochs: int,
) -> Finding:
    """Tell whether a printed rule is moved by gradients, and whether it gets below half the loss of the best constant output.

    Args:
        printed: The rule, at its own settings.
        settings: Of torch's Adam, which is run beside it.
        kind: The model.
        data: What it is trained on; its val split is what losses are of.
        loss_of: What is minimised.
        constant: The best constant output, shape (num_outputs,).
        num_epochs: The budget.
    """
    inputs, targets = data.splits["val"]

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return float(loss_of(model(inputs), targets))

    def raised(outputs: Tensor, wanted: Tensor) -> Tensor:
        return -loss_of(outputs, wanted)

    rules: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
        "printed": (printed, {}),
        "adam": (torch.optim.Adam, settings),
    }
    before = fmean(loss(trained_model(printed, {}, kind, data, loss_of, 0, seed)) for seed in SEEDS)
    without_inputs = float(loss_of(constant.expand(len(inputs), -1), targets))
    numbers: dict[str, float | int | str] = {"num_epochs": num_epochs, "num_seeds": len(SEEDS)}
    numbers |= {"loss_before": before, "loss_without_inputs": without_inputs}
    for name, (rule, given) in rules.items():
        after, differences = [], []
        for seed in SEEDS:
            lowered = trained_model(rule, given, kind, data, loss_of, num_epochs, seed)
            other = trained_model(rule, given, kind, data, raised, num_epochs, seed)
            after.append(loss(lowered))
            differences += [
                float((a - b).detach().abs().max())
                for a, b in zip(lowered.parameters(), other.parameters(), strict=True)
            ]
        numbers |= {f"{name}_loss_after": fmean(after), f"{name}_difference_by_gradient": max(differences)}
    is_moved = float(numbers["printed_difference_by_gradient"]) > 0
    return Finding(is_moved and float(numbers["printed_loss_after"]) < without_inputs / 2, numbers)


def pushed_down(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Return the share of examples whose output of the right class falls as the printed loss of all of them is lowered."""
    outputs = model(inputs)
    (gradient,) = torch.autograd.grad(as_printed(outputs, targets), [outputs])
    return float((gradient.gather(1, targets.unsqueeze(1)) > 0).float().mean())


def decay_coupling(make: Callable[[list[nn.Parameter]], Optimizer]) -> tuple[float, int]:
    """Return how far x goes elsewhere on x^2 + c y^2 when c changes from 1 to 10, and how many curvature pairs are kept."""

    def end(c: float) -> tuple[float, int]:
        point = nn.Parameter(torch.ones(2, dtype=torch.float64))
        optimizer = make([point])

        def closure() -> float:
            optimizer.zero_grad()
            loss = point[0] ** 2 + c * point[1] ** 2
            loss.backward()
            return float(loss.detach())

        for _ in range(3):
            optimizer.step(closure)
        return float(point[0].detach()), len(optimizer.state[point].get("old_dirs", []))

    (x, num_pairs), (elsewhere, _) = end(1.0), end(10.0)
    return abs(x - elsewhere), num_pairs


def flat_vector(size: int, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    """Return a random parameter of shape (size,), the same at each call."""
    return nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(SEEDS[0]), dtype=dtype))


def gradients_of(num_steps: int = 200, size: int = 100) -> Tensor:
    """Return random gradients of three orders of magnitude, (num_steps, size), in double precision."""
    random = torch.Generator().manual_seed(SEEDS[1])
    scale = 10.0 ** torch.randint(-1, 2, (num_steps, 1), generator=random)
    return scale * torch.randn(num_steps, size, generator=random, dtype=torch.float64)


def longest_step(gradients: Tensor, beta2: float = BETA2) -> float:
    """Return the longest step of torch's AdaMax over its learning rate, of gradients (num_steps, size)."""
    param = nn.Parameter(torch.zeros_like(gradients[0]))
    adamax = torch.optim.Adamax([param], lr=LR, betas=(BETA1, beta2), eps=EPS)
    longest = 0.0
    for gradient in gradients:
        param.data.zero_()  # a step is then read to its last digit
        param.grad = gradient.clone()
        adamax.step()
        longest = max(longest, float(param.detach().abs().max()) / LR)
    return longest


def shrinking(factor: float, num_steps: int) -> Tensor:
    """Return gradients factor^t, (num_steps, 1), the last of them 1: far above eps."""
    return (factor ** torch.arange(1.0 - num_steps, 1.0, dtype=torch.float64)).unsqueeze(1)


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Return the distance of two tensors relative to the norm of the second."""
    return float((ours - theirs).detach().norm() / theirs.detach().norm())
