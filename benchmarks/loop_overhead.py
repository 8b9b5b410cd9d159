"""A step of the bench's training loop against a hand-written PyTorch loop.

Same model, optimizer, batches and number of steps; built anew for every measurement, since where
memory lies moves a time by a percent or two; in pairs, the order changing from pair to pair (A B, B A).
What the bench does for its log counts as the loop's cost; evaluation is outside both.

    python benchmarks/loop_overhead.py [--pairs 120]
"""

from __future__ import annotations

import argparse
import gc
import math
import time
from contextlib import nullcontext

import numpy as np
import torch
from torch.nn import functional

from bench.clock import Stopwatch
from bench.data import Dataset, as_dataset, digits
from bench.report.stats import mean_interval
from bench.train import Plan, Trace, train
from models.cnn import MnistCNN
from models.mlp import MLP

BATCH = 64


def build(model_class: type[torch.nn.Module], data: Dataset) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = model_class(data.spec.input_shape, data.spec.num_outputs)
    return model, torch.optim.Adam(model.parameters())


def bare(model_class: type[torch.nn.Module], data: Dataset, num_steps: int) -> float:
    """Seconds of a loop as one writes it by hand."""
    model, optimizer = build(model_class, data)
    x, y = data.splits["train"]
    generator = torch.Generator().manual_seed(1)
    step = 0
    gc.collect()
    started = time.perf_counter()
    while step < num_steps:
        for chosen in torch.randperm(len(x), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            step += 1
            if step == num_steps:
                break
    return time.perf_counter() - started


def ours(model_class: type[torch.nn.Module], data: Dataset, num_steps: int) -> float:
    """Seconds of `bench.train.train`, evaluation excluded, logging included."""
    model, optimizer = build(model_class, data)
    plan = Plan(num_steps, BATCH, 10, 10**9, 1e4, None, 1, nullcontext())
    watch, trace = Stopwatch(torch.device("cpu")), Trace()
    gc.collect()
    train(model, optimizer, data, plan, watch, trace)
    watch.switch("rest")
    return watch.seconds["train"] + watch.seconds["log"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=120)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    for name, model_class, resize, num_steps in (("mlp", MLP, None, 300), ("mnist_cnn", MnistCNN, 28, 30)):
        data = as_dataset(digits.load(resize))
        for function in (bare, ours):
            function(model_class, data, num_steps // 5)
        gc.freeze()
        logs, steps = [], []
        for pair in range(pairs):
            order = (bare, ours) if pair % 2 == 0 else (ours, bare)
            seconds = {function: function(model_class, data, num_steps) for function in order}
            logs.append(math.log(seconds[ours] / seconds[bare]))
            steps.append(seconds[bare] / num_steps)
        mean, low, high = (math.exp(v) for v in mean_interval(logs))
        middle = math.exp(float(np.median(logs)))
        print(
            f"digits {name}, batch {BATCH}, 1 thread, {pairs} pairs of {num_steps} steps: ours / bare ="
            f" {mean:.4f} [{low:.4f}, {high:.4f}], median {middle:.4f}; bare step {1e6 * float(np.median(steps)):.0f} us"
        )
    gc.unfreeze()


if __name__ == "__main__":
    main()
