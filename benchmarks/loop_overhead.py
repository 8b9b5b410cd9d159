"""A step of the bench's training loop against a hand-written PyTorch loop.

Same model, optimizer, batches and number of steps; built anew for every measurement, since where
memory lies moves a time by a percent or two; in pairs, the order changing from pair to pair (A B, B A).
What the bench does for its log counts as the loop's cost; evaluation is outside both.

With `--images`, a folder of images in ImageNet's layout: conv64 at 32 pixels and resnet18 at 64 on it as
well, each file decoded in two workers on both sides. The bare loop has torch's own DataLoader with the
same images, shuffled anew each epoch.

    python benchmarks/loop_overhead.py [--pairs 120] [--device cuda] [--resnet18] [--images FOLDER] [--out rows.csv]
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from bench.analysis.inference import mean_interval
from bench.data import digits, image_folder
from bench.data.dataset import Dataset, as_dataset
from bench.measure.clock import Stopwatch, synchronizer
from bench.training.learner import Learner
from bench.training.loop import train
from bench.training.plan import TrainingPlan
from bench.training.trace import Trace
from models import torchvision
from models.cnn import Conv64, MnistCNN
from models.mlp import MLP

BATCH = 64
DEVICE = torch.device("cpu")

Build = Callable[..., nn.Module]


def build(make: Build, data: Dataset) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = make(input_shape=data.spec.input_shape, num_outputs=data.spec.num_outputs).to(DEVICE)
    return model, torch.optim.Adam(model.parameters())


def gathered(data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of tensors in memory, as one writes it by hand."""
    x, y = data.splits["train"]
    generator = torch.Generator().manual_seed(1)
    while True:
        for chosen in torch.randperm(len(x), generator=generator).to(DEVICE).split(BATCH):
            yield x[chosen], y[chosen]


def loaded(data: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of files, as one writes it by hand."""
    files = data.splits["train"]
    loader = DataLoader(files, BATCH, shuffle=True, num_workers=2)  # type: ignore[arg-type, var-annotated]
    while True:
        yield from loader


def bare(make: Build, data: Dataset, num_steps: int) -> float:
    """Seconds of a loop as one writes it by hand."""
    model, optimizer = build(make, data)
    gc.collect()
    synchronize = synchronizer(DEVICE)
    synchronize()
    with closing(loaded(data) if data.reads_files else gathered(data)) as batches:
        started = time.perf_counter()
        for step, (x, y) in enumerate(batches, 1):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if step == num_steps:
                break
        synchronize()
        return time.perf_counter() - started


def ours(make: Build, data: Dataset, num_steps: int) -> float:
    """Seconds of `bench.training.loop.train`, evaluation excluded, logging included."""
    model, optimizer = build(make, data)
    plan = TrainingPlan(num_steps, BATCH, 10, 10**9, 1e4, None, 1, nullcontext())
    watch, trace = Stopwatch(DEVICE), Trace()
    gc.collect()
    train(Learner(model, optimizer), data, plan, watch, trace)
    watch.switch("rest")
    return watch.seconds["train"] + watch.seconds["log"]


def compare(name: str, make: Build, data: Dataset, num_steps: int, pairs: int) -> dict[str, float | int | str]:
    """Print one line: the ratio, with its interval over pairs. Return it as a row of a table."""
    for function in (bare, ours):
        function(make, data, max(1, num_steps // 5))
    gc.freeze()
    logs, steps = [], []
    for pair in range(pairs):
        order = (bare, ours) if pair % 2 == 0 else (ours, bare)
        seconds = {function: function(make, data, num_steps) for function in order}
        logs.append(math.log(seconds[ours] / seconds[bare]))
        steps.append(seconds[bare] / num_steps)
    gc.unfreeze()
    mean, low, high = (math.exp(v) for v in mean_interval(logs))
    middle = math.exp(float(np.median(logs)))
    print(
        f"{name}, batch {BATCH}, 1 thread, {pairs} pairs of {num_steps} steps: ours / bare ="
        f" {mean:.4f} [{low:.4f}, {high:.4f}], median {middle:.4f}; bare step {1e6 * float(np.median(steps)):.0f} us",
        flush=True,
    )
    return {
        "workload": name, "batch_size": BATCH, "device": DEVICE.type, "num_pairs": pairs, "num_steps": num_steps,
        "ratio": mean, "ratio_low": low, "ratio_high": high, "bare_step_us": 1e6 * float(np.median(steps)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=120)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--resnet18", action="store_true", help="on digits of 32 pixels and 3 channels, as well")
    parser.add_argument("--out", type=Path, help="a CSV file for the rows")
    parser.add_argument("--images", type=Path, help="folder with train/ and val/ in it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    global DEVICE
    DEVICE = torch.device(arguments.device)
    resnet18 = partial(torchvision.build, "resnet18")
    on_digits = [("mlp", MLP, digits.load(), 300), ("mnist_cnn", MnistCNN, digits.load(28), 30)]
    if arguments.resnet18:
        on_digits.append(("resnet18", resnet18, digits.load(32, 3), 30))
    rows = [
        compare(f"{name} on digits", make, as_dataset(data).to(DEVICE), num_steps, arguments.pairs)
        for name, make, data, num_steps in on_digits
    ]
    if arguments.images:
        for name, make, size, num_steps in (("conv64", Conv64, 32, 30), ("resnet18", resnet18, 64, 4)):
            data = image_folder.load(str(arguments.images), size=size).to(DEVICE)
            pairs = max(5, arguments.pairs // 6)
            rows.append(compare(f"{name} on images of {size} pixels", make, data, num_steps, pairs))
    if arguments.out:
        pd.DataFrame(rows).to_csv(arguments.out, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
