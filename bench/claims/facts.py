"""Claims about what an algorithm is, settled by running it: no race and no interval is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from bench.data import Dataset, as_dataset, digits, regression
from bench.losses import Loss, as_printed
from models.linear import LinearRegression
from models.mlp import MLP
from models.textcnn import TextCNN, TextCNNAsPrinted
from optimizers.as_printed import PredictionAsPrinted, ThetasAsPrinted

SEEDS = (0, 1, 2)
"""Of initial weights and batch order, in checks that train."""

BATCH_SIZE = 64

ROUNDING = 1e-9
"""Relative difference that is put down to rounding, in double precision."""

LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
"""Adam's settings, where its arithmetic is checked."""


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        holds: Whether what the article says is so, whatever the check is called; a claim of several parts holds where
            all of them do.
        numbers: What was counted and computed, all finite, by names to quote them by.
    """

    holds: bool
    numbers: dict[str, float | int | str]


def printed_adam_ignores_gradient() -> Finding:
    """Whether the three steps that article 1 prints as Adam (`PredictionAsPrinted`) train a model at all.

    The MLP is trained on the digits from the same start, on the same batches, once to lower its loss and once to raise
    it. A rule that looks at gradients ends at other weights; one that ends at the same weights to the bit learns
    nothing from them. The claim holds where the rule is moved by gradients and ends below half the validation loss of
    the best constant output. Beside it torch's Adam.
    """
    data = as_dataset(digits.load())
    counts = data.splits["val"][1].bincount(minlength=data.spec.num_outputs)
    constant = (counts / counts.sum()).log()
    return _learns(PredictionAsPrinted, {"lr": 1e-3}, MLP, data, functional.cross_entropy, constant, num_epochs=5)


def printed_update_ignores_gradient() -> Finding:
    """Whether the update that article 2 prints as Adam's (`ThetasAsPrinted`) trains the article's linear model at all.

    As `printed_adam_ignores_gradient`, with Linear(10, 1), mean squared error, 100 epochs and, for torch's Adam, the
    learning rate 0.01 of the article's listing. The printed rule moves all weights to nearly 0, whatever the targets
    are, so its loss goes to about that of the best constant output, from above or below as it began.
    """
    data = as_dataset(regression.load())
    constant = data.splits["val"][1].mean(dim=0)
    return _learns(ThetasAsPrinted, {"lr": 1e-2}, LinearRegression, data, functional.mse_loss, constant, num_epochs=100)


def moments_kept() -> Finding:
    """Whether Adam keeps three moments, and combines L-BFGS with RMSprop.

    Moments are tensors of a parameter's shape in the state of torch's Adam: they are counted, with their bytes.

    RMSprop is in it: with beta1 = 0, Adam is torch's RMSprop of alpha = beta2 whose lr and eps are both multiplied
    by sqrt(1 - beta2^t) at step t, which undoes the bias correction (both add eps outside the root). L-BFGS is not:
    it multiplies the gradient by a matrix made of curvature pairs, so one coordinate's steps depend on the others'
    gradients. Of x^2 + c y^2, c is changed and the path of x compared.
    """
    param = _vector(10, torch.float32)
    adam = torch.optim.Adam([param])
    param.grad = torch.ones_like(param)
    adam.step()
    moments = {name: kept for name, kept in adam.state[param].items() if kept.shape == param.shape}
    num_bytes = sum(kept.numel() * kept.element_size() for kept in moments.values())

    ours, theirs = _vector(100), _vector(100)
    adam = torch.optim.Adam([ours], lr=LR, betas=(0.0, BETA2), eps=EPS)
    rmsprop = torch.optim.RMSprop([theirs], alpha=BETA2)
    for t, gradient in enumerate(_gradients(), 1):
        uncorrected = math.sqrt(1 - BETA2**t)
        rmsprop.param_groups[0].update(lr=LR * uncorrected, eps=EPS * uncorrected)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adam.step()
        rmsprop.step()
    start = _vector(100)
    rmsprop_difference = _difference(ours - start, theirs - start)

    adam_coupling, num_adam_pairs = _coupling(lambda params: torch.optim.Adam(params, lr=0.1))
    lbfgs_coupling, num_lbfgs_pairs = _coupling(lambda params: torch.optim.LBFGS(params, lr=0.1, max_iter=4))
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
    """Whether the gradient that an optimizer is given is the output minus the target.

    For the mean squared error of a linear model on n examples X, autograd's gradient with respect to the weights is
    (2/n) X^T (output - target). Output minus target has a number an example, not one a weight; the reading that fits
    gives every weight its mean. It holds where that is the gradient up to a positive factor: where the cosine between
    the two is 1. How far plain gradient descent gets with each is beside it.

    Partly right is the claim of another gradient, with respect to the output: there it is output - target times 2/n;
    for cross-entropy with respect to logits it is (softmax - one-hot) / n, not (logits - one-hot) / n.
    """
    data = as_dataset(regression.load())
    inputs, targets = data.splits["train"]
    with _fresh(SEEDS[0]):
        model = LinearRegression(data.spec.input_shape, data.spec.num_outputs)
    weight = model.linear.weight
    outputs = model(inputs)
    loss = functional.mse_loss(outputs, targets)
    by_weight, by_output = torch.autograd.grad(loss, [weight, outputs])
    residual = (outputs - targets).detach()
    formula = 2 / len(inputs) * residual.T @ inputs
    read = residual.mean().expand_as(by_weight)
    cosine = float(functional.cosine_similarity(by_weight.flatten(), read.flatten(), dim=0))

    ends = {}
    for name in ("gradient", "residual"):
        with _fresh(SEEDS[0]):
            model = LinearRegression(data.spec.input_shape, data.spec.num_outputs)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(100):
            sgd.zero_grad()
            outputs = model(inputs)
            functional.mse_loss(outputs, targets).backward()
            if name == "residual":
                for param in model.parameters():
                    param.grad = (outputs - targets).detach().mean().expand_as(param).clone()
            sgd.step()
        ends[name] = float(functional.mse_loss(model(inputs), targets).detach())

    images = as_dataset(digits.load())
    pixels, classes = images.splits["train"]
    with _fresh(SEEDS[0]):
        logits = MLP(images.spec.input_shape, images.spec.num_outputs)(pixels)
    (by_logit,) = torch.autograd.grad(functional.cross_entropy(logits, classes), [logits])
    one_hot = functional.one_hot(classes, images.spec.num_outputs)
    by_logit = by_logit * len(pixels)
    return Finding(
        cosine > 1 - 1e-6,
        {
            "num_weights": weight.numel(),
            "num_residuals": residual.numel(),
            "formula_difference": _difference(by_weight, formula),
            "cosine": cosine,
            "factor_at_output": float((by_output * len(inputs)).norm() / residual.norm()),
            "loss_before": float(loss.detach()),
            "loss_after_gradient": ends["gradient"],
            "loss_after_residual": ends["residual"],
            "softmax_difference": _difference(by_logit, logits.softmax(dim=1) - one_hot),
            "logit_difference": _difference(by_logit, logits - one_hot),
        },
    )


def printed_cross_entropy() -> Finding:
    """Whether what article 4 prints as cross-entropy, sum(outputs * labels) / (2 max(outputs)), is a usable loss.

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
                model = _trained(torch.optim.Adam, {"lr": lr}, MLP, data, loss_of, 20, seed)
                found.append(float((model(inputs).argmax(dim=1) == targets).float().mean()))
                if name == "printed":
                    down_after.append(_pushed_down(model, inputs, targets))
        best = max(accuracies, key=lambda lr: fmean(accuracies[lr]))
        numbers |= {f"{name}_lr": best, f"{name}_accuracy": fmean(accuracies[best])}
        numbers |= {f"{name}_lowest": min(accuracies[best]), f"{name}_highest": max(accuracies[best])}
    down_before = []
    for seed in SEEDS:
        with _fresh(seed):
            down_before.append(_pushed_down(MLP(data.spec.input_shape, data.spec.num_outputs), inputs, targets))
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
    """Whether there is anything of SARSA, a reinforcement-learning algorithm, in Adam's update.

    On the same gradients, Adam's steps are the momentum buffer of torch's SGD over the root of the mean square of
    torch's RMSprop, both corrected for their start at 0. That accounts for all of it, so nothing is left over. And
    what SARSA lives on does not matter: Q(s, a) += alpha (r + gamma Q(s', a') - Q(s, a)) reads the value that it
    updates and a reward; Adam makes the same steps from another value, whatever loss its closure returns.

    References:
        Sutton and Barto, "Reinforcement Learning: An Introduction", 2nd edition, 2018, section 6.4, eq. 6.7.
    """
    start = _vector(100)
    param, other = _vector(100), nn.Parameter(start.detach() + 1)
    adam = torch.optim.Adam([param], lr=LR, betas=(BETA1, BETA2), eps=EPS)
    elsewhere = torch.optim.Adam([other], lr=LR, betas=(BETA1, BETA2), eps=EPS)
    part = _vector(100)
    momentum = torch.optim.SGD([part], momentum=BETA1, dampening=BETA1)
    momentum.state[part]["momentum_buffer"] = torch.zeros_like(part)  # torch's own first buffer is the gradient
    rmsprop = torch.optim.RMSprop([part], alpha=BETA2)
    moved = torch.zeros_like(start)
    gradients = _gradients()
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
    difference = _difference(param - start, moved)
    by_value_and_reward = _difference(param - start, other - (start + 1))
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
    """Whether the network 100 -> 256 -> 10 that article 5 prints is a TextCNN.

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
        with _fresh(SEEDS[0]), torch.no_grad():
            model = kind((length,), num_classes, num_tokens).double().eval()
            outputs, afterwards = model(texts), model(shuffled)
        numbers[f"num_convolutions_{name}"] = sum(
            isinstance(module, nn.Conv1d | nn.Conv2d) for module in model.modules()
        )
        numbers[f"order_change_{name}"] = float((outputs - afterwards).abs().max() / outputs.abs().max())
    return Finding(
        int(numbers["num_convolutions_printed"]) > 0 and float(numbers["order_change_printed"]) > ROUNDING, numbers
    )


def adamax_step_bound() -> Finding:
    """Whether no step of torch's AdaMax is longer than lr, as its paper says: |Delta_t| <= alpha.

    Every number of a vector is a gradient sequence of its own. It holds where no sequence has a step above lr but for
    rounding. Random gradients come with scales of three orders of magnitude; the worst shrink as beta2^t.

    With u_t >= beta2^(t-i) |g_i|, the i-th gradient adds at most (1 - beta1) (beta1 / beta2)^(t-i) to the first
    moment over u_t, and the geometric sequence g_t = beta2^t adds just that. So the least upper bound at step t is
    lr (1 - beta1) / (1 - beta1^t) * (1 - r^t) / (1 - r) with r = beta1 / beta2: lr itself at t = 1, then rising to
    lr (1 - beta1) / (1 - r). Where beta2 is at most beta1 it rises without end. A shorter memory of beta2 = 0.95 is
    set beside the default to show what the bound depends on.

    References:
        Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR, 2015, section 7.1.
    """
    num_steps = 500
    short = 0.95
    random = _longest_step(_gradients(num_steps, 1000))
    shrinking = _longest_step(_shrinking(BETA2, num_steps))
    ratio = BETA1 / BETA2
    return Finding(
        max(random, shrinking) <= 1 + ROUNDING,
        {
            "num_steps": num_steps,
            "num_random": 1000,
            "longest_random": random,
            "longest_shrinking": shrinking,
            "least_upper_bound": (1 - BETA1) / (1 - ratio),
            "longest_first": _longest_step(_shrinking(BETA2, 1)),
            "short_beta2": short,
            "longest_short": _longest_step(_shrinking(short, num_steps), beta2=short),
        },
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


@contextmanager
def _fresh(seed: int) -> Iterator[None]:
    """Initial weights of that seed; the global generator is afterwards what it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPUs' generators too
        yield


@contextmanager
def _one_thread() -> Iterator[None]:
    """Two threads add in another order, and the printed losses make much of the last digit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _trained(
    rule: Callable[..., Optimizer],
    settings: dict[str, Any],
    kind: Callable[[Sequence[int], int], nn.Module],
    data: Dataset,
    loss_of: Loss,
    num_epochs: int,
    seed: int,
) -> nn.Module:
    """A model of that kind, trained; at 0 epochs as it begins."""
    with _fresh(seed):
        model = kind(data.spec.input_shape, data.spec.num_outputs)
    optimizer = rule(model.parameters(), **settings)
    num_steps = num_epochs * data.steps_per_epoch(BATCH_SIZE)
    with _one_thread():
        for inputs, targets in islice(data.shuffled(BATCH_SIZE, seed), num_steps):
            optimizer.zero_grad()
            loss_of(model(inputs), targets).backward()
            optimizer.step()
    return model


def _learns(
    printed: Callable[..., Optimizer],
    settings: dict[str, Any],
    kind: Callable[[Sequence[int], int], nn.Module],
    data: Dataset,
    loss_of: Loss,
    constant: Tensor,
    num_epochs: int,
) -> Finding:
    """Whether a printed rule is moved by gradients, and gets below half the loss of the best constant output.

    Args:
        printed: The rule, at its own settings.
        settings: Of torch's Adam, which is run beside it.
        kind: The model.
        data: What it is trained on; its val split is what losses are of.
        loss_of: What is minimised.
        constant: The best constant output, shape (num_outputs,).
        num_epochs: The budget.
    """
    inputs, targets = data.splits["val"]

    def loss(model: nn.Module) -> float:
        with torch.no_grad():
            return float(loss_of(model(inputs), targets))

    def raised(outputs: Tensor, wanted: Tensor) -> Tensor:
        return -loss_of(outputs, wanted)

    rules: dict[str, tuple[Callable[..., Optimizer], dict[str, Any]]] = {
        "printed": (printed, {}),
        "adam": (torch.optim.Adam, settings),
    }
    before = fmean(loss(_trained(printed, {}, kind, data, loss_of, 0, seed)) for seed in SEEDS)
    without_inputs = float(loss_of(constant.expand(len(inputs), -1), targets))
    numbers: dict[str, float | int | str] = {"num_epochs": num_epochs, "num_seeds": len(SEEDS)}
    numbers |= {"loss_before": before, "loss_without_inputs": without_inputs}
    for name, (rule, given) in rules.items():
        after, differences = [], []
        for seed in SEEDS:
            lowered = _trained(rule, given, kind, data, loss_of, num_epochs, seed)
            other = _trained(rule, given, kind, data, raised, num_epochs, seed)
            after.append(loss(lowered))
            differences += [
                float((a - b).detach().abs().max())
                for a, b in zip(lowered.parameters(), other.parameters(), strict=True)
            ]
        numbers |= {f"{name}_loss_after": fmean(after), f"{name}_difference_by_gradient": max(differences)}
    is_moved = float(numbers["printed_difference_by_gradient"]) > 0
    return Finding(is_moved and float(numbers["printed_loss_after"]) < without_inputs / 2, numbers)


def _pushed_down(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Share of examples whose output of the right class falls as the printed loss of all of them is lowered."""
    outputs = model(inputs)
    (gradient,) = torch.autograd.grad(as_printed(outputs, targets), [outputs])
    return float((gradient.gather(1, targets.unsqueeze(1)) > 0).float().mean())


def _coupling(make: Callable[[list[nn.Parameter]], Optimizer]) -> tuple[float, int]:
    """How far x goes elsewhere on x^2 + c y^2 when c changes from 1 to 10, and how many curvature pairs are kept."""

    def end(c: float) -> tuple[float, int]:
        point = nn.Parameter(torch.ones(2, dtype=torch.float64))
        optimizer = make([point])

        def closure() -> float:
            optimizer.zero_grad()
            loss = point[0] ** 2 + c * point[1] ** 2
            loss.backward()
            return float(loss.detach())

        for _ in range(3):
            optimizer.step(closure)
        return float(point[0].detach()), len(optimizer.state[point].get("old_dirs", []))

    (x, num_pairs), (elsewhere, _) = end(1.0), end(10.0)
    return abs(x - elsewhere), num_pairs


def _vector(size: int, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(SEEDS[0]), dtype=dtype))


def _gradients(num_steps: int = 200, size: int = 100) -> Tensor:
    """Random gradients of three orders of magnitude, (num_steps, size), in double precision."""
    random = torch.Generator().manual_seed(SEEDS[1])
    scale = 10.0 ** torch.randint(-1, 2, (num_steps, 1), generator=random)
    return scale * torch.randn(num_steps, size, generator=random, dtype=torch.float64)


def _longest_step(gradients: Tensor, beta2: float = BETA2) -> float:
    """The longest step of torch's AdaMax over its learning rate, of gradients (num_steps, size)."""
    param = nn.Parameter(torch.zeros_like(gradients[0]))
    adamax = torch.optim.Adamax([param], lr=LR, betas=(BETA1, beta2), eps=EPS)
    longest = 0.0
    for gradient in gradients:
        param.data.zero_()  # a step is then read to its last digit
        param.grad = gradient.clone()
        adamax.step()
        longest = max(longest, float(param.detach().abs().max()) / LR)
    return longest


def _shrinking(factor: float, num_steps: int) -> Tensor:
    """Gradients factor^t, (num_steps, 1), the last of them 1: far above eps."""
    return (factor ** torch.arange(1.0 - num_steps, 1.0, dtype=torch.float64)).unsqueeze(1)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Distance of two tensors relative to the norm of the second."""
    return float((ours - theirs).detach().norm() / theirs.detach().norm())
