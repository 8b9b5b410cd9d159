"""Muon for the matrices of a model, AdamW for the rest, in one optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adamw import adamw
from torch.optim.optimizer import ParamsT

from optimizers.rule import check, new_step

ADJUSTMENTS = ("original", "match_rms_adamw", "spectral_unclamped")


class Muon(Optimizer):
    r"""Muon: momentum orthogonalised by Newton-Schulz iterations, with AdamW where there is no matrix.

    For each weight theta of two axes or more, with gradient G_t, both seen as matrices of A rows and B columns::

        M_t     = mu M_{t-1} + (1 - mu) G_t               momentum, momentum_buffer
        N_t     = mu M_t + (1 - mu) G_t                   nesterov; M_t without it
        O_t     = NewtonSchulz(N_t)                       near U V^T of the decomposition N_t = U S V^T
        theta_t = (1 - gamma lambda) theta_{t-1} - gamma r(A, B) O_t        gamma: lr, lambda: weight_decay

    All other parameters (biases, norms, scalars) take the step of `torch.optim.AdamW`.

    A convolution's kernel of shape (out, in, k, k) is stepped as the matrix (out, in k k), as Jordan et al. do: it is
    the matrix by which the convolution multiplies an unfolded patch. Embeddings and the output layer are matrices
    too, and by their shapes alone cannot be told from hidden ones: Jordan et al. give them to AdamW, here they are
    Muon's unless they stand in a parameter group with `use_muon=False`.

    Each parameter group becomes up to two in `param_groups`, marked `use_muon`: its matrices, then its others. What
    a group sets for itself (`lr`, `weight_decay`, `eps`, ...) holds for both; what it leaves out is, for AdamW's,
    that of the arguments named `adamw_`.

    Args:
        params: Parameters or parameter groups, each optionally with `use_muon`.
        lr: gamma >= 0, of the matrices.
        weight_decay: lambda >= 0, decoupled.
        momentum: mu in [0, 1].
        nesterov: Look ahead along the momentum.
        ns_coefficients: a, b, c of the quintic X <- a X + b X X^T X + c (X X^T)^2 X.
        eps: The least norm that N_t is divided by before it, >= 0.
        ns_steps: Iterations, 0 to 99.
        adjust_lr_fn: r(A, B): "original" or None sqrt(max(1, A/B)), "match_rms_adamw" 0.2 sqrt(max(A, B)),
            "spectral_unclamped" sqrt(A/B).
        adamw_lr: Learning rate >= 0 of AdamW's part.
        adamw_betas: How slowly its two moments forget, each in [0, 1).
        adamw_eps: Added to its root, >= 0.
        adamw_weight_decay: >= 0, decoupled.
        foreach: How AdamW's part is computed, as in torch; the matrices go one by one.

    Raises:
        ValueError: A hyperparameter is out of its range, or a group sets `use_muon` for a parameter
            that is no matrix.

    References:
        Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, "Muon: An optimizer for hidden layers in neural
        networks", 2024, kellerjordan.github.io/posts/muon; code github.com/KellerJordan/Muon.
        Liu et al., "Muon is Scalable for LLM Training", 2025, arXiv:2502.16982 (match_rms_adamw).
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101.

    Differs from:
        `torch.optim.Muon` (since torch 2.9) refuses all but matrices; on matrices the steps are equal to the bit.
        Jordan et al. scale a kernel's step by the ratio of its last two axes, 1 for a square one; here r(A, B) is
        that of the flattened matrix. Their defaults are lr 0.02 and weight_decay 0; torch's stand here.

    Example:
        >>> matrix = torch.nn.Parameter(torch.tensor([[3.0, 0.0], [0.0, -1.0]]))
        >>> optimizer = Muon([matrix], lr=0.1, weight_decay=0.0)
        >>> for _ in range(200):
        ...     optimizer.zero_grad()
        ...     loss = matrix.square().sum()  # 10.0 at the start
        ...     loss.backward()
        ...     optimizer.step()
        >>> loss.item() < 0.1
        True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        adamw_lr: float = 1e-3,
        adamw_betas: tuple[float, float] = (0.9, 0.999),
        adamw_eps: float = 1e-8,
        adamw_weight_decay: float = 1e-2,
        *,
        foreach: bool | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("eps", eps)):
            check(name, value)
        check("momentum", momentum, at_most=1.0)
        for name, value in (("lr", adamw_lr), ("eps", adamw_eps), ("weight_decay", adamw_weight_decay)):
            check(f"adamw_{name}", value)
        if not isinstance(adamw_betas, tuple | list) or len(adamw_betas) != 2:
            raise ValueError(f"adamw_betas must be two numbers, got {adamw_betas}")
        for i, beta in enumerate(adamw_betas):
            check(f"adamw_betas[{i}]", beta, below=1.0)
        if not isinstance(ns_coefficients, tuple | list) or len(ns_coefficients) != 3:
            raise ValueError(f"ns_coefficients must be three numbers, got {ns_coefficients}")
        if type(ns_steps) is not int or not 0 <= ns_steps < 100:
            raise ValueError(f"ns_steps must be a whole number from 0 to 99, got {ns_steps}")
        if adjust_lr_fn not in (None, *ADJUSTMENTS):
            raise ValueError(f"adjust_lr_fn must be null or one of {', '.join(ADJUSTMENTS)}, got {adjust_lr_fn}")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
                "adamw_lr": adamw_lr,
                "adamw_betas": adamw_betas,
                "adamw_eps": adamw_eps,
                "adamw_weight_decay": adamw_weight_decay,
                "foreach": foreach,
            },
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, as up to two: its matrices for Muon, its other parameters for AdamW.

        Args:
            param_group: `params`, and what it sets for itself. `use_muon` keeps it whole.

        Raises:
            ValueError: `use_muon` is set and a parameter has fewer than two axes.
        """
        group = dict(param_group)
        params, use_muon = group.pop("params"), group.pop("use_muon", None)
        if not isinstance(params, set):  # which torch refuses, for its order
            params = [params] if isinstance(params, Tensor) else list(params)
        if use_muon and (flat := [_tensor(p) for p in params if _tensor(p).ndim < 2]):
            raise ValueError(f"use_muon must be false for a parameter of shape {list(flat[0].shape)}, got {use_muon}")
        if use_muon is not None or isinstance(params, set) or not params:
            self._add_part(params, bool(use_muon), group)
            return
        for use_muon in (True, False):
            if part := [p for p in params if (_tensor(p).ndim >= 2) is use_muon]:
                self._add_part(part, use_muon, group)

    def _add_part(self, params: Any, use_muon: bool, group: dict[str, Any]) -> None:
        settings = {key: value for key, value in self.defaults.items() if key != "foreach"}
        adamw = {key: settings.pop(f"adamw_{key}") for key in ("lr", "betas", "eps", "weight_decay")}
        if not use_muon:
            settings = adamw | {"foreach": self.defaults["foreach"]}
        super().add_param_group({**settings, **group, "use_muon": use_muon, "params": params})
        for key in set(self.defaults) - set(settings) - set(group):  # the other rule's, which torch has filled in
            del self.param_groups[-1][key]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient once.

        Args:
            closure: Evaluates the model anew and returns the loss; called once, before the update.

        Returns:
            What `closure` returned, or None.

        Raises:
            ValueError: A parameter is complex, or its gradient is sparse.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                params = [param for param in group["params"] if param.grad is not None]
                for param in params:
                    if torch.is_complex(param) or param.grad.is_sparse:
                        what = "real" if torch.is_complex(param) else "of dense gradients"
                        raise ValueError(f"params must be {what} for Muon, got others; use torch.optim.SGD")
                if group["use_muon"]:
                    for param in params:
                        self._step_matrix(param, param.grad, group)
                else:
                    self._step_others(params, group)
        return loss

    def _step_matrix(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, mu = self.state[param], group["momentum"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        m = state["momentum_buffer"]

        m.lerp_(grad, 1 - mu)
        n = grad.lerp(m, mu) if group["nesterov"] else m
        o = newton_schulz(n.flatten(1), group["ns_coefficients"], group["ns_steps"], group["eps"])
        param.mul_(1 - group["lr"] * group["weight_decay"])
        ratio = _adjustment(o.size(0), o.size(1), group["adjust_lr_fn"])
        param.add_(o.reshape(param.shape), alpha=-group["lr"] * ratio)

    def _step_others(self, params: list[Tensor], group: dict[str, Any]) -> None:
        states = [self.state[param] for param in params]
        for param, state in zip(params, states, strict=True):
            if not state:
                state["step"] = new_step()
                state["exp_avg"] = torch.zeros_like(param)
                state["exp_avg_sq"] = torch.zeros_like(param)
        beta1, beta2 = group["betas"]
        adamw(
            params,
            [param.grad for param in params if param.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=group["foreach"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def newton_schulz(matrix: Tensor, coefficients: tuple[float, float, float], num_steps: int, eps: float) -> Tensor:
    """Bring the singular values of a matrix near 1: a quintic iteration, in bfloat16.

    With Jordan's coefficients they end between about 0.7 and 1.2, not at 1: the slope at 0 counts for more.

    Args:
        matrix: Shape (A, B).
        coefficients: a, b, c of X <- a X + b X X^T X + c (X X^T)^2 X.
        num_steps: Iterations.
        eps: The least Frobenius norm that the matrix is divided by first.

    Returns:
        The result, of shape (A, B) and dtype bfloat16.
    """
    a, b, c = coefficients
    x = matrix.to(dtype=torch.bfloat16, copy=True)
    is_tall = x.size(0) > x.size(1)
    x = x.T if is_tall else x  # the smaller of the two Gram matrices
    x.div_(x.norm().clamp(min=eps))
    for _ in range(num_steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if is_tall else x


def _adjustment(rows: int, columns: int, rule: str | None) -> float:
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    if rule == "spectral_unclamped":
        return math.sqrt(rows / columns)
    return math.sqrt(max(1, rows / columns))


def _tensor(param: Any) -> Tensor:
    """Return the parameter itself where it comes as (name, parameter)."""
    found: Tensor = param[1] if isinstance(param, tuple) else param
    return found
