"""Metrics on request: what `metrics=[...]` may name, with the curves and columns that each leaves.

Configuration, tables, figures, reports and the reference are made from this list. A new metric is an entry here and the
class that it names, in `bench/training/metrics/`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """A metric of the table `curves`.

    Attributes:
        name: As in column `metric`; with dashes, the name of its figure.
        y_label: On the axis of its figure.
        caption: What the figure shows, to be followed by "against step".
    """

    name: str
    y_label: str
    caption: str


@dataclass(frozen=True)
class RunColumn:
    """A column of the table `runs`, a floating-point number.

    Attributes:
        name: Of the column, with its unit as a suffix.
        meaning: For the reference.
        after: The column of `runs` that it follows.
        title: Above it in the summary of a report, where it stands with an interval; None: it is not there.
    """

    name: str
    meaning: str
    after: str
    title: str | None = None


@dataclass(frozen=True)
class Metric:
    """A metric on request.

    Attributes:
        name: In `metrics`.
        meaning: For the reference.
        computed_by: Dotted path of a `StopMetric` of `bench.training.stop_metrics`, for curves, or of a `FinalMetric` of
            `bench.training.final_metrics`, for columns.
        curves: What it adds to `curves`.
        columns: What it adds to `runs`.
    """

    name: str
    meaning: str
    computed_by: str
    curves: tuple[Curve, ...] = ()
    columns: tuple[RunColumn, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric(
        "grad_norm",
        "Euclidean norm of the gradient of the last step, after clipping",
        "bench.training.metrics.grad_norm.GradNorm",
        curves=(Curve("grad_norm", "norm of the gradient", "Norm of the gradients that the step used"),),
    ),
    Metric(
        "layer_grad_norm",
        "the same for the weights of the first and of the last layer",
        "bench.training.metrics.layer_grad_norm.LayerGradNorm",
        curves=tuple(
            Curve(
                f"grad_norm_{end}",
                f"norm of the gradient, {end} layer",
                f"Norm of the gradient of the {end} layer's weights that the step used",
            )
            for end in ("first", "last")
        ),
    ),
    Metric(
        "update_ratio",
        "norm of the last update divided by the norm of the weights",
        "bench.training.metrics.update_ratio.UpdateRatio",
        curves=(
            Curve(
                "update_ratio",
                "norm of update / norm of weights",
                "Norm of the update divided by the norm of the weights before it",
            ),
        ),
    ),
    Metric(
        "distance",
        "distance of the weights from where they started",
        "bench.training.metrics.distance.Distance",
        curves=(Curve("distance", "distance from the start", "Distance of the weights from where they started"),),
    ),
    Metric(
        "latency",
        "time of a forward pass of the trained model, for one example and for a batch",
        "bench.training.metrics.latency.Latency",
        columns=(
            RunColumn(
                "latency_ms",
                "a forward pass of the trained model for one example, on request",
                after="step_ms",
                title="latency ms",
            ),
            RunColumn("latency_batch_ms", "the same for a batch", after="latency_ms", title="latency of a batch ms"),
        ),
    ),
    Metric(
        "moved_accuracy",
        "accuracy on test images that are shifted and rotated at random",
        "bench.training.metrics.moved_accuracy.MovedAccuracy",
        columns=(
            RunColumn(
                "moved_test_accuracy",
                "the same of test images turned and shifted at random, alike for all runs, on request",
                after="final_test_accuracy",
            ),
        ),
    ),
)

CURVES: tuple[Curve, ...] = tuple(curve for metric in METRICS for curve in metric.curves)
"""What metrics on request add to the table `curves`."""

COLUMNS: tuple[RunColumn, ...] = tuple(column for metric in METRICS for column in metric.columns)
"""What they add to the table `runs`, in an order in which each finds the column that it follows."""

SUMMARIZED: dict[str, str] = {column.name: column.title for column in COLUMNS if column.title is not None}
"""Those of them that the summary of a report shows, each with its title."""
