"""Compare optimizers from a program, for `same_results.py`: on a model and data that live in it."""

import functools
from pathlib import Path

import torch

from bench import compare, tables


def net(input_shape, num_outputs):
    return torch.nn.Sequential(torch.nn.Linear(*input_shape, 8), torch.nn.ReLU(), torch.nn.Linear(8, num_outputs))


def split(seed):
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(seed))
    return inputs, (inputs.sum(1) > 0).long()


found = compare(
    net,
    (split(0), split(1), split(2)),
    ["adam", ("sgd", {"lr": 0.1}), ("mine", functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9))],
    seeds=2,
    steps=8,
    batch_size=16,
    study="python",
    results_dir="results",
    settings={"schedule": "cosine", "train.clip_norm": 1.0},
)
Path("results/summary").mkdir(exist_ok=True)
found.summary().to_parquet("results/summary/summary.parquet")
found.plot()
found.report("report")
assert len(tables.load(found.path).runs) == len(found.runs) == 6
