"""Measure or predict the row of the table `memory` of a configuration."""

from __future__ import annotations

import json

import torch

from bench.config.schema import Config
from bench.execution.row import Row
from bench.execution.workload import dataset, init_from, learnable, workload_id
from bench.measure.device import resolve


def memory_of(config: Config, row: Row) -> Row:
    """Return the row of `memory` of a cell: measured on its device, or predicted for device=fake.

    Args:
        config: The cell.
        row: What `planned_row` gave for one of its seeds.

    Raises:
        UserError: Model, data and optimizer cannot be built or do not fit together.
        Unavailable: The machine or torch lacks what was asked for.
    """
    from bench.execution.memory_pass import profile_memory

    fake = config.device.name == "fake"
    device = torch.device("cpu") if fake else resolve(config.device.name)
    data = dataset(config.data, device) if fake else learnable(config, device)
    parts = profile_memory(config, data, device, fake)
    known = {key: row[key] for key in ("cell_id", "environment_id", "study", "workload", "model", "data", "optimizer")}
    return known | {
        "stage": row["stage"],
        "workload_id": workload_id(
            config.model, config.data, data, config.train.batch_size, config.loss, init_from(config)
        ),
        "optimizer_target": config.optimizer.target,
        "optimizer_options": json.dumps(config.optimizer.options, sort_keys=True),
        "device": row["device"],
        "precision": config.device.precision,
        "batch_size": config.train.batch_size,
        **parts,
    }
