"""What diagnostics cost: the same training with them and without, in pairs, the order changing from pair to pair.

Light ones together, at every 10th step; those that need further passes one at a time, at every 50th. Time is that of training,
logging and recording; evaluation is outside.

    python benchmarks/diagnostics_cost.py [--pairs 20] [--workloads mlp mnist_cnn resnet18] [--passes] [--booked]
"""

from __future__ import annotations

import argparse
import gc
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from loop_overhead import BATCH, DEVICE, Build, build
from scipy.stats import quantile_test
from torch.nn import functional

from bench.base.diagnostics import DIAGNOSTICS, LIGHT
from bench.data import digits
from bench.data.dataset import Dataset, as_dataset
from bench.measure.clock import Stopwatch
from bench.training.diagnostics.recorder import Recorder
from bench.training.learner import Learner
from bench.training.loop import train
from bench.training.plan import TrainingPlan
from bench.training.trace import Trace
from models import torchvision
from models.cnn import MnistCNN
from models.mlp import MLP

WORKLOADS: dict[str, tuple[Build, Callable[[], Any], int]] = {
    "mlp": (MLP, digits.load, 1000),
    "mnist_cnn": (MnistCNN, partial(digits.load, 28), 50),
    "resnet18": (partial(torchvision.build, "resnet18", small_images=True), partial(digits.load, 32, channels=3), 20),
}
"""Model, data, and steps of each side of a pair."""


def seconds(make: Build, data: Dataset, num_steps: int, names: Sequence[str], every: int) -> dict[str, float]:
    """Return the seconds of training, logging and recording, each by its name."""
    model, optimizer = build(make, data)
    plan = TrainingPlan(num_steps, BATCH, 10, 10**9, 1e4, None, 1, nullcontext())
    watch, trace = Stopwatch(DEVICE), Trace()
    recorder = Recorder(names, every, model, optimizer, functional.cross_entropy, nullcontext()) if names else None
    gc.collect()
    train(Learner(model, optimizer), data, plan, watch, trace, recorder=recorder)
    watch.switch("rest")
    return {name: watch.seconds.get(name, 0.0) for name in ("train", "log", "diagnostics")}


def compare(
    workload: str, make: Build, data: Dataset, num_steps: int, pairs: int, names: Sequence[str], every: int
) -> None:
    """Print one line: the median ratio of the time with diagnostics to that without, and its interval, of any distribution, over pairs."""
    for chosen in (names, ()):
        seconds(make, data, max(every, num_steps // 5), chosen, every)
    logs = []
    for pair in range(pairs):
        order = (names, ()) if pair % 2 == 0 else ((), names)
        found = {bool(chosen): sum(seconds(make, data, num_steps, chosen, every).values()) for chosen in order}
        logs.append(math.log(found[True] / found[False]))
    middle = math.exp(float(np.median(logs)))
    low, high = (math.exp(value) for value in quantile_test(logs, p=0.5).confidence_interval())
    what = "all light ones" if len(names) > 1 else names[0]
    print(
        f"{workload}, batch {BATCH}: {what} at every {every}th step: {middle:.3f} [{low:.3f}, {high:.3f}]"
        f" ({pairs} pairs of {num_steps} steps)",
        flush=True,
    )


def booked(workload: str, make: Build, data: Dataset, num_steps: int, names: Sequence[str], every: int) -> None:
    """Print one line: the time that was booked on diagnostics over that on training, the median of five runs."""
    shares = []
    for _ in range(5):
        found = seconds(make, data, num_steps, names, every)
        shares.append(100 * found["diagnostics"] / found["train"])
    what = "all light ones" if len(names) > 1 else names[0]
    low, middle, high = min(shares), float(np.median(shares)), max(shares)
    print(f"{workload}: {what} at every {every}th step: {middle:.1f} % ({low:.1f} to {high:.1f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=["mlp", "mnist_cnn"])
    parser.add_argument("--passes", action="store_true", help="those that need further passes, as well")
    parser.add_argument(
        "--booked",
        action="store_true",
        help="no pairs: the time that a run books on diagnostics, less disturbed by noise",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    light = [each.name for each in DIAGNOSTICS if each.cost == LIGHT]
    for workload in arguments.workloads:
        make, load, num_steps = WORKLOADS[workload]
        data, pairs = as_dataset(load()), arguments.pairs
        several = [([each.name], 50) for each in DIAGNOSTICS if arguments.passes and each.cost != LIGHT]
        for names, every in [(light, 10), *several]:
            steps = max(every, num_steps)
            if arguments.booked:
                booked(workload, make, data, steps, names, every)
            else:
                compare(workload, make, data, steps, pairs if names == light else max(7, pairs // 4), names, every)


if __name__ == "__main__":
    main()
