"""Adadelta: steps in the units of the parameter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optimizers.rule import Rule, check, new_step


class Adadelta(Rule):
    r"""Adadelta (Zeiler, Algorithm 1).

    For each parameter theta with gradient g_t, all operations element by element::

        v_t     = rho v_{t-1} + (1 - rho) g_t^2                   E[g^2], square_avg
        d_t     = sqrt(u_{t-1} + eps) / sqrt(v_t + eps) g_t       RMS of the steps over RMS of g
        u_t     = rho u_{t-1} + (1 - rho) d_t^2                   E[d^2], acc_delta
        theta_t = theta_{t-1} - gamma d_t                         gamma: lr

    Args:
        params: Parameters or parameter groups.
        lr: gamma >= 0, scales the step.
        rho: In [0, 1]: how slowly the averages forget.
        eps: Inside both roots, >= 0; its own root is the scale of the first steps.
        weight_decay: lambda >= 0, coupled (added to the gradient).
        maximize: Ascend instead of descend.

    Raises:
        ValueError: A hyperparameter is out of its range.

    References:
        Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012, arXiv:1212.5701.

    Differs from:
        Algorithm 1 has no learning rate: that is lr = 1. Keras's default is lr = 0.001, with which
        it scarcely moves.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = Adadelta([x], lr=10.0)
        >>> for _ in range(200):
        ...     optimizer.zero_grad()
        ...     loss = x.square().sum()  # 5.0 at the start
        ...     loss.backward()
        ...     optimizer.step()
        >>> loss.item() < 0.01
        True
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        check("lr", lr)
        check("rho", rho, at_most=1.0)
        check("eps", eps)
        check("weight_decay", weight_decay)
        super().__init__(
            params,
            {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize},
        )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, rho, eps = group["lr"], group["rho"], group["eps"]

        if not state:
            state["step"] = new_step()
            state["square_avg"] = torch.zeros_like(param)
            state["acc_delta"] = torch.zeros_like(param)
        state["step"] += 1
        v, u = state["square_avg"], state["acc_delta"]

        if group["weight_decay"] != 0:
            grad = grad + group["weight_decay"] * param

        v.mul_(rho).add_((1 - rho) * grad**2)
        delta = (u + eps).sqrt() / (v + eps).sqrt() * grad
        u.mul_(rho).add_((1 - rho) * delta**2)

        param.sub_(lr * delta)
