"""What a run leaves behind while it is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor, nn

from bench.training.plan import TrainingPlan

LIMIT_STOPS = 3
"""Stops in a row at which the training loss of a run that has diverged is above the limit: some recover from less."""


class Diverged(Exception):
    """A loss is NaN or infinite, or stays above the limit."""


class NotFinite(Diverged):
    """A loss is NaN or infinite."""


@dataclass
class Trace:
    """What a run leaves behind.

    Attributes:
        points: Rows of `curves` less the run's id.
        path: Rows of `trajectories` less the run's id, of a model whose weights are a point in the plane.
        step: Updates made up to the last stop.
        num_steps: Updates made.
        num_evaluations: Times that loss and gradients of a batch were computed for them.
        train_s: Seconds of training up to there.
        first_step_s: Seconds of the first step.
        best_val_loss: The lowest validation loss, where the best weights are kept.
        best_state: Weights and buffers of the model there, on the CPU.
        steps_per_epoch: Updates that go once through the training set.
        num_above: Stops in a row at which the training loss was above the limit.
    """

    points: list[tuple[int, float, str, str, float, float]] = field(default_factory=list)
    path: list[tuple[int, float, float, float]] = field(default_factory=list)
    step: int = 0
    num_steps: int = 0
    num_evaluations: int = 0
    train_s: float = 0.0
    first_step_s: float | None = None
    best_val_loss: float = math.inf
    best_state: dict[str, Tensor] | None = None
    steps_per_epoch: int = 1
    num_above: int = 0

    def record(self, split: str, metric: str, value: float, plan: TrainingPlan) -> None:
        """Add a point at the last stop; a metric on request that is not finite has none.

        Raises:
            Diverged: It is a loss that is not finite, or a training loss above the limit at `LIMIT_STOPS` stops in a row or at
                the last.
        """
        if metric == "loss" and not math.isfinite(value):
            raise NotFinite(f"{split} loss {value} at step {self.step}")
        if (split, metric) == ("train", "loss"):
            self.num_above = self.num_above + 1 if value > plan.loss_limit else 0
            if self.num_above == LIMIT_STOPS or (self.num_above and self.step == plan.num_steps):
                stops = f"at {self.num_above} stops in a row" if self.num_above > 1 else "at the last stop"
                raise Diverged(
                    f"train loss {value:.6g} at step {self.step}, above train.loss_limit={plan.loss_limit:g} {stops}"
                )
        if math.isfinite(value):
            self.points.append((self.step, self.step / self.steps_per_epoch, split, metric, value, self.train_s))

    def keep_if_best(self, val_loss: float, model: nn.Module) -> None:
        """Keep a copy of the weights where their validation loss is the lowest so far."""
        if val_loss < self.best_val_loss:
            self.best_val_loss = val_loss
            state = getattr(model, "_orig_mod", model).state_dict()  # of a compiled model, the model's own
            self.best_state = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
