"""Diagnostics: what `diagnostics.record` may name, each with what it is, where it comes from and what it costs.

Configuration, recording, rules and the reference go by this list. A new diagnostic is an entry here and the class that it
names, in `bench/training/diagnostics/`.
"""

from __future__ import annotations

from dataclasses import dataclass

LIGHT, SELECTION, PASSES = "no further pass", "no further pass, a partial sort", "further passes over a batch"


@dataclass(frozen=True)
class Diagnostic:
    """A diagnostic.

    Attributes:
        name: In `diagnostics.record` and in the side table `diagnostics`.
        meaning: For the reference.
        formula: In terms of w (weights before the step), g (the gradient that the step used), u (what the step changed).
        source: Who proposed or explains it; empty where it speaks for itself.
        cost: LIGHT, SELECTION or PASSES.
        computed_by: Dotted path of a class derived from `bench.training.diagnostics.base.LayerDiagnostic`.
    """

    name: str
    meaning: str
    formula: str
    source: str
    cost: str
    computed_by: str


def _path(module: str, name: str) -> str:
    return f"bench.training.diagnostics.{module}.{name}"


DIAGNOSTICS: tuple[Diagnostic, ...] = (
    Diagnostic("weight_norm", "norm of the weights", "|w|", "", LIGHT, _path("weight_norm", "WeightNorm")),
    Diagnostic(
        "gradient_norm", "norm of the gradient that the step used, after clipping", "|g|", "", LIGHT,
        _path("gradient_norm", "GradientNorm"),
    ),
    Diagnostic("update_norm", "norm of what the step changed", "|u|", "", LIGHT, _path("update_norm", "UpdateNorm")),
    Diagnostic(
        "update_to_weight", "size of the update beside the weights; often near 1e-3 where training goes well", "|u| / |w|",
        "You et al. 2017, arXiv:1708.03888, section 4", LIGHT, _path("update_to_weight", "UpdateToWeight"),
    ),
    Diagnostic(
        "effective_lr", "size of the update beside the gradient: the learning rate that gradient descent would have needed",
        "|u| / |g|", "", LIGHT, _path("effective_lr", "EffectiveRate"),
    ),
    Diagnostic(
        "update_gradient_cosine", "how far the update points downhill: 1 is straight down, 0 across, below 0 uphill",
        "-u . g / (|u| |g|)", "", LIGHT, _path("update_gradient_cosine", "UpdateGradientCosine"),
    ),
    Diagnostic(
        "update_cosine", "how far this update points where the one before did; near -1 the steps go to and fro",
        "u . u' / (|u| |u'|), u' of the step before", "Xing et al. 2018, arXiv:1802.08770", LIGHT,
        _path("update_cosine", "UpdateCosine"),
    ),
    Diagnostic(
        "unchanged", "share of the weights with a gradient that the step left as they were: updates lost in rounding",
        "#(u = 0 and g != 0) / #(g != 0)", "Zamirai et al. 2020, arXiv:2010.06192", LIGHT, _path("unchanged", "Unchanged"),
    ),
    Diagnostic(
        "clipped", "1 where train.clip_norm scaled the gradient down, else 0", "|g| = train.clip_norm", "", LIGHT,
        _path("clipped", "Clipped"),
    ),
    Diagnostic(
        "gradient_reach", "norm of the gradient of the first layer over that of the last", "|g_1| / |g_n|",
        "Glorot and Bengio 2010", LIGHT, _path("gradient_reach", "GradientReach"),
    ),
    Diagnostic(
        "gradient_median", "median of the absolute entries of the gradient", "median |g_i|", "", SELECTION,
        _path("quantiles", "GradientMedian"),
    ),
    Diagnostic(
        "gradient_tail", "what 99 % of the absolute entries of the gradient are below", "q99 |g_i|", "", SELECTION,
        _path("quantiles", "GradientTail"),
    ),
    Diagnostic(
        "decrease_ratio",
        "actual over predicted decrease of the batch's loss: 1 where it is linear, 1/2 at the minimum of a parabola, below 0 where"
        " the step overshoots",
        "(L(w + u) - L(w)) / (g . u)", "Nocedal and Wright 2006, chapter 4", PASSES, _path("decrease_ratio", "DecreaseRatio"),
    ),
    Diagnostic(
        "dead_units", "share of the ReLU units that are 0 for the whole batch, or of sigmoid and tanh units at their ends",
        "#(a = 0 for all examples) / #a", "Lu et al. 2019, arXiv:1903.06733", PASSES, _path("dead_units", "DeadUnits"),
    ),
    Diagnostic(
        "activation_median", "median of the absolute outputs of layers on this batch", "median |a_i|", "", PASSES,
        _path("quantiles", "ActivationMedian"),
    ),
    Diagnostic(
        "activation_tail", "what 99 % of the absolute outputs of layers are below", "q99 |a_i|", "", PASSES,
        _path("quantiles", "ActivationTail"),
    ),
    Diagnostic(
        "noise_scale", "batch size at which noise and signal of the gradient are alike", "tr(Sigma) / |G|^2",
        "McCandlish et al. 2018, arXiv:1812.06162, appendix A.1", PASSES, _path("noise_scale", "NoiseScale"),
    ),
    Diagnostic(
        "sharpness", "largest eigenvalue of the Hessian of the batch's loss; gradient descent is stable below 2 / lr",
        "max eig(H)", "Cohen et al. 2021, arXiv:2103.00065", PASSES, _path("sharpness", "Sharpness"),
    ),
    Diagnostic(
        "preconditioned_sharpness",
        "the same of the Hessian as an adaptive optimizer scales it; Adam is stable below (2 + 2 beta1) / ((1 - beta1) lr)",
        "max eig(P^-1/2 H P^-1/2), P = sqrt(v) + eps", "Cohen et al. 2022, arXiv:2207.14484", PASSES,
        _path("sharpness", "PreconditionedSharpness"),
    ),
)  # fmt: skip
"""All of them, those first that cost least."""


DIAGNOSTIC_NAMES = tuple(diagnostic.name for diagnostic in DIAGNOSTICS)


LANDSCAPE = "landscape"
"""Name, in the column `diagnostics`, of what `diagnostics.landscape` records."""
