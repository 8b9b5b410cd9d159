"""Time of a forward pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from bench.training.final_metrics import FinalMetric, TrainedModel

LATENCY_REPEATS = 30


class Latency(FinalMetric):
    """Time of a forward pass of the trained model, for one example and for a batch."""

    def columns(self, trained: TrainedModel) -> dict[str, float]:
        """Return latency_ms and latency_batch_ms."""
        inputs, _ = trained.data.sample_batch(trained.plan.batch_size)
        return {
            name: latency_ms(trained.learner.model, batch, trained.plan.autocast, trained.synchronize)
            for name, batch in (("latency_ms", inputs[:1]), ("latency_batch_ms", inputs))
        }


@torch.no_grad()
def latency_ms(
    model: nn.Module, inputs: Tensor, autocast: AbstractContextManager[Any], synchronize: Callable[[], None]
) -> float:
    """Measure a forward pass in evaluation mode, in milliseconds: the median of 30, after 5 that do not count.

    Args:
        model: Left in training mode.
        inputs: (N, ...).
        autocast: Context of the forward pass.
        synchronize: Returns once the device has finished.
    """
    model.eval()
    seconds = []
    for _ in range(5 + LATENCY_REPEATS):
        batch = inputs.clone()  # a model may change its input in place
        synchronize()
        started = time.perf_counter()
        with autocast:
            model(batch)
        synchronize()
        seconds.append(time.perf_counter() - started)
    model.train()
    return 1e3 * statistics.median(seconds[5:])
