"""AdaMax: Adam with the infinity norm."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optimizers.rule import Rule, check, check_betas, new_step


class Adamax(Rule):
    r"""AdaMax (Kingma and Ba, Algorithm 2).

    For each parameter theta with gradient g_t, all operations element by element::

        m_t     = beta1 m_{t-1} + (1 - beta1) g_t                 first moment, exp_avg
        u_t     = max(beta2 u_{t-1}, |g_t| + eps)                 infinity norm, exp_inf
        theta_t = theta_{t-1} - gamma / (1 - beta1^t) m_t / u_t   gamma: lr

    Args:
        params: Parameters or parameter groups.
        lr: gamma >= 0, the learning rate.
        betas: beta1 and beta2, each in [0, 1).
        eps: Keeps u above 0, >= 0.
        weight_decay: lambda >= 0, coupled (added to the gradient).
        maximize: Ascend instead of descend.

    Raises:
        ValueError: A hyperparameter is out of its range.

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv:1412.6980, section 7.1.

    Differs from:
        Algorithm 2 has no eps, ``u_t = max(beta2 u_{t-1}, |g_t|)``, and divides 0 by 0 where a gradient
        has been 0 from the start. Here, as in torch, eps is added inside the maximum; Keras adds it
        to u_t in the division. Section 7.1's bound, ``|step| <= gamma``, leaves out that u forgets: the
        sharp one is gamma (1 - beta1) / (1 - beta1 / beta2) in the long run, .9 % more by default.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = Adamax([x], lr=0.1)
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
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        check("lr", lr)
        check_betas(betas)
        check("eps", eps)
        check("weight_decay", weight_decay)
        super().__init__(
            params,
            {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize},
        )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]

        if not state:
            state["step"] = new_step()
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_inf"] = torch.zeros_like(param)
        state["step"] += 1
        t = state["step"].item()
        m, u = state["exp_avg"], state["exp_inf"]

        if group["weight_decay"] != 0:
            grad = grad + group["weight_decay"] * param

        m.mul_(beta1).add_((1 - beta1) * grad)
        torch.maximum(beta2 * u, grad.abs() + group["eps"], out=u)

        param.sub_(lr / (1 - beta1**t) * m / u)
