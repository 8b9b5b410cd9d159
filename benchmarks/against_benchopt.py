"""The whole process against benchopt 1.10: the same work, evaluated and written, from command to exit status.

digits, MLP 64-64-10, batch 64, six optimizers at their default learning rates, 10 epochs, one thread.
Both sides evaluate before training and after every epoch: loss and accuracy on the 360 validation and
the 360 test examples. Both write their tables; neither draws, caches or measures memory. benchopt runs
a solver in its natural form: `run(callback)` calls back once an epoch, and `get_result` hands over the
model. Commands alternate A B B A; the interval is Student's t over the log-ratios of such blocks.

    python benchmarks/against_benchopt.py [--blocks 5] [--seeds 2 10] [--benchopt-python PATH]

benchopt gets a virtual environment of its own in a temporary folder, where it is installed by pip; torch
and what else this environment holds is lent to it by a .pth file, so both sides run the same torch.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from bench import tables
from bench.base.paths import CONF_DIR
from bench.config.schema import OPTIMIZERS

EPOCHS, BATCH_SIZE = 10, 64
VERSION = "1.10.*"
CLASSES = {
    "adam": "Adam", "sgd": "SGD", "rmsprop": "RMSprop", "nadam": "NAdam", "adamax": "Adamax", "adadelta": "Adadelta",
}  # fmt: skip

OBJECTIVE = """
import torch
from benchopt import BaseObjective
from torch import nn
from torch.nn import functional as F


class Objective(BaseObjective):
    name = "Loss and accuracy"
    min_benchopt_version = "1.10"

    def set_data(self, train, val, test):
        self.train, self.val, self.test = train, val, test

    def get_objective(self):
        return {"inputs": self.train[0], "targets": self.train[1]}

    @torch.no_grad()
    def evaluate_result(self, model):
        model.eval()
        values = {}
        for split, (inputs, targets) in (("val", self.val), ("test", self.test)):
            outputs = model(inputs)
            values[f"{split}_loss"] = F.cross_entropy(outputs, targets).item()
            values[f"{split}_accuracy"] = (outputs.argmax(1) == targets).float().mean().item()
        model.train()
        return {"value": values["val_loss"], **values}

    def get_one_result(self):
        return {"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))}
"""

DATASET = """
import numpy as np
import torch
from benchopt import BaseDataset
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Dataset(BaseDataset):
    name = "digits"

    def get_data(self):
        digits = load_digits()
        images, targets = digits.images.astype(np.float32) / 16, digits.target.astype(np.int64)
        rest, test = train_test_split(np.arange(len(targets)), test_size=360, stratify=targets, random_state=0)
        train, val = train_test_split(rest, test_size=360, stratify=targets[rest], random_state=0)
        return {
            name: (torch.from_numpy(images[part]).unsqueeze(1), torch.from_numpy(targets[part]))
            for name, part in (("train", train), ("val", val), ("test", test))
        }
"""

SOLVER = """
import torch
from benchopt import BaseSolver
from benchopt.stopping_criterion import NoCriterion
from torch import nn
from torch.nn import functional as F


class Solver(BaseSolver):
    name = "torch"
    sampling_strategy = "callback"
    stopping_criterion = NoCriterion(strategy="callback")
    parameters = {{"optimizer, lr": {optimizers}}}

    def set_objective(self, inputs, targets):
        self.inputs, self.targets = inputs, targets
        torch.set_num_threads(1)
        torch.manual_seed(self.get_seed(use_repetition=True))
        self.model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
        )
        self.rule = getattr(torch.optim, self.optimizer)(self.model.parameters(), lr=self.lr)

    def get_next(self, stop_val):
        return stop_val + 1

    def run(self, callback):
        while callback():
            for batch in torch.randperm(len(self.targets)).split({batch_size}):
                loss = F.cross_entropy(self.model(self.inputs[batch]), self.targets[batch])
                self.rule.zero_grad()
                loss.backward()
                self.rule.step()

    def get_result(self):
        return {{"model": self.model}}
"""


def learning_rates() -> dict[str, float]:
    """The learning rate of each optimizer's config."""
    return {name: float(yaml.safe_load((CONF_DIR / f"optimizer/{name}.yaml").read_text())["lr"]) for name in OPTIMIZERS}


def write_benchmark(folder: Path) -> None:
    """The same work as a benchopt benchmark."""
    solvers = [(CLASSES[name], lr) for name, lr in learning_rates().items()]
    files = {
        "objective.py": OBJECTIVE,
        "datasets/digits.py": DATASET,
        "solvers/torch.py": SOLVER.format(optimizers=solvers, batch_size=BATCH_SIZE),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text).lstrip())


def make_environment(folder: Path) -> Path:
    """An environment with benchopt, and with the packages of this one; its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    lent = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(site) / "lent.pth").write_text("\n".join(sorted(lent)))
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--quiet", f"benchopt=={VERSION}"], check=True)
    return python


class Taken(NamedTuple):
    """What a whole process took: seconds on the wall, and of CPU, which neighbours disturb less."""

    wall: float
    cpu: float


def run(command: list[str], folder: Path) -> Taken:
    """Carry out a command that must end well, in a folder."""
    env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def ours(num_seeds: int, folder: Path) -> tuple[Taken, pd.DataFrame]:
    """What our process took, and the final losses: optimizer, val_loss."""
    command = [
        sys.executable, "-m", "bench", f"optimizer={','.join(OPTIMIZERS)}", f"seeds={list(range(num_seeds))}",
        "data=digits", "model=mlp", "model.hidden=[64,64]", f"train.epochs={EPOCHS}", f"train.batch_size={BATCH_SIZE}",
        "device.threads=1", "memory=false", "report=false", "study=s", "-m",
    ]  # fmt: skip
    taken = run([argument.replace(" ", "") for argument in command], folder)
    runs = tables.load(folder / "results" / "s").runs
    if len(runs) != len(OPTIMIZERS) * num_seeds or set(runs["status"]) != {"ok"}:
        sys.exit(f"our side must make {len(OPTIMIZERS) * num_seeds} runs that end ok, got {runs['status'].tolist()}")
    finals = runs[["optimizer", "final_val_loss"]].set_axis(["optimizer", "val_loss"], axis=1)
    return taken, finals


def benchopts(python: Path, benchmark: Path, num_seeds: int, folder: Path) -> tuple[Taken, pd.DataFrame]:
    """What benchopt's process took, and the final losses."""
    out = folder / "result.parquet"
    command = [
        str(python), "-m", "benchopt", "run", str(benchmark), "--max-runs", str(EPOCHS), "--n-repetitions",
        str(num_seeds), "--no-cache", "--no-plot", "--seed", "0", "--output", str(out),
    ]  # fmt: skip
    taken = run(command, folder)
    rows = pd.read_parquet(out)
    last = rows[rows["stop_val"] == EPOCHS]
    if len(rows) != len(OPTIMIZERS) * num_seeds * (EPOCHS + 1) or len(last) != len(OPTIMIZERS) * num_seeds:
        sys.exit(f"benchopt must give {EPOCHS + 1} points for each run, got {len(rows)} rows, {len(last)} of them last")
    names = last["p_solver_optimizer"].map({value: key for key, value in CLASSES.items()})
    return taken, pd.DataFrame({"optimizer": names, "val_loss": last["objective_val_loss"]})


def show_losses(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    """Final validation losses side by side; the same work must come to about the same."""
    sides = {"ours": mine, "benchopt": theirs}
    columns = {
        f"{side} {what}": frame.groupby("optimizer")["val_loss"].agg(what)
        for side, frame in sides.items()
        for what in ("mean", "std")
    }
    print(pd.DataFrame(columns).loc[list(OPTIMIZERS)].to_string(float_format="{:.4f}".format))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5, help="blocks of A B B A")
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 10], help="seeds of a process; six cells each")
    parser.add_argument("--benchopt-python", type=Path, help="an interpreter that has benchopt and torch")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        python = arguments.benchopt_python or make_environment(root / "environment")
        benchmark = root / "benchmark"
        write_benchmark(benchmark)
        for num_seeds in arguments.seeds:
            compare(num_seeds, arguments.blocks, python, benchmark, root)


def compare(num_seeds: int, num_blocks: int, python: Path, benchmark: Path, root: Path) -> None:
    """Run both sides in turn and print the ratio of their times."""
    sides: dict[str, Callable[[Path], tuple[Taken, pd.DataFrame]]] = {
        "A": lambda folder: ours(num_seeds, folder),
        "B": lambda folder: benchopts(python, benchmark, num_seeds, folder),
    }

    def timed(side: str) -> tuple[Taken, pd.DataFrame]:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            return sides[side](Path(folder))

    print(f"{num_seeds * len(OPTIMIZERS)} cells:")
    show_losses(timed("A")[1], timed("B")[1])  # the first of each also fills the caches of files and byte code
    blocks = []
    for _ in range(num_blocks):
        takes = [(side, timed(side)[0]) for side in "ABBA"]
        blocks.append({side: [taken for of, taken in takes if of == side] for side in "AB"})
    for clock in Taken._fields:
        logs = [{side: np.log([getattr(t, clock) for t in block[side]]).mean() for side in "AB"} for block in blocks]
        ratios = np.array([log["A"] - log["B"] for log in logs])
        spread = ""
        if num_blocks > 1:
            half = stats.t.ppf(0.975, num_blocks - 1) * ratios.std(ddof=1) / math.sqrt(num_blocks)
            spread = f", 95 % interval {math.exp(ratios.mean() - half):.3f} to {math.exp(ratios.mean() + half):.3f}"
        here = [np.median([getattr(t, clock) for block in blocks for t in block[side]]) for side in "AB"]
        print(
            f"{clock} time of our whole process over benchopt's: {math.exp(ratios.mean()):.3f}{spread}, {num_blocks}"
            f" blocks of A B B A; medians on this machine {here[0]:.2f} s and {here[1]:.2f} s"
        )
    print()


if __name__ == "__main__":
    main()
