"""Booked bytes against a witness that knows nothing of the tracker, and predicted against booked.

The witness on the CPU is the allocator, through the `[memory]` events of `torch.profiler`: from before
the model is built, so that their running sum is all that lives. On CUDA it is the caching allocator's
own peak. It sees what a kernel allocates and frees inside one operator, which the tracker cannot.
Where the two differ by more than 2 % the operator in which the witness saw its peak is named.

    python benchmarks/memory_truth.py [--device cpu] [--batch 64] [--models mlp,mnist_cnn] [--torchvision resnet18] [--out rows.csv]
"""

from __future__ import annotations

import argparse
import gc
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch.profiler import ProfilerActivity, profile, record_function

from bench.build.targets import build_data
from bench.config.parse import parse
from bench.config.schema import Config
from bench.data.dataset import Dataset
from bench.execution.memory_pass import Steps, profile_memory
from bench.measure.device import Unavailable
from bench.measure.memory_tracker import CUDA_BLOCK, MIB, PHASES

CONF = Path(__file__).resolve().parent.parent / "conf"
OPTIMIZERS = ("sgd", "adam", "rmsprop", "nadam", "adamax", "adadelta")
IMPLEMENTATIONS = ("forloop", "foreach", "fused", "reference")


class Marks:
    """Stands where a tracker stands, and leaves the phases in the profile."""

    @contextmanager
    def phase(self, name: str) -> Any:
        with record_function(f"phase {name}"):
            yield

    def assign(self, category: str, tensors: Any) -> None:
        pass


def cell(model: dict[str, Any] | str, optimizer: str, implementation: str, data: dict[str, Any], batch: int) -> Config:
    """A cell with everything else as shipped."""
    node = yaml.safe_load((CONF / "config.yaml").read_text())
    del node["defaults"], node["hydra"]
    node["model"] = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text()) if isinstance(model, str) else model
    node["optimizer"] = yaml.safe_load((CONF / "optimizer" / f"{optimizer}.yaml").read_text())
    node["optimizer"]["implementation"] = implementation
    for group, option in (("schedule", "constant"), ("augment", "none"), ("device", "cpu")):
        node[group] = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    node["train"]["batch_size"] = batch
    return parse(node | {"data": data})


def witnessed(config: Config, data: Dataset) -> tuple[dict[str, float], dict[str, str]]:
    """What the CPU's allocator saw of the steps that `profile_memory` makes.

    Returns:
        Peak of each phase in MiB, and the operator that ran at that moment.
    """
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        steps = Steps(config, data, torch.device("cpu"))
        for _ in range(steps.num_steps):
            steps.make(Marks())
    events = profiler.profiler.kineto_results.events()
    memory = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    times = np.array([at for at, _ in memory])
    live = np.cumsum([num_bytes for _, num_bytes in memory])
    ops = [(e.start_ns(), e.end_ns(), e.name()) for e in events if e.name().startswith("aten::")]
    peaks, where = dict.fromkeys(PHASES, 0.0), dict.fromkeys(PHASES, "between operators")
    for event in events:
        if not event.name().startswith("phase "):
            continue
        name = event.name().removeprefix("phase ")
        first, last = np.searchsorted(times, [event.start_ns(), event.end_ns()])
        top = first - 1 + int(np.argmax(live[first - 1 : last]))  # from what lived when the phase began
        if live[top] > peaks[name] * MIB:
            peaks[name] = float(live[top]) / MIB
            where[name] = max((op for op in ops if op[0] <= times[top] <= op[1]), default=(0, 0, where[name]))[2]
    return peaks, where


def on_gpu(row: dict[str, Any]) -> tuple[float, str]:
    """The caching allocator's peak in MiB; what a step leaves unaccounted for is workspace."""
    return row["allocated_mib"], f"workspaces, to {CUDA_BLOCK} B"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--models", default="logistic,mlp,mnist_cnn")
    parser.add_argument("--torchvision", default="resnet18,mobilenet_v3_small", help="names, at 32x32; '' for none")
    parser.add_argument("--optimizers", default=",".join(OPTIMIZERS))
    parser.add_argument("--out", type=Path, help="a CSV file for the rows")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    grey = {"_target_": "bench.data.digits.load", "name": "digits", "resize": 28}
    colour = grey | {"resize": 32, "channels": 3}
    chars = {"_target_": "bench.data.chars.load", "name": "chars", "max_chars": 200_000}
    of_model = {"transformer": chars}
    cells = [(name, name, of_model.get(name, grey)) for name in arguments.models.split(",") if name] + [
        (name, {"_target_": "models.torchvision.build", "name": name, "architecture": name}, colour)
        for name in arguments.torchvision.split(",")
        if name
    ]
    print(f"torch {torch.__version__}, {device.type}, batch {arguments.batch}; MiB, then percent off")
    head = ("model", "optimizer", "implementation", "witness", "tracked", "off", "off in step", "predicted off")
    print("{:20}{:10}{:15}{:>10}{:>10}{:>9}{:>12}{:>14}  where the witness saw more".format(*head))
    rows = []
    worst = {"tracked": (0.0, ""), "step": (0.0, ""), "predicted": (0.0, "")}
    for label, model, data_node in cells:
        for optimizer in arguments.optimizers.split(","):
            for implementation in IMPLEMENTATIONS:
                config = cell(model, optimizer, implementation, data_node, arguments.batch)
                data = build_data(config.data).to(device)
                try:
                    tracked = profile_memory(config, data, device, fake=False)
                except Unavailable:
                    continue
                predicted = profile_memory(config, data, device, fake=True)
                step_off = 0.0
                if device.type == "cuda":
                    peak, reason = on_gpu(tracked)
                else:
                    peaks, where = witnessed(config, data)
                    phase = max(peaks, key=lambda name: peaks[name])
                    peak, reason = peaks[phase], f"{phase}: {where[phase]}"
                    step_off = 100 * (tracked["step_peak_mib"] / peaks["step"] - 1)
                off = 100 * (tracked["peak_mib"] / peak - 1)
                predicted_off = 100 * (predicted["peak_mib"] / tracked["peak_mib"] - 1)
                print(
                    f"{label:20}{optimizer:10}{implementation:15}{peak:10.3f}{tracked['peak_mib']:10.3f}"
                    f"{off:+9.3f}{step_off:+12.3f}{predicted_off:+14.4f}  {reason if abs(off) > 2 else ''}",
                    flush=True,
                )
                rows.append(
                    {
                        "model": label, "optimizer": optimizer, "implementation": implementation,
                        "device": device.type, "batch_size": arguments.batch, "witness_mib": peak,
                        "tracked_mib": tracked["peak_mib"], "predicted_mib": predicted["peak_mib"],
                    }
                )  # fmt: skip
                if arguments.out:  # each time: it may be ended before it is through
                    pd.DataFrame(rows).to_csv(arguments.out, index=False, float_format="%.6f")
                name = f"{label} {optimizer} {implementation}"
                for kind, value in (("tracked", off), ("step", step_off), ("predicted", predicted_off)):
                    worst[kind] = max(worst[kind], (abs(value), name))
    for kind, (value, name) in worst.items():
        print(f"largest, {kind}: {value:.3f} % ({name})")


if __name__ == "__main__":
    main()
