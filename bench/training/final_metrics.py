"""Metrics on request that are taken of the trained model, once training has ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.data.dataset import Dataset
from bench.training.learner import Learner
from bench.training.plan import TrainingPlan
from bench.training.stop_metrics import metric_classes


@dataclass(frozen=True)
class TrainedModel:
    """A model after its training, and what it was trained with.

    Attributes:
        learner: The model, to be left in training mode, and its optimizer.
        data: On which it was trained.
        plan: How it was trained.
        synchronize: Returns once the device has finished.
    """

    learner: Learner
    data: Dataset
    plan: TrainingPlan
    synchronize: Callable[[], None]


class FinalMetric(ABC):
    """A metric of the trained model: columns of the table `runs`."""

    counter = "rest"
    """On which of the run's counters of seconds its time is booked: "rest" or "eval"."""

    @staticmethod  # noqa: B027
    def check(data: Dataset, name: str) -> None:
        """Hold the data to what the metric can be taken of.

        Args:
            data: Whose test split it is to be taken of.
            name: Of the data, for the message.

        Raises:
            UserError: It cannot be taken of this data.
        """

    @abstractmethod
    def columns(self, trained: TrainedModel) -> dict[str, float]:
        """Return the values by the names of the columns."""


def final_metrics(names: Sequence[str]) -> list[FinalMetric]:
    """Return those of the metrics that are taken of the trained model."""
    return [kind() for kind in metric_classes(names) if issubclass(kind, FinalMetric)]
