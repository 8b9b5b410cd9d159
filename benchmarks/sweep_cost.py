"""What a job and a run of a sweep cost beyond training and evaluation, and whether that creeps.

Sweeps of real processes: digits, one epoch, 200 runs; once as 200 jobs of one seed, once as 2 jobs of
100 seeds. The time between the ends of neighbouring runs, less the run's own training and evaluation,
is the cost; peak memory is each run's column.

    python benchmarks/sweep_cost.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench import tables


def sweep(name: str, arguments: list[str]) -> float:
    """Run one sweep in a fresh folder and print what its rows say; return the seconds of the whole process."""
    whole = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "bench", *arguments, "train.epochs=1", "report=false", "study=s", "-m"],
            cwd=folder,
            check=True,
            capture_output=True,
        )
        whole = time.perf_counter() - whole
        runs = tables.load(Path(folder) / "results" / "s").runs
    started = pd.to_datetime(runs["started_at"])
    runs = runs.assign(_started=started).sort_values("_started").reset_index(drop=True)
    between = runs["_started"].diff().shift(-1).dt.total_seconds()
    cost = 1e3 * (between - runs["train_s"] - runs["eval_s"])[1:-1]  # the first run of a process imports
    thirds = np.array_split(cost.to_numpy(float), 3)
    memory = runs["peak_rss_mib"]
    whole -= float(runs["train_s"].sum() + runs["eval_s"].sum())
    print(
        f"{name}: {len(runs)} runs; a run costs {cost.median():.1f} ms beyond training and evaluation"
        f" (quartiles {cost.quantile(0.25):.1f} to {cost.quantile(0.75):.1f}, largest {cost.max():.0f});"
        f" first third {np.median(thirds[0]):.1f}, last third {np.median(thirds[2]):.1f};"
        f" memory after 20 runs {memory.iloc[20]:.0f} MiB, at the end {memory.iloc[-1]:.0f} MiB"
    )
    return whole


def main() -> None:
    rates = ",".join(f"{0.001 * 1.02**i:.6f}" for i in range(100))
    many = sweep("200 jobs of one seed", ["optimizer=adam,sgd", f"optimizer.lr={rates}", "seeds=[0]"])
    seeds = ",".join(map(str, range(100)))
    few = sweep("2 jobs of 100 seeds", ["optimizer=adam,sgd", f"seeds=[{seeds}]"])
    print(f"a job costs {1e3 * (many - few) / 198:.1f} ms beyond its runs (composing and checking its configuration)")


if __name__ == "__main__":
    main()
