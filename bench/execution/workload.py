"""What is trained on: data, words and identity of a workload."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import torch

from bench.base.errors import UserError
from bench.base.hashing import short_hash, source_fingerprint, weights_hash
from bench.base.text import duration
from bench.build.targets import build_data, locate_target
from bench.config.identity import hashed_target, learnt_from, without_later
from bench.config.losses import CHOSEN_LOSSES, is_own
from bench.config.schema import Component, Config, DataConfig, StepCostConfig
from bench.data.dataset import Dataset
from bench.training.final_metrics import final_metrics
from bench.training.losses import loss_name
from bench.training.stop_metrics import StopMetric

MAX_STEPS = 10**9
"""Steps of a run above which its budget is taken for a mistake."""


def dataset(config: DataConfig, device: torch.device) -> Dataset:
    """Return the data on a device, with as many training examples as are to be used; what was last loaded is kept whole.

    Raises:
        UserError: It cannot be loaded, or has fewer training examples than are to be used.
    """
    data = _dataset(config.model_dump_json(include=set(Component.model_fields)), device)
    return data if config.num_train is None else data.limited(config.num_train)


def learnable(config: Config, device: torch.device) -> Dataset:
    """Return the data of a cell that is to be trained.

    Raises:
        UserError: It cannot be loaded, has shapes only, has fewer examples than a batch, or does not go
            with an option.
    """
    data = dataset(config.data, device)
    if data.shapes_only:
        raise UserError(
            f"data={config.data.name} has shapes but nothing to learn from, got device={config.device.name};"
            " use device=fake, or python -m bench.step_cost"
        )
    check_batch_size(config, data)
    _check_budget(config, data)
    loss = CHOSEN_LOSSES.get(config.loss)
    if loss is not None and not loss.is_mean and config.train.accumulate > 1:
        raise UserError(
            f"train.accumulate must be 1 with loss={loss.name}, got {config.train.accumulate}: that loss of a batch is no"
            " mean of those of its parts; leave it out"
        )
    if config.augment.name != "none" and data.spec.task != "classification":
        raise UserError(
            f"augment must be none where targets are values, got {config.augment.name} for data={config.data.name}:"
            " it changes inputs only; set augment=none"
        )
    for name in filter(is_own, config.metrics):
        kind = locate_target("metrics", name)
        if not (isinstance(kind, type) and issubclass(kind, StopMetric)):
            raise UserError(
                f"metrics must hold names, or classes derived from bench.training.stop_metrics.StopMetric, got {name};"
                " derive it from that"
            )
    for metric in final_metrics(config.metrics):
        metric.check(data, config.data.name)
    return data if data.optimum_of == config.model.target else replace(data, optimum=None)


def check_batch_size(config: Config | StepCostConfig, data: Dataset) -> None:
    """Hold the batch size to the data.

    Raises:
        UserError: There are fewer training examples than a batch takes.
    """
    if config.train.batch_size > data.size("train"):
        raise UserError(
            f"train.batch_size must be at most the {data.size('train'):,} training examples of"
            f" data={config.data.name}, got {config.train.batch_size}; set a smaller one"
        )


def num_steps_of(config: Config, data: Dataset) -> int:
    """Return the budget of a run in updates."""
    return config.train.steps or data.steps_per_epoch(config.train.batch_size) * (config.train.epochs or 0)


def _check_budget(config: Config, data: Dataset) -> None:
    """Refuse budgets of a size that is typed by accident.

    Raises:
        UserError: A run would make more than `MAX_STEPS` steps.
    """
    num_steps = num_steps_of(config, data)
    if num_steps > MAX_STEPS:
        raise UserError(
            f"train.{'steps' if config.train.steps else 'epochs'} must come to at most {MAX_STEPS:,} steps a run, got {num_steps:,},"
            f" {duration(1e-4 * num_steps)} at 0.1 ms a step; set fewer"
        )


@functools.lru_cache(maxsize=1)
def _dataset(config_json: str, device: torch.device) -> Dataset:
    return build_data(Component.model_validate_json(config_json)).to(device)


def workload_words(config: Config | StepCostConfig) -> str:
    """Return what is learnt and in which batches, for people: `mlp on digits, 500 training examples, batch 64`."""
    num = config.data.num_train
    limit = f", {num:,} training example{'s' * (num != 1)}" if num else ""
    return f"{config.model.name} on {config.data.name}{limit}, batch {config.train.batch_size}"


def workload_id(
    model: Component,
    data_config: Component,
    data: Dataset,
    batch_size: int,
    loss: str = "default",
    start: str | None = None,
) -> str:
    """Return eight hexadecimal digits of what is learnt, from where and in which batches: others do not compare.

    Args:
        model: The model.
        data_config: Where the data comes from.
        data: The data.
        batch_size: Examples a step.
        loss: As configured.
        start: Name and hash of the weights that it starts from; None: fresh ones.
    """
    known = {"model": {"options": dict(model.options)}, "data": {"options": learnt_from(data_config)}}
    options = {key: part["options"] for key, part in without_later(known).items()}
    workload = {
        "model": [hashed_target(model.target), options["model"]],
        "data": [data.fingerprint, hashed_target(data_config.target), options["data"]],
        "loss": loss_name(loss, data.spec),
        **({"loss_source": source} if (source := source_fingerprint(loss)) is not None else {}),
        "batch_size": batch_size,
    } | ({} if start is None else {"start": start.rpartition(" ")[2]})
    return short_hash(workload, 8)


def init_from(config: Config) -> str | None:
    """Return the name of the file of weights that a run starts from, and eight digits of its hash; None: fresh weights."""
    if config.train.init_from is None:
        return None
    return f"{Path(config.train.init_from).name} {weights_hash(config.train.init_from)[:8]}"
