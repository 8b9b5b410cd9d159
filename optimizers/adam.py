"""Adam, with AMSGrad and AdamW as options."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from optimizers.rule import Rule, check, check_betas, new_step


class Adam(Rule):
    r"""Adam: adaptive moment estimation (Kingma and Ba, Algorithm 1).

    For each parameter theta with gradient g_t, all operations element by element::

        m_t     = beta1 m_{t-1} + (1 - beta1) g_t                 first moment, exp_avg
        v_t     = beta2 v_{t-1} + (1 - beta2) g_t^2               second moment, exp_avg_sq
        m^_t    = m_t / (1 - beta1^t)
        v^_t    = v_t / (1 - beta2^t)
        theta_t = theta_{t-1} - gamma m^_t / (sqrt(v^_t) + eps)   gamma: lr

    Args:
        params: Parameters or parameter groups.
        lr: gamma >= 0, the learning rate.
        betas: beta1 and beta2, each in [0, 1): how slowly the two moments forget.
        eps: Added to the root, >= 0.
        weight_decay: lambda >= 0. Coupled: g_t + lambda theta_{t-1} takes the place of g_t.
        amsgrad: Divide by the largest v so far instead of the present one.
        maximize: Ascend instead of descend.
        decoupled_weight_decay: AdamW: theta shrinks by 1 - gamma lambda, and the moments do not see it.

    Raises:
        ValueError: A hyperparameter is out of its range.

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv:1412.6980.
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101.
        Reddi et al., "On the Convergence of Adam and Beyond", ICLR 2018 (AMSGrad).

    Differs from:
        Reddi et al. take the maximum of v and correct no bias. Here, as in torch, the maximum is
        taken of the uncorrected v and then corrected. TensorFlow puts eps beside the uncorrected
        root ("epsilon hat", below Algorithm 1), so its eps acts more strongly in the first steps.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
        >>> optimizer = Adam([x], lr=0.1)
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
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check("lr", lr)
        check_betas(betas)
        check("eps", eps)
        check("weight_decay", weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        lr, (beta1, beta2) = group["lr"], group["betas"]

        if not state:
            state["step"] = new_step()
            state["exp_avg"] = torch.zeros_like(param)
            state["exp_avg_sq"] = torch.zeros_like(param)
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = torch.zeros_like(param)
        state["step"] += 1
        t = state["step"].item()
        m, v = state["exp_avg"], state["exp_avg_sq"]

        if group["weight_decay"] != 0:
            if group["decoupled_weight_decay"]:
                param.mul_(1 - lr * group["weight_decay"])
            else:
                grad = grad + group["weight_decay"] * param

        m.mul_(beta1).add_((1 - beta1) * grad)
        v.mul_(beta2).add_((1 - beta2) * grad**2)
        if group["amsgrad"]:
            v = torch.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])

        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        param.sub_(lr * m_hat / (v_hat.sqrt() + group["eps"]))
