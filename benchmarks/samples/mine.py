"""A user's own optimizer, model and data, for the commands of `same_results.py`."""

import torch


class Mine(torch.optim.Optimizer):
    """Descend by the sign of the gradient, with a fault of choice in the third step."""

    def __init__(self, params, lr=1e-3, trouble=None):
        if trouble == "constructor":
            raise KeyError("no good")
        super().__init__(params, {"lr": lr})
        self.trouble, self.calls = trouble, 0

    @torch.no_grad()
    def step(self, closure=None):
        self.calls += 1
        if self.calls == 3 and self.trouble == "raise":
            raise RuntimeError("gave up")
        if self.calls == 3 and self.trouble == "memory":
            torch.empty(2**60)
        for p in self.param_groups[0]["params"]:
            p.sub_(self.param_groups[0]["lr"] * p.grad.sign())
            if self.calls == 3 and self.trouble == "blowup":
                p.fill_(float("nan"))


class Net(torch.nn.Sequential):
    """Classify by one hidden layer, with dropout."""

    def __init__(self, input_shape, num_outputs, width=8):
        num_inputs = torch.Size(input_shape).numel()
        super().__init__(
            torch.nn.Flatten(),
            torch.nn.Linear(num_inputs, width),
            torch.nn.Dropout(0.5),
            torch.nn.Linear(width, num_outputs),
        )


def line(size=200):
    """Return three splits of a linear relation without noise, inputs (size, 4) and targets (size, 1)."""
    inputs = torch.randn(3 * size, 4, generator=torch.Generator().manual_seed(0))
    targets = inputs @ torch.tensor([[1.0], [-2.0], [3.0], [0.5]])
    return tuple(zip(inputs.split(size), targets.split(size), strict=True))
