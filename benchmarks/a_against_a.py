"""An optimizer against itself: how often a 95 % interval of `bench.step_cost` excludes 1, and how wide it is.

Every comparison is what `bench.step_cost` does for two optimizers, one of them a copy of the other: 5
processes, 5 builds in each, 10 interleaved rounds in each build. So that 200 of them end today, a
process takes part in 10 comparisons; no comparison uses a process twice.

    python benchmarks/a_against_a.py [--busy] [--comparisons 200] [--optimizer adam] [--device cuda] [--out rows.csv]

--busy keeps another core busy meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.analysis import inference, step_costs
from bench.base.paths import CONF_DIR
from bench.config.parse import parse_step_cost

PER_PROCESS = 10
BUSY = "while True:\n    sum(range(10000))"
COLUMNS = ("step_ratio", "train_step_ratio", "timing_quality", "cpu_share", "steps_per_block")


def worker() -> None:
    """Take part in some comparisons: rows of `step_costs` to a file, session_id the comparison."""
    import torch

    from bench.config.schema import StepCostConfig
    from bench.execution.workload import dataset
    from bench.measure.device import autocast, reset
    from bench.step_cost import worker as step_cost_worker

    spec = json.load(sys.stdin)
    config = StepCostConfig(**spec["config"])
    device = torch.device(config.device.name)
    reset(device, config.device.threads, config.device.precision, seed=0)
    data = dataset(config.data, device)
    rows = []
    for comparison in spec["comparisons"]:
        for build in range(config.builds):
            known = {
                "session_id": str(comparison), "workload_id": "", "environment_id": "", "device": device.type,
                "process": spec["process"] + 1000 * comparison, "build": build, "last_cache_mib": None,
            }  # fmt: skip
            made = step_cost_worker.build_and_time(config, data, device, autocast(device, "fp32"), known, set())
            rows += [row | {"process": spec["process"]} for row in made]
    Path(spec["out"]).write_text(json.dumps(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--comparisons", type=int, default=200)
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, help="a CSV file for the row that each kind of step gives")
    parser.add_argument("--worker", action="store_true")
    arguments = parser.parse_args()
    if arguments.worker:
        worker()
        return
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node = OmegaConf.to_container(compose("step_cost", [f"device={arguments.device}"]), resolve=True)
    assert isinstance(node, dict)
    node |= {"optimizers": [arguments.optimizer], "implementations": ["forloop"]}
    config = parse_step_cost(node)
    first = config.optimizers[0]
    twins = [first, first.model_copy(update={"name": f"{first.name}-copy"})]
    config = config.model_copy(update={"optimizers": twins, "baseline": first.name})
    busy = subprocess.Popen([sys.executable, "-c", BUSY]) if arguments.busy else None
    rows = []
    try:
        for batch in range(0, arguments.comparisons, PER_PROCESS):
            comparisons = list(range(batch, min(batch + PER_PROCESS, arguments.comparisons)))
            for process in range(config.replicates):
                with tempfile.NamedTemporaryFile("r") as out:
                    spec = {
                        "config": config.model_dump(),
                        "comparisons": comparisons,
                        "process": process,
                        "out": out.name,
                    }
                    subprocess.run(
                        [sys.executable, __file__, "--worker"], input=json.dumps(spec), text=True, check=True
                    )
                    rows += json.load(out)
    finally:
        if busy is not None:
            busy.kill()
    table = pd.DataFrame(rows)
    print(
        f"{arguments.comparisons} comparisons of {first.name} with itself, {'one other core busy' if busy else 'quiet'}"
    )
    qualities = table["timing_quality"].value_counts(normalize=True)
    print("timings: " + ", ".join(f"{100 * share:.1f} % {quality}" for quality, share in qualities.items()))
    summary = []
    for column in ("step_ratio", "train_step_ratio"):
        halves, excluded, compared = [], 0, 0
        for _, comparison in table[table["optimizer"] == twins[1].name].groupby("session_id"):
            used = comparison[comparison["timing_quality"] != "contended"]
            logs = np.log(used[column].astype(float)).groupby(used["process"]).mean()
            if len(logs) < step_costs.MIN_PROCESSES:
                continue
            _, low, high = inference.mean_interval(logs)
            compared += 1
            excluded += low > 0 or high < 0
            halves.append((math.exp(high) - math.exp(low)) / 2)
        summary.append(
            {
                "optimizer": first.name, "device": arguments.device, "ratio": column, "num_comparisons": compared,
                "num_excluding_1": excluded, "half_width_median": np.median(halves),
            }
        )  # fmt: skip
        print(
            f"{column}: {excluded} of {compared} intervals exclude 1; half-width median {100 * np.median(halves):.2f} %"
            f" (quartiles {100 * np.quantile(halves, 0.25):.2f} to {100 * np.quantile(halves, 0.75):.2f} %)"
        )
    if arguments.out:
        pd.DataFrame(summary).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
