"""RMSprop, plain and centered, with momentum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optimizers.rule import Rule, check, new_step


class RMSprop(Rule):
    r"""RMSprop (Tieleman and Hinton), and Graves's centered form.

    For each parameter theta with gradient g_t, all operations element by element::

        v_t     = alpha v_{t-1} + (1 - alpha) g_t^2               square_avg
        a_t     = alpha a_{t-1} + (1 - alpha) g_t                 grad_avg, if centered
        d_t     = g_t / (sqrt(v_t) + eps)                         plain
                = g_t / (sqrt(v_t - a_t^2) + eps)                 centered
        b_t     = mu b_{t-1} + d_t,  b_0 = 0                      mu: momentum
        theta_t = theta_{t-1} - gamma b_t                         gamma: lr

    Args:
        params: Parameters or parameter groups.
        lr: gamma >= 0, the learning rate.
        alpha: In [0, 1]: how slowly the averages forget.
        eps: Added to the root, >= 0.
        weight_decay: lambda >= 0, coupled (added to the gradient).
        momentum: mu >= 0.
        centered: Divide by the standard deviation of the gradient, not its root mean square.
        maximize: Ascend instead of descend.

    Raises:
        ValueError: A hyperparameter is out of its range.

    References:
        Tieleman and Hinton, "Lecture 6.5: RMSprop", Coursera, 2012.
        Graves, "Generating Sequences With Recurrent Neural Networks", 2013, arXiv:1308.0850, eq. 38-41.

    Differs from:
        Graves and TensorFlow put eps under the root, sqrt(v_t + eps); here, as in torch, it stands
        outside. TensorFlow's averages start at 1, these at 0, and no bias is corrected: the first
        steps are up to 1 / sqrt(1 - alpha) times lr. Graves and TensorFlow multiply by lr before
        the momentum, here it comes after.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = RMSprop([x], lr=0.02)
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
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        check("lr", lr)
        check("alpha", alpha, at_most=1.0)
        check("eps", eps)
        check("weight_decay", weight_decay)
        check("momentum", momentum)
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, alpha = group["lr"], group["alpha"]

        if not state:
            state["step"] = new_step()
            state["square_avg"] = torch.zeros_like(param)
            if group["momentum"] > 0:
                state["momentum_buffer"] = torch.zeros_like(param)
            if group["centered"]:
                state["grad_avg"] = torch.zeros_like(param)
        state["step"] += 1
        v = state["square_avg"]

        if group["weight_decay"] != 0:
            grad = grad + group["weight_decay"] * param

        v.mul_(alpha).add_((1 - alpha) * grad**2)
        if group["centered"]:
            a = state["grad_avg"].mul_(alpha).add_((1 - alpha) * grad)
            v = v - a**2
        direction = grad / (v.sqrt() + group["eps"])

        if group["momentum"] > 0:
            direction = state["momentum_buffer"].mul_(group["momentum"]).add_(direction)
        param.sub_(lr * direction)
