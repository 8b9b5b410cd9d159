"""A report over many runs, 100 curve rows each: the whole process, and its peak memory.

python benchmarks/report_size.py [--runs 1000]; with ten times as many runs it should take ten times as long, not more
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import tables

OPTIMIZERS = ("adam", "sgd", "rmsprop", "nadam", "adamax", "adadelta")


def made_up_run(
    optimizer: str, number: int, rate: int, seed: int, random: np.random.RandomState
) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Return the row and 100 points of curves, which fall with noise, of a run that was never made.

    Args:
        optimizer: Its name.
        number: Of the optimizer: those of higher numbers learn faster.
        rate: Learning rate 10 ** (rate - 4); the third learns fastest.
        seed: Of the run.
        random: Of the noise.
    """
    cell = f"{optimizer}{rate}"
    speed = 0.02 * (1 + 0.1 * number) * np.exp(-abs(rate - 2))
    points = []
    for step in range(0, 500, 20):
        loss = 2.3 * np.exp(-speed * step / 10) + 0.02 * random.rand()
        seconds = 0.0005 * step
        for split, metric, value in (
            ("train", "loss", loss), ("val", "loss", loss + 0.1), ("val", "accuracy", np.exp(-loss)), ("test", "accuracy", np.exp(-loss)),
        ):  # fmt: skip
            points.append((step, step / 17, split, metric, float(value), seconds))
    row = {
        "run_id": f"{cell}-{seed}-e", "cell_id": cell, "environment_id": "e", "study": "large", "stage": "single", "status": "ok",
        "workload": "mlp on digits, batch 64", "workload_id": "w", "budget": "500 steps", "model": "mlp", "model_options": "{}",
        "data": "digits", "data_options": "{}", "data_fingerprint": "f", "loss": "cross_entropy", "optimizer": optimizer,
        "implementation": "forloop", "settings": "given", "schedule": "constant", "device": "cpu", "precision": "fp32", "lr": 10.0 ** (rate - 4),
        "seed": seed, "batch_size": 64, "num_threads": 1, "num_parameters": 8970, "num_train": 1077, "num_val": 360, "num_test": 360,
        "num_steps_budget": 500, "num_steps": 500, "first_train_loss": 2.3, "final_train_loss": points[-4][4], "final_val_loss": points[-3][4],
        "final_test_accuracy": points[-1][4], "step_ms": 0.5 + 0.01 * random.rand(), "train_s": 0.25, "peak_rss_mib": 500.0,
        "cpu": "CPU", "num_cores": 2, "os": "Linux", "torch_version": "2", "python_version": "3", "command": "python -m bench",
    }  # fmt: skip
    return row, points


def make_study(study: Path, num_runs: int) -> None:
    """Write a study of made-up runs in the real schema."""
    random = np.random.RandomState(0)
    for number in range(num_runs):
        rest = number // 6
        tables.write_run(study, *made_up_run(OPTIMIZERS[number % 6], number % 6, rest % 6, rest // 6, random), {})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    num_runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "results" / "large"
        make_study(study, num_runs)
        for what in ("from run folders", "from run folders", "from tables"):
            if what == "from tables":
                tables.build(study)
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "bench.report", str(study), "--out", f"{folder}/report"],
                check=True,
                capture_output=True,
            )
            seconds = time.perf_counter() - started
            size = (Path(folder) / "report" / "index.html").stat().st_size / 2**20
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            print(
                f"{num_runs} runs, {100 * num_runs} curve rows, {what}: {seconds:.1f} s, page {size:.1f} MiB, peak so far {peak:.0f} MiB"
            )


if __name__ == "__main__":
    main()
