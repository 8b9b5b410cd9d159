"""Accuracy on images that are moved."""

from __future__ import annotations

from bench.base.errors import UserError
from bench.data.dataset import Dataset
from bench.training.augmentation import ShiftRotate
from bench.training.evaluation import evaluate
from bench.training.final_metrics import FinalMetric, TrainedModel


class MovedAccuracy(FinalMetric):
    """Share of test images classified correctly after each was turned and shifted at random, alike for all runs."""

    counter = "eval"

    @staticmethod
    def check(data: Dataset, name: str) -> None:
        """Hold the data to images of one class each.

        Raises:
            UserError: Examples are something else.
        """
        spec = data.spec
        is_image = len(spec.input_shape) == 3 and data.sample_batch(1)[0].is_floating_point()
        if not is_image or spec.task != "classification" or spec.target_shape:
            shape = "x".join(map(str, spec.input_shape))
            raise UserError(
                "metrics must leave out moved_accuracy for data that is not images (channels x height x width, floating-point"
                f" numbers) of one class each, got data={name} with inputs of shape {shape}; leave it out"
            )

    def columns(self, trained: TrainedModel) -> dict[str, float]:
        """Return moved_test_accuracy."""
        change = ShiftRotate(trained.data.spec.input_shape)
        with trained.learner.evaluation_weights():
            found = evaluate(trained.learner.model, trained.data, "test", trained.plan, change)
        return {"moved_test_accuracy": found["accuracy"]}
