"""What all reference rules share: the walk over the parameters, and the checks of what a person passes."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Rule(Optimizer):
    """A `torch.optim.Optimizer` whose subclass states the update of one parameter in `update`.

    Parameter groups, `state_dict`, hooks and `zero_grad` are torch's own. State keeps torch's
    names, so a `state_dict` of the torch class of the same name loads here, and the other way.
    """

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
                for param in group["params"]:
                    if param.grad is not None:
                        self._check_dense_real(param)
                        grad = -param.grad if group["maximize"] else param.grad
                        self.update(param, grad, self.state[param], group)
        return loss

    @abstractmethod
    def update(self, param: Tensor, grad: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change `param` and `state` in place by one step.

        Args:
            param: The parameter, theta; any shape.
            grad: The gradient of the loss (its negative where `maximize` is set); shape of `param`.
            state: What the rule remembers of this parameter; empty at the first step.
            group: The hyperparameters.
        """

    def _check_dense_real(self, param: Tensor) -> None:
        name = type(self).__name__
        if torch.is_complex(param):
            raise ValueError(f"params must be real for the reference {name}, got {param.dtype}; use torch.optim.{name}")
        assert param.grad is not None
        if param.grad.is_sparse:
            raise ValueError(
                f"gradients must be dense for the reference {name}, got a sparse one;"
                " build the embedding with sparse=False, or use torch.optim.SparseAdam or torch.optim.SGD"
            )


def new_step() -> Tensor:
    """Return a step counter as torch keeps it: a scalar tensor on the CPU, of the default dtype."""
    return torch.tensor(0.0, dtype=scalar_dtype())


def scalar_dtype() -> torch.dtype:
    """Return torch's dtype for scalar state (`step`, `mu_product`): float32, or float64 where that is the default."""
    return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def check(name: str, value: object, *, at_most: float = math.inf, below: float = math.inf) -> None:
    """Hold a hyperparameter to 0 <= value, value <= `at_most` and value < `below`.

    Raises:
        ValueError: It is no real number, NaN, infinite, or out of its range.
    """
    if at_most < math.inf:
        wanted = f"a number from 0 to {at_most:g}"
    elif below < math.inf:
        wanted = f"a number from 0 up to, not including, {below:g}"
    else:
        wanted = "a finite number of at least 0"
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value <= at_most and value < below):
        raise ValueError(f"{name} must be {wanted}, got {value}")


def check_betas(betas: object) -> None:
    """Hold `betas` to two numbers, each in [0, 1).

    Raises:
        ValueError: There are not two, or one is out of its range.
    """
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise ValueError(f"betas must be two numbers, got {betas}")
    check("betas[0]", betas[0], below=1.0)
    check("betas[1]", betas[1], below=1.0)
