"""NAdam: Adam with Nesterov momentum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optimizers.rule import Rule, check, check_betas, new_step, scalar_dtype


class NAdam(Rule):
    r"""NAdam (Dozat, Algorithm 2), with the momentum schedule of his report.

    For each parameter theta with gradient g_t, all operations element by element::

        mu_t    = beta1 (1 - 0.96^(t psi) / 2)                    psi: momentum_decay
        m_t     = beta1 m_{t-1} + (1 - beta1) g_t                 first moment, exp_avg
        v_t     = beta2 v_{t-1} + (1 - beta2) g_t^2               second moment, exp_avg_sq
        m^_t    = mu_{t+1} m_t / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g_t / (1 - mu_1 ... mu_t)
        v^_t    = v_t / (1 - beta2^t)
        theta_t = theta_{t-1} - gamma m^_t / (sqrt(v^_t) + eps)   gamma: lr

    Args:
        params: Parameters or parameter groups.
        lr: gamma >= 0, the learning rate.
        betas: beta1 and beta2, each in [0, 1).
        eps: Added to the root, >= 0.
        weight_decay: lambda >= 0. Coupled: g_t + lambda theta_{t-1} takes the place of g_t.
        momentum_decay: psi >= 0: how fast mu_t grows from beta1 / 2 towards beta1.
        decoupled_weight_decay: theta shrinks by 1 - gamma lambda, and the moments do not see it.
        maximize: Ascend instead of descend.

    Raises:
        ValueError: A hyperparameter is out of its range.

    References:
        Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016, Algorithm 2; the
        schedule mu_t is from the longer report of the same name.

    Differs from:
        Dozat's m_t decays by mu_t; here, as in torch, it decays by the constant beta1. The product
        mu_1 ... mu_t is kept, as in torch, as a scalar of the default dtype (float32), so its
        rounding shows in the last digits of float64 parameters.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = NAdam([x], lr=0.1)
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
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        check("lr", lr)
        check_betas(betas)
        check("eps", eps)
        check("weight_decay", weight_decay)
        check("momentum_decay", momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
            },
        )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, (beta1, beta2), psi = group["lr"], group["betas"], group["momentum_decay"]

        if not state:
            state["step"] = new_step()
            state["mu_product"] = torch.ones((), dtype=scalar_dtype())
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
        state["step"] += 1
        t = state["step"].item()
        m, v = state["exp_avg"], state["exp_avg_sq"]

        if group["weight_decay"] != 0:
            if group["decoupled_weight_decay"]:
                param.mul_(1 - lr * group["weight_decay"])
            else:
                grad = grad + group["weight_decay"] * param

        mu = beta1 * (1 - 0.5 * 0.96 ** (t * psi))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * psi))
        state["mu_product"] *= mu
        mu_product = state["mu_product"].item()

        m.mul_(beta1).add_((1 - beta1) * grad)
        v.mul_(beta2).add_((1 - beta2) * grad**2)

        m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * grad / (1 - mu_product)
        v_hat = v / (1 - beta2**t)
        param.sub_(lr * m_hat / (v_hat.sqrt() + group["eps"]))
