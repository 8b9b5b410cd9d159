"""What articles print, as code: update rules under the name of Adam, a loss, and a model.

They are here to be run and judged, not to be used. No gradient occurs in the rules: they train nothing, and are no
reference for anything in `torch.optim`. What trains is `optimizers.adam`. Ids of runs hold the places where all of these
were first: see `MOVED` in `bench.config.identity`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from models.textcnn import PADDING, check_texts, check_whole, embedding
from optimizers.rule import check, check_betas


class WithoutGradient(Optimizer):
    """A `torch.optim.Optimizer` whose update is a function of the parameter and its past only."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter once, with or without a gradient: none is read.

        Args:
            closure: Evaluates the model anew and returns the loss; called once, before the update.

        Returns:
            What `closure` returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    self.update(param, self.state[param], group)
        return loss

    @abstractmethod
    def update(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Change `param` and `state` in place by one step.

        Args:
            param: The parameter; any shape.
            state: What the rule remembers of this parameter; empty at the first step.
            group: The hyperparameters.
        """


class PredictionAsPrinted(WithoutGradient):
    r"""What an article prints as the three steps of Adam: prediction, momentum, update.

    For each parameter, whose last two values are z_{t-1} and z_{t-2}, all operations element by element::

        p_t = .999 z_{t-1} + .01 z_{t-2}                  "prediction"
        q_t = p_t - .001 z_{t-1} + .002 z_{t-2}           "momentum"
        z_t = max(0, q_t - .01 p_t)                       "update"

    So z_t = max(0, .98801 z_{t-1} + .0119 z_{t-2}). The coefficients add up to .99991: after the first step no
    parameter is negative, and from then on all of them fade by about 1 / 11,000 a step.

    Args:
        params: Parameters or parameter groups. The article prints numbers only, so there is nothing to set.

    State: `previous`, z_{t-2}; before the first step it is the initial value.

    Differs from:
        The article, which writes z_t for the prediction and z for the rest. Read here: z is the parameter, and
        z_{t-1}, z_{t-2} are what it was after the last two steps. It could also be read with predictions in their
        place; no reading brings in a gradient, which the article does not mention. Adam's moments are averages of
        the gradient and of its square, and nothing in Adam keeps parameters from being negative.
    """

    def __init__(self, params: ParamsT) -> None:
        super().__init__(params, {})

    def update(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Predict, "momentum" and update."""
        before = param.clone()
        previous = state.get("previous", before)

        prediction = 0.999 * param + 0.01 * previous
        momentum = prediction - 0.001 * param + 0.002 * previous
        param.copy_((momentum - 0.01 * prediction).clamp(min=0))

        state["previous"] = before


class ThetasAsPrinted(WithoutGradient):
    r"""What another article prints as the parameter update of Adam.

    For each parameter p::

        p_t = theta1 p_{t-1} + theta2 / .999 theta3 theta2

    theta1 and theta2 are read as beta1 and beta2, theta3 as the learning rate; the .999 is printed as a number. So
    every parameter goes to one and the same value, theta2^2 theta3 / (.999 (1 - theta1)), .00999 by default,
    whatever it is a parameter of.

    Args:
        params: Parameters or parameter groups.
        lr: theta3 >= 0.
        betas: theta1 and theta2, each in [0, 1).

    Raises:
        ValueError: A hyperparameter is out of its range.

    Differs from:
        The article, which does not say what the thetas are and elsewhere calls three of them moments. No reading
        as numbers brings in a gradient; read as moments they would have to be made from one, and no line does.
    """

    def __init__(self, params: ParamsT, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        check("lr", lr)
        check_betas(betas)
        super().__init__(params, {"lr": lr, "betas": betas})

    def update(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Shrink by theta1 and add a constant."""
        (theta1, theta2), theta3 = group["betas"], group["lr"]

        param.mul_(theta1).add_(theta2 / 0.999 * theta3 * theta2)


def as_printed(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return sum(outputs * labels) / (2 max(outputs)), labels one-hot: what an article prints as cross-entropy.

    It is none: lowering it lowers the output of the right class. Nor is it a mean: it grows with the batch,
    and means of it over batches of one size compare with no others.
    """
    labels = functional.one_hot(targets, outputs.shape[-1])
    return (outputs * labels).sum() / (2 * outputs.max())


class TextCNNAsPrinted(nn.Module):
    """What an article calls a TextCNN: a linear layer and ReLU. There is no convolution in it.

    Printed are the linear layer 100 -> 256 and the ReLU alone. To make it a classifier that can be trained,
    the mean of a text's word embeddings goes in, and a linear layer 256 -> num_outputs follows.

    Args:
        input_shape: (length,) of the texts in tokens, padded with 0 at the end.
        num_outputs: Number of classes.
        num_tokens: Number of different tokens, the padding 0 among them.
        dim: Length of a word's embedding, at least 1.
        hidden: Width of the hidden layer, at least 1.

    Shapes:
        Input int64 (N, length), output (N, num_outputs).

    Raises:
        ValueError: The data is no text, or an option is out of its range.

    Differs from Kim (2014, arXiv:1408.5882), whose TextCNN is `TextCNN`, in all but the embeddings, which are
    trained and start uniform between -0.25 and 0.25 as there.
    """

    def __init__(
        self, input_shape: Sequence[int], num_outputs: int, num_tokens: int, dim: int = 100, hidden: int = 256
    ) -> None:
        super().__init__()
        check_texts("textcnn_as_printed", input_shape)
        check_whole(dim=dim, hidden=hidden)
        self.embedding = embedding(num_tokens, dim)
        self.fc = nn.Linear(dim, hidden)
        self.head = nn.Linear(hidden, num_outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores of the classes."""
        num_words = (inputs != PADDING).sum(dim=1, keepdim=True).clamp(min=1)
        mean = self.embedding(inputs).sum(dim=1) / num_words
        outputs: Tensor = self.head(functional.relu(self.fc(mean)))
        return outputs
