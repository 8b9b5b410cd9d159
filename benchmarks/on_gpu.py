"""Everything that only a GPU can show, in one command of under ten minutes; tables and a page come out.

    python benchmarks/on_gpu.py [--out results/gpu] [--device cuda] [--parts tests,steps,memory,loop,a_against_a]
    python benchmarks/on_gpu.py --page-only        make the page anew from the tables

- `tests`: the tests of `tests/test_cuda.py`.
- `steps`: `python -m bench.step_cost` of six optimizers in every implementation on four networks, the largest a
  transformer of 124 million parameters; each with its share of the limit that memory sets.
- `memory`: the bytes that the bench books against the peak of CUDA's caching allocator, and predicted against booked.
- `loop`: the bench's training loop against a hand-written one.
- `a_against_a`: how often an interval of `bench.step_cost` tells Adam from itself.

A part that fails or runs out of its time is named on the page, and the others are made.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parent.parent
SIX = "[adam,sgd,rmsprop,nadam,adamax,adadelta]"
GPT = ["model=transformer", "model.layers=12", "model.width=928", "model.heads=16", "data=chars", "data.context=256"]
COLOUR = ["model=torchvision", "model.architecture=resnet18", "data.resize=32", "data.channels=3"]
WORKLOADS = {
    "mlp": ["model=mlp"],
    "mnist_cnn": ["model=mnist_cnn", "data.resize=28"],
    "resnet18": COLOUR,
    "transformer-124M": [*GPT, "train.batch_size=8"],
}
"""What step costs are measured on."""


LIMITS_S = {"tests": 240, "steps": 150, "memory": 120, "loop": 120, "a_against_a": 150}
"""Seconds after which a part is ended; `steps` for each network."""


def run(command: list[str], folder: Path, limit_s: float) -> None:
    """Carry out a command; what it prints is shown.

    Raises:
        RuntimeError: It failed, or took too long.
    """
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    started = time.perf_counter()
    try:
        done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"ended after {limit_s:.0f} s") from None
    print(f"{time.perf_counter() - started:6.1f} s  {' '.join(command)}", flush=True)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}")


def tests(out: Path, device: str) -> None:
    """Run the tests that need a GPU; write how each ended."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        plain = ["-n", "0", "-p", "no:cacheprovider", "-p", "no:xdist", "-o", "addopts=-q --import-mode=importlib"]
        try:
            run(
                ["-m", "pytest", *plain[2:], "--durations=6", f"--junitxml={report}", str(ROOT / "tests/test_cuda.py")],
                ROOT, LIMITS_S["tests"],
            )  # fmt: skip
        finally:
            cases = ElementTree.parse(report).iter("testcase") if report.exists() else ()
            rows = [
                {
                    "test": case.get("name"),
                    "outcome": next((kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None), "ok"),
                    "seconds": float(case.get("time", "nan")),
                }
                for case in cases
            ]  # fmt: skip
            pd.DataFrame(rows, columns=["test", "outcome", "seconds"]).to_csv(out / "tests.csv", index=False)


def steps(out: Path, device: str) -> None:
    """Measure the steps of all optimizers and implementations on every network."""
    from bench import tables

    made, failures = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, workload in WORKLOADS.items():
            command = [
                "-m", "bench.step_cost", *workload, f"optimizers={SIX}", f"device={device}", f"study={name}", "builds=1",
                "rounds=5", "report=false",
            ]  # fmt: skip
            try:
                run(command, Path(folder), LIMITS_S["steps"])
            except RuntimeError as error:
                failures.append(f"{name}: {error}")
            if (Path(folder) / "results" / name / "step_costs").is_dir():
                made.append(tables.load_side(Path(folder) / "results" / name, "step_costs").assign(network=name))
                costs = pd.concat(made, ignore_index=True).drop(columns=["command"])
                costs.to_csv(out / "step_costs.csv", index=False, float_format="%.6g")
    if failures:
        raise RuntimeError("; ".join(failures))


def memory(out: Path, device: str) -> None:
    """Compare booked bytes with the allocator's, and predicted ones with booked ones."""
    command = ["--device", device, "--models", "mlp,mnist_cnn,transformer", "--torchvision", "resnet18"]
    run([str(ROOT / "benchmarks/memory_truth.py"), *command, "--out", str(out / "memory.csv")], out, LIMITS_S["memory"])


def loop(out: Path, device: str) -> None:
    """Compare the training loop with a hand-written one."""
    command = ["--device", device, "--pairs", "24", "--resnet18", "--out", str(out / "loop.csv")]
    run([str(ROOT / "benchmarks/loop_overhead.py"), *command], out, LIMITS_S["loop"])


def a_against_a(out: Path, device: str) -> None:
    """Compare Adam with itself."""
    command = ["--device", device, "--comparisons", "20", "--out", str(out / "a_against_a.csv")]
    run([str(ROOT / "benchmarks/a_against_a.py"), *command], out, LIMITS_S["a_against_a"])


PARTS = {"tests": tests, "steps": steps, "memory": memory, "loop": loop, "a_against_a": a_against_a}


def machine(device: str) -> pd.DataFrame:
    """Return what this machine is, a row."""
    from bench.measure.environment import environment

    kept = ("gpu", "torch_version", "python_version", "os", "cpu", "num_cores", "bench_version")
    row = {key: environment(device)[key] for key in kept}
    return pd.DataFrame([row | {"cuda": torch.version.cuda, "date": time.strftime("%Y-%m-%d", time.gmtime())}])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu")
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--page-only", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    if not arguments.page_only:
        machine(arguments.device).to_csv(out / "machine.csv", index=False)
        rows = []
        for name in arguments.parts.split(","):
            print(f"== {name}", flush=True)
            started = time.perf_counter()
            try:
                PARTS[name](out, arguments.device)
                failure = ""
            except RuntimeError as error:
                failure = str(error)
            rows.append({"part": name, "seconds": round(time.perf_counter() - started, 1), "failure": failure})
            pd.DataFrame(rows).to_csv(out / "parts.csv", index=False)
        print(pd.DataFrame(rows).to_string(index=False), flush=True)
    from gpu_page import write_page

    write_page(out)
    print(f"page: {out / 'index.html'}")


if __name__ == "__main__":
    main()
