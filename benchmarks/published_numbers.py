"""Workloads against the figures published for them, trained through the command line.

Each line: what was measured, over how many seeds, its mean and range, the figure it is held to and where
that comes from. Data that is not there is left out, saying so.

    BENCH_DATA_ROOT=... python benchmarks/published_numbers.py [quadratic linear logistic mnist_cnn trec sst transformer]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from bench import tables

SIX = "adam,sgd,rmsprop,nadam,adamax,adadelta"
ROOT = Path(os.environ.get("BENCH_DATA_ROOT", "nowhere"))


def runs(results: Path, study: str, *overrides: str) -> pd.DataFrame:
    """Rows of `runs` of a command; the study is made if it is not there."""
    command = [sys.executable, "-m", "bench", *overrides, f"study={study}", f"results_dir={results}"]
    subprocess.run([*command, "memory=false", "report=false", "-m"], check=True, stdout=subprocess.DEVNULL)
    return tables.load(results / study).runs


def show(what: str, values: pd.Series, held_to: str, scale: float = 1.0) -> None:
    """One line."""
    values = scale * values.astype(float)
    print(
        f"{what:58}  n={len(values):2}  mean {values.mean():9.4f}  sd {values.std(ddof=1):8.4f}"
        f"  {values.min():9.4f} to {values.max():9.4f}   {held_to}",
        flush=True,
    )


def quadratic(results: Path) -> None:
    """Schneider et al., DeepOBS, 2019, baselines: single runs of 100 epochs, final test loss."""
    seeds = "seeds=[0,1,2,3,4,5,6,7,8,9]"
    base = ["experiment=quadratic_deep", seeds]
    published = [
        ("sgd", ["optimizer=sgd", "optimizer.lr=0.01"], "87.293"),
        (
            "momentum .99",
            ["optimizer=momentum", "optimizer.lr=0.01", "optimizer.momentum=0.99"],
            "87.365 (frozen order)",
        ),
        ("adam", ["optimizer=adam", "optimizer.lr=0.001"], "106.640"),
    ]
    for name, overrides, figure in published:
        table = runs(results, f"quadratic-{name.split()[0]}", *base, *overrides, "data.order=reshuffled,frozen")
        for order, group in table.groupby("order"):
            show(f"quadratic_deep, {name}, {order}", group["final_test_loss"], f"published {figure}")
    table = runs(results, "quadratic-defaults", *base, f"optimizer={SIX}", "data.order=reshuffled,frozen")
    for (optimizer, order), group in table.groupby(["optimizer", "order"]):
        ended = group[group["status"] == "ok"]
        show(f"quadratic_deep, {optimizer} at torch's defaults, {order}", ended["final_test_loss"], "lowest 86.8735")


LINEAR_LR = {"adam": 0.05, "sgd": 0.1, "rmsprop": 0.05, "nadam": 0.05, "adamax": 0.05, "adadelta": 5.0}


def linear(results: Path) -> None:
    """The closed form: least squares on the training set."""
    from bench.data.regression import load

    optimum = load().optimum
    assert optimum is not None
    for optimizer, lr in LINEAR_LR.items():
        overrides = [f"optimizer={optimizer}", f"optimizer.lr={lr}", "schedule=cosine"]
        table = runs(results, f"linear-{optimizer}", "experiment=linear_regression", *overrides)
        ratio = 1 + table["final_train_gap"] / optimum
        show(f"linear, {optimizer}, lr {lr}, cosine: loss over the optimum", ratio, "at most 1.05")


def logistic(results: Path) -> None:
    """LeCun et al. 1998, table of linear classifiers: 12.0 % to 7.6 % errors; learning rate by validation loss."""
    if not (ROOT / "MNIST" / "raw").is_dir():
        print("logistic: no MNIST at BENCH_DATA_ROOT")
        return
    rates = "optimizer.lr=1e-4,3e-4,1e-3,3e-3,1e-2"
    tuned = runs(results, "logistic-tune", "experiment=logistic_mnist", rates, "seeds=[100]", "train.epochs=5")
    lr = float(tuned.loc[tuned["final_val_loss"].idxmin(), "lr"])
    table = runs(results, "logistic", "experiment=logistic_mnist", f"optimizer.lr={lr:g}", "train.epochs=15")
    show(f"logistic on MNIST, adam {lr:g}, 15 epochs: test %", table["final_test_accuracy"], "at least 92.0", 100)


def mnist_cnn(results: Path) -> None:
    """A bare loop of the same: 99.0 %."""
    if not (ROOT / "MNIST" / "raw").is_dir():
        print("mnist_cnn: no MNIST at BENCH_DATA_ROOT")
        return
    table = runs(results, "mnist_cnn", "experiment=mnist_tutorial", "train.epochs=5", "schedule=constant,cosine")
    for schedule, group in table.groupby("schedule"):
        what = f"mnist_cnn on MNIST, adam 1e-3, {schedule}, 5 epochs: test %"
        show(what, group["final_test_accuracy"], "at least 98.8", 100)


def text(results: Path, name: str, held_to: str) -> None:
    """Kim 2014, CNN-rand; test accuracy at the evaluation with the lowest validation loss."""
    if not list(ROOT.glob(f"text/{name}/*")):
        print(f"{name}: no text/{name} at BENCH_DATA_ROOT")
        return
    table = runs(results, f"textcnn-{name}", f"experiment=textcnn_{name}")
    show(f"textcnn on {name}, adam: test % at best validation", table["test_accuracy_at_best_val"], held_to, 100)


def transformer(results: Path) -> None:
    """The project's own mark: 1.90 nats a character."""
    path = ROOT / "text" / "tinyshakespeare" / "input.txt"
    if not path.is_file():
        print("transformer: no text/tinyshakespeare at BENCH_DATA_ROOT")
        return
    table = runs(
        results, "transformer", "experiment=transformer_chars", f"data.path={path}", "data.name=tinyshakespeare",
        "train.steps=2000", "train.eval_every=250", "seeds=[0]",
    )  # fmt: skip
    show("transformer on tiny Shakespeare, 2000 steps: val nats", table["final_val_loss"], "at most 1.90")


CHECKS = {
    "quadratic": quadratic,
    "linear": linear,
    "logistic": logistic,
    "mnist_cnn": mnist_cnn,
    "trec": lambda results: text(results, "trec", "Kim 2014: 91.2"),
    "sst": lambda results: text(results, "sst", "Kim 2014: 82.7 (trained on phrases too)"),
    "transformer": transformer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*", metavar="check", help=", ".join(CHECKS))
    parser.add_argument("--results", type=Path, help="folder of the studies, to go on from; a throw-away one otherwise")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as throw_away:
        for name in arguments.checks or CHECKS:
            CHECKS[name](arguments.results or Path(throw_away))


if __name__ == "__main__":
    main()
