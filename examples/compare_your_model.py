"""Which optimizer for this model? Your own network, data and optimizer, compared from Python.

    python examples/compare_your_model.py

trains three optimizers, each at three learning rates and on five seeds, and leaves a report to open.
"""

from __future__ import annotations

import functools

import torch
from sklearn.datasets import load_digits
from torch import nn

from bench import compare


def small_cnn() -> nn.Module:
    """Return a fresh network; the bench seeds it, so that every optimizer starts from the same weights."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


class Lion(torch.optim.Optimizer):
    """The sign of an average of gradients (Chen et al., "Symbolic Discovery of Optimization Algorithms", 2023)."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        """Make an update."""
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                if p not in self.state:
                    self.state[p]["exp_avg"] = torch.zeros_like(p)
                average = self.state[p]["exp_avg"]
                p.sub_(group["lr"] * torch.sign(beta1 * average + (1 - beta1) * p.grad))
                average.lerp_(p.grad, 1 - beta2)


if __name__ == "__main__":
    digits = load_digits()
    order = torch.randperm(len(digits.images), generator=torch.Generator().manual_seed(0))
    images, classes = torch.tensor(digits.images).unsqueeze(1)[order] / 16, torch.tensor(digits.target)[order]
    train, val, test = zip(images.split([1200, 300, 297]), classes.split([1200, 300, 297]), strict=True)

    found = compare(
        model=small_cnn,
        data=(train, val, test),
        optimizers=[
            *[("adam", {"lr": lr}) for lr in (1e-3, 1e-2, 1e-1)],
            *[("sgd", {"lr": lr, "momentum": 0.9}) for lr in (1e-2, 1e-1, 1)],
            *[functools.partial(Lion, lr=lr) for lr in (3e-4, 3e-3, 3e-2)],
        ],
        seeds=5,
        epochs=6,
    )
    print(found)
    found.plot().savefig("loss.png")
    print("report:", found.report("report"))
