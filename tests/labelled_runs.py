"""Runs with a fault that is known, and healthy ones: what `bench.diagnose` is held to."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from bench import compare

HEALTHY: frozenset[str] = frozenset()
SEEDS = (0, 1)


class Labelled(NamedTuple):
    """Runs and the findings of which one at least must be named; none may be, beside notes, where they are healthy."""

    name: str
    labels: frozenset[str]
    model: Any
    optimizer: Any
    steps: int
    settings: dict[str, Any]
    data: Any = "digits"


def mlp(
    layers: list[int], activation: Callable[[], nn.Module], change: Callable[[nn.Linear], None]
) -> Callable[[], nn.Module]:
    """Return a function that makes a network of fully connected layers whose weights are changed at the start."""

    def build() -> nn.Module:
        parts: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in itertools.pairwise(layers):
            linear = nn.Linear(fan_in, fan_out)
            with torch.no_grad():
                change(linear)
            parts += [linear, activation()]
        return nn.Sequential(*parts[:-1])

    return build


def zeros(linear: nn.Linear) -> None:
    linear.weight.zero_()
    linear.bias.zero_()


def negative(linear: nn.Linear) -> None:
    linear.bias.fill_(-20.0 if linear.out_features != 10 else 0.0)


def as_it_is(linear: nn.Linear) -> None:
    pass


class Huge(nn.Module):
    """Weights so large beside their updates that these are lost in rounding; in the output they are small."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((64, 10), 4096.0))
        self.small = nn.Parameter(torch.zeros(10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) @ (self.weight - 4096.0)) * 0.1 + self.small


def of(
    name: str,
    labels: str,
    model: Any,
    optimizer: str,
    lr: float,
    steps: int = 240,
    data: Any = "digits",
    **settings: Any,
) -> Labelled:
    found = frozenset(filter(None, labels.split("|")))
    return Labelled(name, found, model, (optimizer, {"lr": lr}), steps, settings, data)


RUNS = [
    of("sgd crawls", "learning rate too low", "mlp", "sgd", 1e-3),
    of("adam crawls", "learning rate too low", "mlp", "adam", 3e-6),
    of("momentum crawls", "learning rate too low", "logistic", "momentum", 1e-5),
    of("sgd jumps", "learning rate too high|diverged|dead units", "mlp", "sgd", 5.0),
    of("adam jumps", "learning rate too high", "mlp", "adam", 1.0),
    of("rmsprop jumps", "learning rate too high", "mlp", "rmsprop", 0.3),
    of("diverges", "diverged", "linear", "sgd", 5.0, data="regression"),
    of("zeros", "stuck at chance|dead units", mlp([64, 32, 32, 10], nn.ReLU, zeros), "sgd", 0.1),
    of("vanishes", "vanishing gradients", mlp([64, *[24] * 8, 10], nn.Sigmoid, as_it_is), "sgd", 0.1),
    of("dead", "dead units", mlp([64, 48, 10], nn.ReLU, negative), "adam", 1e-3),
    of("rounds", "updates lost in rounding", Huge, "sgd", 1e-3),
    of("overfits", "overfitting", "mlp", "adam", 3e-3, steps=600, **{"data.num_train": 60, "train.eval_every": 10}),
    of("clipped", "always clipped", "mlp", "adam", 3e-3, **{"train.clip_norm": 1e-3}),
    of("adam", "", "mlp", "adam", 3e-3),
    of("sgd", "", "mlp", "sgd", 0.3),
    of("momentum", "", "mlp", "momentum", 0.05),
    of("rmsprop", "", "mlp", "rmsprop", 1e-3),
    of("nadam", "", "mlp", "nadam", 3e-3),
    of("adagrad", "", "mlp", "adagrad", 0.03),
    of("convex", "", "logistic", "adam", 1e-2),
    of("convolutions", "", "mnist_cnn", "adam", 3e-3, steps=120),
    of("line", "", "linear", "adam", 0.1, data="regression"),
]  # fmt: skip
"""Two seeds each: 44 runs."""


def make(labelled: Labelled, folder: Path) -> Any:
    """Make the runs of one entry, with full diagnostics."""
    settings = {
        "memory": False,
        "diagnostics": "full",
        "diagnostics.every": 20,
        "diagnostics.landscape": False,
        "train.eval_every": 20,
        **labelled.settings,
    }
    return compare(
        labelled.model, labelled.data, [labelled.optimizer], seeds=SEEDS, steps=labelled.steps, study=labelled.name.replace(" ", "-"),
        results_dir=folder, settings=settings, batch_size=min(64, labelled.settings.get("data.num_train", 64)),
    )  # fmt: skip
