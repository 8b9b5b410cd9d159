"""Where the time of a newcomer's first command goes: imports, training, tables, report.

Runs `python -m bench optimizer=adam,sgd -m` in fresh folders as whole processes, then once more with
the parts timed from inside.

    python benchmarks/first_command.py [--times 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time

import numpy as np

INSIDE = """
import sys, time
started = last = time.perf_counter()
def lap(name):
    global last
    now = time.perf_counter(); print(f"  {name:42s} {now - last:5.2f} s"); last = now
import hydra, hydra._internal.hydra, pydantic; lap("import hydra, pydantic")
import torch; lap("import torch")
torch.optim.SGD([torch.zeros(1, requires_grad=True)]); lap("first optimizer (torch._dynamo)")
import pandas, pyarrow.parquet; lap("import pandas, pyarrow")
import sklearn.datasets; lap("import scikit-learn")
import bench.report.render; lap("import seaborn, matplotlib, jinja2")
sys.argv = ["bench", "optimizer=adam,sgd", "report=false", "-m"]
from bench import app
app.main(); lap("compose, train 6 runs, write tables")
from bench import tables
from bench.analysis.study import StudyAnalysis
from bench.report.study.render import write_report
from pathlib import Path
study = Path("results/digits-mlp")
write_report(StudyAnalysis(tables.load(study), study), Path("reports/x")); lap("write the report")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    seconds = []
    for _ in range(times + 1):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "bench", "optimizer=adam,sgd", "-m"], cwd=folder, check=True, capture_output=True
            )
            seconds.append(time.perf_counter() - started)
    counted = seconds[1:]
    print(f"whole process, {times} times: median {np.median(counted):.1f} s ({min(counted):.1f} to {max(counted):.1f})")
    with tempfile.TemporaryDirectory() as folder:
        print(
            subprocess.run(
                [sys.executable, "-c", INSIDE], cwd=folder, check=True, capture_output=True, text=True
            ).stdout
        )


if __name__ == "__main__":
    main()
