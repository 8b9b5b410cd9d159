"""Executable checks of statements of fact in the articles."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

import torch
from torch import nn
from torch.nn import functional

from bench.claims.checks.harness import (
    BATCH_SIZE,
    BETA1,
    BETA2,
    EPS,
    LR,
    ROUNDING,
    SEEDS,
    Finding,
    decay_coupling,
    flat_vector,
    fresh_model,
    gradients_of,
    largest_difference,
    model_learns,
    pushed_down,
    trained_model,
)
from bench.claims.checks.papers import adamax_step_bound
from bench.claims.checks.printed import PredictionAsPrinted, TextCNNAsPrinted, ThetasAsPrinted, as_printed
from bench.data import digits, regression
from bench.data.dataset import Dataset, as_dataset
from bench.training.losses import Loss
from models.linear import LinearRegression
from models.mlp import MLP
from models.textcnn import TextCNN


def printed_adam_ignores_gradient() -> Finding:
    """Tell whether the three steps that article 1 prints as Adam (`PredictionAsPrinted`) train a model at all.

    The MLP is trained on the digits from the same start, on the same batches, once to lower its loss and once to raise
    it. A rule that looks at gradients ends at other weights; one that ends at the same weights to the bit learns
    nothing from them. The claim holds where the rule is moved by gradients and ends below half the validation loss of
    the best constant output. Beside it torch's Adam.
    """
    data = as_dataset(digits.load())
    counts = data.splits["val"][1].bincount(minlength=data.spec.num_outputs)
    constant = (counts / counts.sum()).log()
    return model_learns(PredictionAsPrinted, {"lr": 1e-3}, MLP, data, functional.cross_entropy, constant, num_epochs=5)


def printed_update_ignores_gradient() -> Finding:
    """Tell whether the update that article 2 prints as Adam's (`ThetasAsPrinted`) trains the article's linear model at all.

    As `printed_adam_ignores_gradient`, with Linear(10, 1), mean squared error, 100 epochs and, for torch's Adam, the
    learning rate 0.01 of the article's listing. The printed rule moves all weights to nearly 0, whatever the targets
    are, so its loss goes to about that of the best constant output, from above or below as it began.
    """
    data = as_dataset(regression.load())
    constant = data.splits["val"][1].mean(dim=0)
    return model_learns(
        ThetasAsPrinted, {"lr": 1e-2}, LinearRegression, data, functional.mse_loss, constant, num_epochs=100
    )


def moments_kept() -> Finding:
    """Tell whether Adam keeps three moments, and combines L-BFGS with RMSprop.

    Moments are tensors of a parameter's shape in the state of torch's Adam: they are counted, with their bytes.

    RMSprop is in it: with beta1 = 0, Adam is torch's RMSprop of alpha = beta2 whose lr and eps are both multiplied
    by sqrt(1 - beta2^t) at step t, which undoes the bias correction (both add eps outside the root). L-BFGS is not:
    it multiplies the gradient by a matrix made of curvature pairs, so one coordinate's steps depend on the others'
    gradients. Of x^2 + c y^2, c is changed and the path of x compared.
    """
    param = flat_vector(10, torch.float32)
    adam = torch.optim.Adam([param])
    param.grad = torch.ones_like(param)
    adam.step()
    moments = {name: kept for name, kept in adam.state[param].items() if kept.shape == param.shape}
    num_bytes = sum(kept.numel() * kept.element_size() for kept in moments.values())

    ours, theirs = flat_vector(100), flat_vector(100)
    adam = torch.optim.Adam([ours], lr=LR, betas=(0.0, BETA2), eps=EPS)
    rmsprop = torch.optim.RMSprop([theirs], alpha=BETA2)
    for t, gradient in enumerate(gradients_of(), 1):
        uncorrected = math.sqrt(1 - BETA2**t)
        rmsprop.param_groups[0].update(lr=LR * uncorrected, eps=EPS * uncorrected)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adam.step()
        rmsprop.step()
    start = flat_vector(100)
    rmsprop_difference = largest_difference(ours - start, theirs - start)

    adam_coupling, num_adam_pairs = decay_coupling(lambda params: torch.optim.Adam(params, lr=0.1))
    lbfgs_coupling, num_lbfgs_pairs = decay_coupling(lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=4))
    return Finding(
        len(moments) == 3 and rmsprop_difference < ROUNDING and adam_coupling > ROUNDING,
        {
            "num_moments": len(moments),
            "moments": ", ".join(moments),
            "bytes_per_parameter": num_bytes / param.numel(),
            "rmsprop_difference": rmsprop_difference,
            "adam_coupling": adam_coupling,
            "lbfgs_coupling": lbfgs_coupling,
            "num_curvature_pairs_adam": num_adam_pairs,
            "num_curvature_pairs_lbfgs": num_lbfgs_pairs,
        },
    )


def gradient_is_output_minus_target() -> Finding:
    """Tell whether the gradient that an optimizer is given is the output minus the target.

    For the mean squared error of a linear model on n examples X, autograd's gradient with respect to the weights is
    (2/n) X^T (output - target). Output minus target has a number an example, not one a weight; the reading that fits
    gives every weight its mean. It holds where that is the gradient up to a positive factor: where the cosine between
    the two is 1. How far plain gradient descent gets with each is beside it.

    Partly right is the claim of another gradient, with respect to the output: there it is output - target times 2/n;
    for cross-entropy with respect to logits it is (softmax - one-hot) / n, not (logits - one-hot) / n.
    """
    data = as_dataset(regression.load())
    inputs, targets = data.splits["train"]
    with fresh_model(SEEDS[0]):
        model = LinearRegression(data.spec.input_shape, data.spec.num_outputs)
    weight = model.linear.weight
    outputs = model(inputs)
    loss = functional.mse_loss(outputs, targets)
    by_weight, by_output = torch.autograd.grad(loss, [weight, outputs])
    residual = (outputs - targets).detach()
    formula = 2 / len(inputs) * residual.T @ inputs
    read = residual.mean().expand_as(by_weight)
    cosine = float(functional.cosine_similarity(by_weight.flatten(), read.flatten(), dim=0))

    ends = {name: _descended(data, by_residual=name == "residual") for name in ("gradient", "residual")}

    images = as_dataset(digits.load())
    pixels, classes = images.splits["train"]
    with fresh_model(SEEDS[0]):
        logits = MLP(images.spec.input_shape, images.spec.num_outputs)(pixels)
    (by_logit,) = torch.autograd.grad(functional.cross_entropy(logits, classes), [logits])
    one_hot = functional.one_hot(classes, images.spec.num_outputs)
    by_logit = by_logit * len(pixels)
    return Finding(
        cosine > 1 - 1e-6,
        {
            "num_weights": weight.numel(),
            "num_residuals": residual.numel(),
            "formula_difference": largest_difference(by_weight, formula),
            "cosine": cosine,
            "factor_at_output": float((by_output * len(inputs)).norm() / residual.norm()),
            "loss_before": float(loss.detach()),
            "loss_after_gradient": ends["gradient"],
            "loss_after_residual": ends["residual"],
            "softmax_difference": largest_difference(by_logit, logits.softmax(dim=1) - one_hot),
            "logit_difference": largest_difference(by_logit, logits - one_hot),
        },
    )


def _descended(data: Dataset, by_residual: bool) -> float:
    """Return the training loss of a linear model after 100 steps of SGD.

    Args:
        data: What is fitted.
        by_residual: Whether every parameter is given the mean of output minus target, in place of its gradient.
    """
    inputs, targets = data.splits["train"]
    with fresh_model(SEEDS[0]):
        model = LinearRegression(data.spec.input_shape, data.spec.num_outputs)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(100):
        sgd.zero_grad()
        outputs = model(inputs)
        functional.mse_loss(outputs, targets).backward()
        if by_residual:
            for param in model.parameters():
                param.grad = (outputs - targets).detach().mean().expand_as(param).clone()
        sgd.step()
    return float(functional.mse_loss(model(inputs), targets).detach())


def printed_cross_entropy() -> Finding:
    """Tell whether what article 4 prints as cross-entropy, sum(outputs * labels) / (2 max(outputs)), is a usable loss.

    The MLP is trained on the digits by Adam for the article's 20 epochs with the printed loss, its negative, and
    cross-entropy, each at the article's two learning rates, of which the better is taken, by mean test accuracy over
    seeds. It is usable where its accuracy is nearer to cross-entropy's than to that of the most frequent class.

    As long as the largest output of a batch is positive, lowering this loss lowers the output of the right class.
    Once all outputs are negative so is the denominator, and the sign of the gradient turns: from there on it raises
    it, and accuracy slowly climbs. The shares of test examples whose right class is pushed down say so, before and
    after (both learning rates).
    """
    data = as_dataset(digits.load())
    inputs, targets = data.splits["test"]
    choices: dict[str, Loss] = {
        "printed": as_printed,
        "negated": lambda outputs, wanted: -as_printed(outputs, wanted),
        "cross_entropy": functional.cross_entropy,
    }
    numbers: dict[str, float | int | str] = {"num_epochs": 20, "num_seeds": len(SEEDS)}
    down_after: list[float] = []
    for name, loss_of in choices.items():
        accuracies: dict[float, list[float]] = {1e-2: [], 1e-3: []}
        for lr, found in accuracies.items():
            for seed in SEEDS:
                model = trained_model(torch.optim.Adam, {"lr": lr}, MLP, data, loss_of, 20, seed)
                found.append(float((model(inputs).argmax(dim=1) == targets).float().mean()))
                if name == "printed":
                    down_after.append(pushed_down(model, inputs, targets))
        best = max(accuracies, key=lambda lr: fmean(accuracies[lr]))
        numbers |= {f"{name}_lr": best, f"{name}_accuracy": fmean(accuracies[best])}
        numbers |= {f"{name}_lowest": min(accuracies[best]), f"{name}_highest": max(accuracies[best])}
    down_before = []
    for seed in SEEDS:
        with fresh_model(seed):
            down_before.append(pushed_down(MLP(data.spec.input_shape, data.spec.num_outputs), inputs, targets))
    chance = float(targets.bincount().max()) / len(targets)
    numbers |= {
        "chance": chance,
        "pushed_down_before": fmean(down_before),
        "pushed_down_after": fmean(down_after),
    }
    return Finding(
        float(numbers["printed_accuracy"]) > (chance + float(numbers["cross_entropy_accuracy"])) / 2, numbers
    )


def combines_sarsa() -> Finding:
    """Tell whether there is anything of SARSA, a reinforcement-learning algorithm, in Adam's update.

    On the same gradients, Adam's steps are the momentum buffer of torch's SGD over the root of the mean square of
    torch's RMSprop, both corrected for their start at 0. That accounts for all of it, so nothing is left over. And
    what SARSA lives on does not matter: Q(s, a) += alpha (r + gamma Q(s', a') - Q(s, a)) reads the value that it
    updates and a reward; Adam makes the same steps from another value, whatever loss its closure returns.

    References:
        Sutton and Barto, "Reinforcement Learning: An Introduction", 2nd edition, 2018, section 6.4, eq. 6.7.
    """
    start = flat_vector(100)
    param, other = flat_vector(100), nn.Parameter(start.detach() + 1)
    adam = torch.optim.Adam([param], lr=LR, betas=(BETA1, BETA2), eps=EPS)
    elsewhere = torch.optim.Adam([other], lr=LR, betas=(BETA1, BETA2), eps=EPS)
    part = flat_vector(100)
    momentum = torch.optim.SGD([part], momentum=BETA1, dampening=BETA1)
    momentum.state[part]["momentum_buffer"] = torch.zeros_like(part)  # torch's own first buffer is the gradient
    rmsprop = torch.optim.RMSprop([part], alpha=BETA2)
    moved = torch.zeros_like(start)
    gradients = gradients_of()
    for t, gradient in enumerate(gradients, 1):
        for each in (param, other, part):
            each.grad = gradient.clone()
        adam.step()
        elsewhere.step(lambda reward=float(t): reward)
        momentum.step()
        rmsprop.step()
        mean = momentum.state[part]["momentum_buffer"] / (1 - BETA1**t)
        root = (rmsprop.state[part]["square_avg"] / (1 - BETA2**t)).sqrt() + EPS
        moved = moved - LR * mean / root
    difference = largest_difference(param - start, moved)
    by_value_and_reward = largest_difference(param - start, other - (start + 1))
    return Finding(
        max(difference, by_value_and_reward) > ROUNDING,
        {
            "num_steps": len(gradients),
            "difference": difference,
            "difference_by_value_and_reward": by_value_and_reward,
            "state": ", ".join(sorted(adam.state[param])),
        },
    )


def printed_textcnn() -> Finding:
    """Tell whether the network 100 -> 256 -> 10 that article 5 prints is a TextCNN.

    Kim's TextCNN is convolutions over the words of a text: they are counted in both networks. And it sees the order
    of words: the words of random texts are shuffled, and the largest change of an output is set beside the largest
    output. That the printed network is given a mean of embeddings is our reading, without which it takes no text; it
    has no place for the order of words in any case, for it has no axis of words.
    """
    num_classes, num_tokens, length = 10, 1000, 20
    random = torch.Generator().manual_seed(SEEDS[0])
    texts = torch.randint(1, num_tokens, (BATCH_SIZE, length), generator=random)
    order = torch.stack([torch.randperm(length, generator=random) for _ in texts])
    shuffled = texts.gather(1, order)
    numbers: dict[str, float | int | str] = {}
    for name, kind in {"printed": TextCNNAsPrinted, "textcnn": TextCNN}.items():
        with fresh_model(SEEDS[0]), torch.no_grad():
            model = kind((length,), num_classes, num_tokens).double().eval()
            outputs, afterwards = model(texts), model(shuffled)
        numbers[f"num_convolutions_{name}"] = sum(
            isinstance(module, nn.Conv1d | nn.Conv2d) for module in model.modules()
        )
        numbers[f"order_change_{name}"] = float((outputs - afterwards).abs().max() / outputs.abs().max())
    return Finding(
        int(numbers["num_convolutions_printed"]) > 0 and float(numbers["order_change_printed"]) > ROUNDING, numbers
    )


FACTS: dict[str, Callable[[], Finding]] = {
    check.__name__: check
    for check in (
        printed_adam_ignores_gradient,
        moments_kept,
        gradient_is_output_minus_target,
        printed_update_ignores_gradient,
        printed_cross_entropy,
        combines_sarsa,
        printed_textcnn,
        adamax_step_bound,
    )
}
"""Checks by name. Each is deterministic, needs no network and a few seconds, and leaves torch as it found it."""
