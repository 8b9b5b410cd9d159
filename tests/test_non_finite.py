"""Where a diverged run lost its finite numbers: the tensor, the module and the step are named."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bench import tables
from bench.analysis.diagnosis import diagnose

TROUBLED = """
import math
import torch
from bench.training.stop_metrics import StopMetric


class Net(torch.nn.Module):
    '''A network whose module `odd` goes wrong in a chosen way once it was called `at` times in training.'''

    def __init__(self, input_shape, num_outputs, trouble="", at=25):
        super().__init__()
        self.register_buffer("mask", torch.full((1,), -math.inf))  # not finite, and meant to be
        self.first = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.Dropout(0.2))
        self.odd = Odd(trouble, at)
        self.last = torch.nn.Linear(16, num_outputs)

    def forward(self, x):
        return self.last(self.odd(self.first(x)))


class Odd(torch.nn.Module):
    def __init__(self, trouble, at):
        super().__init__()
        self.trouble, self.at, self.calls = trouble, at, 0
        self.scale = torch.nn.Parameter(torch.ones(16))
        self.register_buffer("kept", torch.zeros(1))

    def forward(self, x):
        self.calls += self.training
        if self.calls < self.at:
            return x * self.scale
        if self.trouble == "output":
            return x * self.scale / 0.0
        if self.trouble == "evaluation" and not self.training:
            return x * self.scale / 0.0
        if self.trouble == "gradient":
            return x * self.scale + torch.sqrt(self.scale - self.scale)
        if self.trouble == "buffer":
            self.kept.fill_(math.inf)
            return x * self.scale + (self.kept if self.calls > self.at else 0.0)
        return x * self.scale


CALLS = 0


def loss(outputs, targets):
    global CALLS
    value = torch.nn.functional.cross_entropy(outputs, targets)
    CALLS += outputs.requires_grad
    return value / 0.0 if CALLS % 60 == 42 else value
"""


@pytest.fixture
def run(cli: Callable[..., Any], folder: Path) -> Callable[..., pd.Series]:
    (folder / "troubled.py").write_text(TROUBLED)

    def call(*overrides: str) -> pd.Series:
        cli("model=custom", "model._target_=troubled.Net", "train.steps=60", "seeds=1", "report=false", "memory=false",
            "study=s", "force=true", *overrides)  # fmt: skip
        return tables.load("results/s").runs.sort_values("started_at").iloc[-1]

    return call


@pytest.mark.parametrize(
    ("trouble", "what", "layer", "step"),
    [
        ("output", "the output of odd", "odd", 24),  # one of the calls is the warm-up's, on a copy of its own
        ("gradient", "the gradient of odd.scale", "odd", 24),
        ("buffer", "odd.kept, which the model keeps", "odd", 24),
        ("evaluation", "the output of odd, in an evaluation", "odd", 30),
    ],
)
@pytest.mark.parametrize("log_every", [1, 10])
def test_the_first_tensor_is_named(
    run: Callable[..., pd.Series], trouble: str, what: str, layer: str, step: int, log_every: int
) -> None:
    found = run(f"+model.trouble={trouble}", "+model.at=24", f"train.log_every={log_every}", "train.eval_every=30")
    assert found["status"] == "diverged"
    assert (found["non_finite"], found["non_finite_layer"], found["non_finite_step"]) == (what, layer, step)


def test_an_optimizer_that_breaks_weights_is_named_by_parameter(run: Callable[..., pd.Series]) -> None:
    found = run("optimizer=custom", "optimizer._target_=mine.Mine", "+optimizer.trouble=blowup", "+optimizer.at=13")
    assert (found["non_finite"], found["non_finite_layer"]) == ("first.1.weight, after the optimizer's step", "first.1")
    assert found["non_finite_step"] == 13


def test_steps_that_grow_without_bound_are_found_where_they_first_overflow(run: Callable[..., pd.Series]) -> None:
    found = run("optimizer=sgd", "optimizer.lr=1e12")
    assert found["status"] == "diverged" and found["non_finite_step"] <= 10
    assert found["non_finite"].startswith(("the output of", "the gradient of", "the loss"))
    findings = diagnose(tables.load("results/s").runs, tables.load("results/s").curves, pd.DataFrame())
    assert [each.rule for each in findings] == ["diverged"]
    assert found["non_finite"] in findings[0].seen and findings[0].since == found["non_finite_step"]


def test_a_run_that_ends_well_is_not_repeated(run: Callable[..., pd.Series], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.execution.run.first_non_finite", lambda *_: pytest.fail("repeated"))
    found = run()
    assert found["status"] == "ok" and pd.isna(found["non_finite"])
    above = run("optimizer=sgd", "train.loss_limit=1e-6")
    assert above["status"] == "diverged" and pd.isna(above["non_finite"])


def test_what_goes_otherwise_when_repeated_is_left_open(run: Callable[..., pd.Series]) -> None:
    found = run("loss=troubled.loss")  # its trouble comes by a count over both times
    assert found["status"] == "diverged" and (pd.isna(found["non_finite"]) or "loss" in found["non_finite"])


def test_the_points_of_the_run_are_those_before_the_search(run: Callable[..., pd.Series]) -> None:
    run("+model.trouble=output", "+model.at=24")
    curves = tables.load("results/s").curves
    assert curves["step"].max() == 20 and math.isfinite(curves["value"].sum())
    assert torch.get_default_dtype() == torch.float32
