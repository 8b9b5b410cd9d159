"""Sharpness: the largest eigenvalue of the Hessian of the batch's loss, plain and as an adaptive optimizer scales it.

By Lanczos (SciPy's eigsh) on products of the Hessian with vectors, each a double backward pass: some ten to thirty of them.

References:
    Cohen, Kaur, Li, Kolter and Talwalkar, "Gradient descent on neural networks typically occurs at the edge of stability", 2021,
    arXiv:2103.00065: gradient descent is stable below 2 / lr, with heavy-ball momentum below (2 + 2 beta) / lr.
    Cohen et al., "Adaptive gradient methods at the edge of stability", 2022, arXiv:2207.14484: Adam below
    (2 + 2 beta1) / ((1 - beta1) lr), of the Hessian scaled by P^-1/2 on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bench.training.diagnostics.base import WHOLE, LayerDiagnostic, Look

TOLERANCE = 1e-3
"""Relative, of the eigenvalue, in single precision; in double it is the square of that."""


MOST_RESTARTS = 100
"""Of Lanczos, each with some twenty products."""


class Sharpness(LayerDiagnostic):
    """Largest eigenvalue of the Hessian of the batch's loss at the weights after the step."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for the whole model; nothing where Lanczos finds none."""
        return _largest(look, None)


class PreconditionedSharpness(LayerDiagnostic):
    """The same of P^-1/2 H P^-1/2, with P = sqrt(v) + eps from the state of Adam or RMSprop."""

    def values(self, look: Look) -> dict[str, float]:
        """Return it for the whole model; nothing where the optimizer keeps no second moments."""
        scales = _scales(look)
        return {} if scales is None else _largest(look, scales)


def _scales(look: Look) -> list[Tensor] | None:
    """Return P^-1/2 for each parameter; None where there is no P."""
    options = {id(p): group for group in look.optimizer.param_groups for p in group["params"]}
    scales = []
    for parameter in look.parameters.values():
        state, group = look.optimizer.state.get(parameter, {}), options.get(id(parameter), {})
        moments = state.get("exp_avg_sq", state.get("square_avg"))
        if not isinstance(moments, Tensor) or moments.shape != parameter.shape or "eps" not in group:
            return None
        correction = 1.0
        if "exp_avg_sq" in state and "betas" in group and "step" in state:
            correction = 1.0 - float(group["betas"][1]) ** float(state["step"])
        scales.append(((moments.detach() / correction).sqrt() + float(group["eps"])).rsqrt())
    return scales


def _largest(look: Look, scales: Sequence[Tensor] | None) -> dict[str, float]:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    weights = [p.detach().requires_grad_() for p in look.parameters.values()]
    num = sum(w.numel() for w in weights)
    if num < 3:  # Lanczos needs more than one vector beside the one that it looks for
        return {}
    multiply = _hessian_product(look, weights, scales)
    exact = weights[0].dtype == torch.float64
    start = np.random.default_rng(0).standard_normal(num)  # of its own: no generator of the run is drawn from
    operator = LinearOperator((num, num), matvec=multiply, dtype=np.float64)
    try:
        found = eigsh(
            operator, k=1, which="LA", v0=start, tol=TOLERANCE**2 if exact else TOLERANCE, maxiter=MOST_RESTARTS,
            return_eigenvectors=False,
        )  # fmt: skip
    except ArpackNoConvergence as error:
        found = error.eigenvalues
    return {WHOLE: float(found[-1])} if len(found) else {}


def _hessian_product(
    look: Look, weights: Sequence[Tensor], scales: Sequence[Tensor] | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that multiplies a vector by the Hessian, scaled on either side."""
    with torch.enable_grad():
        gradients = torch.autograd.grad(look.loss_at(weights), weights, create_graph=True, allow_unused=True)
    kept = [(g, w) for g, w in zip(gradients, weights, strict=True) if g is not None and g.requires_grad]
    sizes = [w.numel() for w in weights]

    def multiply(vector: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(np.ascontiguousarray(vector).reshape(-1)).split(sizes)
        directions = [part.to(w).view_as(w) for part, w in zip(parts, weights, strict=True)]
        if scales is not None:
            directions = [d * s for d, s in zip(directions, scales, strict=True)]
        by_weight = {id(w): d for w, d in zip(weights, directions, strict=True)}
        products = torch.autograd.grad(
            [g for g, _ in kept], weights, [by_weight[id(w)] for _, w in kept], retain_graph=True, allow_unused=True
        )
        filled = [torch.zeros_like(w) if p is None else p for p, w in zip(products, weights, strict=True)]
        if scales is not None:
            filled = [p * s for p, s in zip(filled, scales, strict=True)]
        return torch.cat([p.detach().flatten().double().cpu() for p in filled]).numpy()

    return multiply
