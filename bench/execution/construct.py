"""Construct what a run trains: the model, its optimizer and its schedule."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import Optimizer

from bench.base.errors import UserError
from bench.build.model import build_model, load_weights
from bench.build.optimizer import build_optimizer, needs_of
from bench.config.capabilities import capabilities_of
from bench.config.schema import Config
from bench.data.dataset import Dataset
from bench.measure import device as measure_device
from bench.training.learner import Learner
from bench.training.plan import TrainingPlan
from bench.training.schedules import Schedule


def construct(
    config: Config, data: Dataset, plan: TrainingPlan, device: torch.device, seed: int
) -> tuple[Learner, str]:
    """Return the model and optimizer that a run begins with, and which implementation of the step it is.

    All random numbers begin anew with the seed.

    Args:
        config: The cell.
        data: That it learns.
        plan: How it is trained.
        device: Where to.
        seed: Of the run.

    Raises:
        UserError, Unavailable: They cannot be built.
    """
    measure_device.reset(device, config.device.threads, config.device.precision, seed)
    model = new_model(config, data, device)
    optimizer, implementation = new_optimizer(config, model)
    needs = needs_of(config.optimizer, optimizer)
    return Learner(model, optimizer, needs, _schedule(config, plan, optimizer)), implementation


def new_model(config: Config, data: Dataset, device: torch.device) -> nn.Module:
    """Return the model of a run as it starts: fresh, or from a file of weights."""
    model = build_model(config.model, data.spec)
    if config.train.init_from is not None:
        load_weights(model, config.train.init_from)
    return model.to(device)


def new_optimizer(config: Config, model: nn.Module) -> tuple[Optimizer, str]:
    """Return the optimizer of a run over the parameters of its model, and its implementation; see `build_optimizer`."""
    return build_optimizer(
        config.optimizer, model, config.regularization.weights_only, has_schedule=config.schedule.name != "constant"
    )


def _schedule(config: Config, plan: TrainingPlan, optimizer: Optimizer) -> Schedule | None:
    """Return the schedule of a run; None where the learning rate stays what it is.

    Raises:
        UserError: The optimizer has no learning rate.
    """
    chosen = config.schedule
    if chosen.name == "constant":
        return None
    if reason := capabilities_of(config.optimizer).fixed_lr:
        raise UserError(
            f"schedule must be constant for {type(optimizer).__name__}, got {chosen.name}: {reason}; leave it out"
        )
    return Schedule(chosen.name, chosen.options, plan.num_steps, optimizer)
