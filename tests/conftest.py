"""What tests share: the command line in this process, and a folder of a person's own classes."""

from __future__ import annotations

import gc
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from bench.cli import main

settings.register_profile("bench", deadline=None, derandomize=True)
settings.load_profile("bench")

FAST = ["train.epochs=2", "report=false"]

MINE = """
import torch


class Mine(torch.optim.Optimizer):
    '''Sign descent, with a choice of troubles.'''

    def __init__(self, params, lr=1e-3, trouble=None, at=3):
        if trouble == "constructor":
            raise KeyError("no good")
        super().__init__(params, {"lr": lr})
        self.trouble, self.at, self.calls = trouble, at, 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        if self.calls == self.at:
            if self.trouble == "raise":
                raise RuntimeError("gave up")
            if self.trouble == "interrupt":
                raise KeyboardInterrupt
            if self.trouble == "memory":
                torch.empty(2**60)
            if self.trouble == "blowup":
                for group in self.param_groups:
                    for p in group["params"]:
                        p.fill_(float("nan"))
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad.sign())


class Net(torch.nn.Module):
    def __init__(self, input_shape, num_outputs, width=8):
        super().__init__()
        n = torch.Size(input_shape).numel()
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(n, width), torch.nn.Dropout(0.5), torch.nn.Linear(width, num_outputs)
        )

    def forward(self, x):
        return self.net(x)


class Scalars(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.w * x.flatten(1).sum(1)


class NotANumber(torch.nn.Module):
    def __init__(self, num_outputs):
        super().__init__()
        self.w = torch.nn.Parameter(torch.zeros(num_outputs))

    def forward(self, x):
        return (self.w / 0.0 * 0.0).expand(len(x), -1)


class NotAnOptimizer:
    def __init__(self, params):
        pass


def line(size=200, noise=0.1):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3 * size, 4, generator=generator)
    y = x @ torch.tensor([1.0, -2.0, 3.0, 0.5]) + noise * torch.randn(3 * size, generator=generator)
    return tuple(zip(x.split(size), y.split(size)))


def two_splits():
    return (torch.zeros(2, 2), torch.zeros(2)), (torch.zeros(2, 2), torch.zeros(2))
"""


LONGEST = (
    "test_readme", "test_sweeps", "test_app", "test_reproduce", "test_processes", "test_examples", "test_report",
    "test_step_cost", "test_training_options", "test_slurm_launcher", "test_published",
)  # fmt: skip
"""Files of tests that take longest; a worker that began one of them last would end long after the others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


FREEZE_AFTER_S = 1.0
_frozen_at = time.process_time()


def pytest_runtest_logfinish() -> None:
    """Freeze what is alive between tests, once a second.

    Every run collects garbage. Hundreds of runs in one process, with torch, matplotlib and Hydra imported, would
    spend a quarter of their time on walking through objects that stay until the end.
    """
    global _frozen_at
    if time.process_time() - _frozen_at > FREEZE_AFTER_S:
        gc.collect()
        gc.freeze()
        _frozen_at = time.process_time()


@dataclass
class Outcome:
    status: int
    out: str
    err: str


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads on a busy machine wait for each other at every small product."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's folder, current, with classes of their own in mine.py."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(MINE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("mine", None)
    return tmp_path


@pytest.fixture
def cli(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """`python -m bench ARGUMENTS` in the person's folder, in this process."""

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        try:
            status = main.main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(status, captured.out, captured.err)

    return call
