"""Losses and accuracies over a whole split."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.dataset import Dataset
from bench.training.plan import TrainingPlan


@torch.no_grad()
def evaluate(
    model: nn.Module, data: Dataset, split: str, plan: TrainingPlan, change: Callable[[Tensor], Tensor] | None = None
) -> dict[str, float]:
    """Return the mean loss and, for classes, the accuracy over a split, in evaluation mode.

    In batches of the training size, so that evaluation never sets the peak of memory.

    Args:
        model: Left in training mode.
        data: Where the split comes from.
        split: One of train, val, test.
        plan: Batch size, loss and precision.
        change: Changes the inputs of each batch before the model sees them; None: nothing does.
    """
    model.eval()
    has_classes = data.spec.task == "classification"
    num, num_targets = 0, 0
    loss_sum: Any = 0.0
    num_correct: Any = 0
    for batch, wanted in data.in_order(split, math.ceil(plan.batch_size / plan.step.accumulate)):
        if change is not None:
            batch = change(batch)
        with plan.autocast:
            outputs = model(batch)
            loss_sum = loss_sum + plan.loss(outputs, wanted) * len(wanted)
        if has_classes:
            num_correct = num_correct + (outputs.argmax(-1) == wanted).sum()
        num, num_targets = num + len(wanted), num_targets + wanted.numel()
    model.train()
    metrics = {"loss": float(loss_sum) / num}
    if has_classes:
        metrics["accuracy"] = float(num_correct) / num_targets
    return metrics
