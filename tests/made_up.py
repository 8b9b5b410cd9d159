"""Studies with made-up numbers in the true tables, for tests of what the report says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import tables

# optimizer: (best learning rate as a power of ten, default learning rate, loss at the best, ms a training step, MiB of state)
OPTIMIZERS = {
    "adam": (-2.0, 1e-3, 0.200, 0.30, 20.0),
    "nadam": (-2.0, 2e-3, 0.202, 0.40, 20.0),
    "rmsprop": (-2.5, 1e-2, 0.240, 0.25, 10.0),
    "sgd": (0.0, 1e-3, 0.260, 0.10, 0.0),
}
NUM_STEPS, EVERY = 200, 10
TUNING = "grid, 6 trials, lr over 3 decades, chosen by best_val_loss"


def row(optimizer: str, lr: float, seed: int, **changes: Any) -> dict[str, Any]:
    """A row of `runs` in which everything that the report reads is known."""
    workload = changes.get("workload_id", "w")
    cell = f"{optimizer}-{lr:.3g}-{workload}-{changes.get('stage', 'single')}"
    return {
        "run_id": f"{cell}-{seed}-e", "cell_id": cell, "environment_id": "e", "study": "s", "stage": "single", "status": "ok",
        "workload": f"mlp on {workload}, batch 64", "workload_id": workload, "budget": f"{NUM_STEPS} steps", "model": "mlp",
        "model_options": "{}", "data": "digits", "data_options": "{}", "data_fingerprint": "f", "loss": "cross_entropy",
        "optimizer": optimizer, "implementation": "forloop", "settings": "given", "schedule": "constant", "device": "cpu",
        "precision": "fp32", "lr": lr, "seed": seed, "batch_size": 64, "num_threads": 1, "num_parameters": 8970, "num_train": 1077,
        "num_val": 360, "num_test": 360, "num_steps_budget": NUM_STEPS, "num_steps": NUM_STEPS, "first_train_loss": 2.3, "step_cost_id": f"{optimizer}-cost",
        "peak_rss_mib": 500.0, "timing_quality": "clean", "launcher": "local", "cpu": "CPU", "num_cores": 2, "os": "Linux",
        "torch_version": "2.15.0", "python_version": "3.11.7", "command": f"python -m bench optimizer={optimizer}",
        **changes,
    }  # fmt: skip


def write(study: Path, optimizer: str, lr: float, seed: int, **changes: Any) -> dict[str, Any]:
    """One run whose loss falls to what its optimizer reaches at that learning rate; the same seed is as lucky for all."""
    best_lr, _, best, step_ms, _ = OPTIMIZERS[optimizer]
    apart = math.log10(lr) - best_lr
    final = best * (1 + 0.5 * apart**2) * math.exp(0.05 * np.random.RandomState(seed).randn())
    final *= math.exp(0.01 * np.random.RandomState([seed, len(optimizer), round(100 * apart) + 1000]).randn())
    made = row(optimizer, lr, seed, **changes)
    num_steps = made["num_steps"]
    points = []
    for step in range(0, num_steps + 1, EVERY):
        loss = final + (2.3 - final) * math.exp(-step / (12 + 6 * abs(apart)))
        for split, metric, value in (
            ("train", "loss", loss),
            ("val", "loss", loss),
            ("test", "accuracy", math.exp(-loss)),
        ):
            points.append((step, step / 17, split, metric, value, 1e-3 * step_ms * step))
    last = points[-2][4]
    if made["status"] == "ok":
        made = {
            "final_train_loss": last, "final_val_loss": last, "best_val_loss": last, "best_val_step": num_steps,
            "final_test_loss": last, "final_test_accuracy": math.exp(-last), "step_ms": step_ms,
            "train_s": 1e-3 * step_ms * num_steps, **made,
        }  # fmt: skip
    tables.write_run(study, made, points, {})
    return made


def tuned_study(
    study: Path, workloads: Sequence[str] = ("w",), num_trials: int = 6, seeds: Sequence[int] = tuple(range(1, 6))
) -> Path:
    """What a tuned sweep writes: trials, the best one of each on fresh seeds, and each at its default on the same."""
    for workload in workloads:
        for optimizer, (best_lr, default, *_) in OPTIMIZERS.items():
            common = {"workload_id": workload}
            rates = [10 ** (best_lr - 1.5 + 3 * i / (num_trials - 1)) for i in range(num_trials)]
            search = {"tuning": TUNING, "search": json.dumps({"lr": [rates[0], rates[-1]]})}
            tried = []
            for trial, lr in enumerate(rates):
                lost = (
                    {"status": "diverged", "reason": "loss not finite", "num_steps": 30}
                    if trial == num_trials - 1
                    else {}
                )
                if trial == 0 and optimizer == "rmsprop":
                    lost = {"status": "pruned", "reason": "worse than the median", "num_steps": 50}
                tried.append(write(study, optimizer, lr, 0, stage="tune", trial=trial, **search, **lost, **common))
            winner = min((t for t in tried if t["status"] == "ok"), key=lambda t: t["best_val_loss"])
            edge = {"edge": "lr high"} if optimizer == "sgd" else {}
            for seed in seeds:
                final = {"stage": "final", "trial": winner["trial"], **search, **edge, **common}
                write(study, optimizer, winner["lr"], seed, **final)
                write(study, optimizer, default, seed, settings="default", **common)
    return study


def side_tables(study: Path) -> None:
    """Memory of every cell, and step costs of every optimizer."""
    runs = tables.load(study).runs
    for cell, group in runs.groupby("cell_id"):
        first = group.iloc[0]
        state = OPTIMIZERS[first["optimizer"]][4]
        parts = {f"{part}_mib": 0.0 for part in ("activations", "temporaries", "buffers", "inputs")}
        parts |= {"parameters_mib": 10.0, "gradients_mib": 10.0, "optimizer_state_mib": state}
        tables.write_side(study, "memory", str(cell), [{
            "cell_id": cell, "environment_id": "e", "stage": "single", "optimizer": first["optimizer"], "peak_mib": 20.0 + state,
            "peak_phase": "step", "step_temporaries_mib": 0.0, "state_bytes_per_parameter": state / 2.5, **parts,
        }])  # fmt: skip
    for process in range(5):
        tables.write_side(study, "step_costs", f"t-{process}", [
            {
                "session_id": "t", "status": "ok", "started_at": "2026-01-01", "study": "s", "workload": "mlp on w, batch 64",
                "workload_id": "w", "environment_id": "e", "model": "mlp", "data": "digits", "optimizer": optimizer,
                "optimizer_target": "t", "optimizer_options": "{}", "implementation": "forloop", "device": "cpu",
                "precision": "fp32", "step_cost_id": f"{optimizer}-cost", "baseline": "sgd/forloop", "process": process, "build": 0,
                "num_threads": 1, "num_parameters": 8970, "step_us": 1e3 * ms * (1 + process / 100), "step_ratio": 10 * ms + process / 1000,
                "train_step_us": 1e3 * ms * (1 + process / 100), "train_step_ratio": 10 * ms, "data_us": 1.0, "zero_grad_us": 1.0,
                "forward_us": 1.0, "backward_us": 1.0, "optimizer_us": 1.0, "state_mib": 0.0, "first_step_ms": 1.0,
                "timing_quality": "clean", "torch_version": "2.15.0", "cpu": "CPU", "command": "python -m bench.step_cost",
            }
            for optimizer, (_, _, _, ms, _) in OPTIMIZERS.items()
        ])  # fmt: skip
