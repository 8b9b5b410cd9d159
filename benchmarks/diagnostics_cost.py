"""What diagnostics cost: the same training with them and without, in pairs, the order changing from pair to pair.

Light ones together, at every 10th step; those that need further passes one at a time, at every 50th. Time is that of training,
logging and recording; evaluation is outside.

    python benchmarks/diagnostics_cost.py [--pairs 20] [--resnet18] [--passes]
"""

from __future__ import annotations

import argparse
import gc
import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np
import torch
from loop_overhead import BATCH, DEVICE, Build, build
from torch.nn import functional

from bench.analysis.inference import mean_interval
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


def seconds(make: Build, data: Dataset, num_steps: int, names: Sequence[str], every: int) -> float:
    """Return the seconds of training, logging and recording."""
    model, optimizer = build(make, data)
    plan = TrainingPlan(num_steps, BATCH, 10, 10**9, 1e4, None, 1, nullcontext())
    watch, trace = Stopwatch(DEVICE), Trace()
    recorder = Recorder(names, every, model, optimizer, functional.cross_entropy, nullcontext()) if names else None
    gc.collect()
    train(Learner(model, optimizer), data, plan, watch, trace, recorder=recorder)
    watch.switch("rest")
    return sum(watch.seconds.get(name, 0.0) for name in ("train", "log", "diagnostics"))


def compare(
    workload: str, make: Build, data: Dataset, num_steps: int, pairs: int, names: Sequence[str], every: int
) -> None:
    """Print one line: the ratio of the time with diagnostics to that without, and its interval over pairs."""
    for chosen in (names, ()):
        seconds(make, data, max(every, num_steps // 5), chosen, every)
    logs = []
    for pair in range(pairs):
        order = (names, ()) if pair % 2 == 0 else ((), names)
        found = {bool(chosen): seconds(make, data, num_steps, chosen, every) for chosen in order}
        logs.append(math.log(found[True] / found[False]))
    mean, low, high = (math.exp(value) for value in mean_interval(logs))
    what = "all light ones" if len(names) > 1 else names[0]
    print(
        f"{workload}, batch {BATCH}: {what} at every {every}th step: {mean:.3f} [{low:.3f}, {high:.3f}],"
        f" median {math.exp(float(np.median(logs))):.3f} ({pairs} pairs of {num_steps} steps)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--resnet18", action="store_true", help="on digits of 32 pixels and 3 channels, as well")
    parser.add_argument("--passes", action="store_true", help="those that need further passes, as well")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    workloads = [("mlp", MLP, as_dataset(digits.load()), 300), ("mnist_cnn", MnistCNN, as_dataset(digits.load(28)), 50)]
    if arguments.resnet18:
        resnet18 = partial(torchvision.build, "resnet18", small_images=True)
        workloads.append(("resnet18", resnet18, as_dataset(digits.load(32, channels=3)), 20))
    light = [each.name for each in DIAGNOSTICS if each.cost == LIGHT]
    for workload, make, data, num_steps in workloads:
        pairs = arguments.pairs if workload != "resnet18" else max(4, arguments.pairs // 4)
        compare(workload, make, data, num_steps, pairs, light, 10)
        for each in DIAGNOSTICS:
            if arguments.passes and each.cost != LIGHT:
                compare(workload, make, data, max(50, num_steps), max(4, pairs // 4), [each.name], 50)


if __name__ == "__main__":
    main()
