"""210 runs by two processes against the same one at a time: whole commands, alternating.

Six optimizers x seven learning rates x five seeds on digits, MLP, 20 epochs. Also checks that the curves are
the same to the bit.

    python benchmarks/side_by_side.py [--pairs 2] [--jobs 2]
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from bench import tables
from bench.analysis.inference import mean_interval

SWEEP = [
    "optimizer=adam,sgd,rmsprop,nadam,adamax,adadelta", "optimizer.lr=1e-4,1e-3,3e-3,1e-2,3e-2,1e-1,1", "seeds=[0,1,2,3,4]",
    "report=false", "study=s", "-m",
]  # fmt: skip


def sweep(launcher: list[str], folder: Path) -> tuple[float, pd.DataFrame]:
    """Seconds of one whole command, and its curves."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bench", *SWEEP, *launcher], cwd=folder, check=False, capture_output=True
    )
    seconds = time.perf_counter() - started
    runs, curves = tables.load(folder / "results" / "s")
    assert done.returncode in (0, 1), done.stderr  # 1: a run diverged
    assert len(runs) == 210, len(runs)
    keys = ["run_id", "split", "metric", "step"]
    return seconds, curves.sort_values(keys)[[*keys, "value"]].reset_index(drop=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    kinds = {"one at a time": [], "side by side": ["launcher=pool", f"launcher.n_jobs={options.jobs}"]}
    logs = []
    for pair in range(options.pairs):
        seconds, curves = {}, {}
        for kind in list(kinds)[:: 1 if pair % 2 == 0 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                seconds[kind], curves[kind] = sweep(kinds[kind], Path(folder))
        pd.testing.assert_frame_equal(*curves.values(), check_exact=True)
        alone, beside = seconds["one at a time"], seconds["side by side"]
        logs.append(math.log(beside / alone))
        print(
            f"one at a time {alone:.1f} s, {options.jobs} side by side {beside:.1f} s: {beside / alone:.3f}", flush=True
        )
    ratio, low, high = (math.exp(value) for value in mean_interval(logs))
    print(
        f"side by side / one at a time: {ratio:.3f} [{low:.3f}, {high:.3f}] over {options.pairs} pairs; curves equal to the bit"
    )


if __name__ == "__main__":
    main()
