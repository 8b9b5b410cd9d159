"""Stochastic gradient descent, with momentum and Nesterov's form of it."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim.optimizer import ParamsT

from optimizers.rule import Rule, check


class SGD(Rule):
    r"""Stochastic gradient descent.

    For each parameter theta with gradient g_t of the loss f at theta_{t-1}::

        g_t     = grad f(theta_{t-1}) + lambda theta_{t-1}        lambda: weight_decay
        b_t     = mu b_{t-1} + (1 - tau) g_t,  b_1 = g_1          mu: momentum, tau: dampening
        d_t     = g_t                 without momentum
                = b_t                 with momentum
                = g_t + mu b_t        with nesterov
        theta_t = theta_{t-1} - gamma d_t                         gamma: lr

    Args:
        params: Parameters or parameter groups.
        lr: gamma >= 0, the learning rate.
        momentum: mu >= 0.
        dampening: tau, any finite number.
        weight_decay: lambda >= 0, coupled (added to the gradient).
        nesterov: Look ahead along the momentum; needs momentum > 0 and dampening = 0.
        maximize: Ascend instead of descend.

    Raises:
        ValueError: A hyperparameter is out of its range.

    References:
        Robbins and Monro, "A Stochastic Approximation Method", 1951.
        Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
        Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.

    Differs from:
        Sutskever et al. (eq. 1) put lr inside the velocity, v_t = mu v_{t-1} - lr g_t. Here, as in
        torch, it multiplies the velocity: the two part ways when lr changes during training.
        The first velocity is g_1 itself, not (1 - dampening) g_1, as in torch.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = SGD([x], lr=0.1, momentum=0.9)
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
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        check("lr", lr)
        check("momentum", momentum)
        check("dampening", abs(dampening))
        check("weight_decay", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "nesterov must come with momentum > 0 and dampening = 0,"
                f" got momentum {momentum} and dampening {dampening}"
            )
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]

        if group["weight_decay"] != 0:
            grad = grad + group["weight_decay"] * param

        if momentum == 0:
            direction = grad
        else:
            if state.get("momentum_buffer") is None:
                state["momentum_buffer"] = grad.clone()
            else:
                state["momentum_buffer"].mul_(momentum).add_((1 - group["dampening"]) * grad)
            velocity = state["momentum_buffer"]
            direction = grad + momentum * velocity if group["nesterov"] else velocity

        param.sub_(lr * direction)
