"""The rules of `bench.analysis.diagnosis`: what is wrong with a run, and what to try.

Each states its threshold and where that comes from. A rule that needs a diagnostic which was not recorded says nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from bench.analysis.findings import NOTE, PROBLEM, Case, Finding
from bench.analysis.learning import LEAST_FALL


def _second_half(values: pd.Series) -> pd.Series:
    return values[values.index >= values.index[-1] / 2] if len(values) else values


def _first_above(values: pd.Series, limit: float) -> int:
    """Return the first step at which a value is above a limit; there must be one."""
    return int(values.index[int(np.argmax(values.to_numpy() > limit))])


def diverged(case: Case) -> Iterator[Finding]:
    """Say of a run whose loss left the finite numbers, or its limit, when and where: the first tensor that was not finite.

    Where that is not known, the layer whose gradient grew most.
    """
    if case.run["status"] != "diverged":
        return
    lower = "lower the learning rate, or clip gradients (train.clip_norm=1)"
    if isinstance(what := case.run.get("non_finite"), str):
        layer, step = case.run.get("non_finite_layer"), int(case.run["non_finite_step"])
        yield Finding(
            case.run_id, "diverged", PROBLEM, f"{case.run['reason']}; the first tensor that was not finite: {what}, at step {step:,}",
            lower, since=step, layer=layer if isinstance(layer, str) else "", override=case.with_lr(0.1),
        )  # fmt: skip
        return
    growth = {}
    for layer in case.layers("gradient_norm"):
        norms = case.of("gradient_norm", layer)
        if len(norms) > 1 and norms.iloc[0] > 0:
            growth[layer] = norms.iloc[-1] / norms.iloc[0]
    worst = max(growth, key=growth.__getitem__) if growth else ""
    grew = f"; the gradient of {worst} grew most, {growth[worst]:,.3g}-fold" if worst and growth[worst] > 2 else ""
    yield Finding(
        case.run_id, "diverged", PROBLEM, f"{case.run['reason']}{grew}",
        lower,
        since=int(case.run["num_steps"]), layer=worst, override=case.with_lr(0.1),
    )  # fmt: skip


MONOTONE = 0.9
"""Share of the way of a loss, up and down together, that goes down, from which on it falls steadily."""


SLOW_UPDATE = 1e-4
"""Size of the update beside the weights below which training crawls; 1e-3 is the usual advice (Karpathy 2019, "A recipe for
training neural networks")."""


def rate_too_low(case: Case) -> Iterator[Finding]:
    """Say of a run that ended while its loss still fell steadily, far from where it was going.

    Its validation loss lost less than half, nearly all the way down, and in the last fifth of the steps at least a tenth of
    what it lost in logarithms: half of the average rate. So larger steps have room. Or its updates are tiny beside the weights.
    """
    values = case.curve("val")
    if case.run["status"] != "ok" or len(values) < 6 or not (values > 0).all():
        return
    logs = np.log(values)
    moves = np.diff(logs.to_numpy())
    if not np.abs(moves).sum() or -moves[moves < 0].sum() / np.abs(moves).sum() < MONOTONE:
        return
    at = float(np.interp(0.8 * values.index[-1], values.index, logs))
    whole = logs.iloc[0] - logs.iloc[-1]
    late = (at - logs.iloc[-1]) / whole if whole > 0 else 0.0
    size = _second_half(case.of("update_to_weight")).median()
    crawls = not math.isnan(size) and size < SLOW_UPDATE
    if case.fall >= 0.5 or (late < 0.1 and not crawls):
        return
    beside = f"; its updates are {size:.1g} of the weights" if not math.isnan(size) else ""
    yield Finding(
        case.run_id, "learning rate too low", PROBLEM,
        f"the validation loss fell by {case.fall:.1%} only, steadily, and was still falling at the end{beside}",
        "raise the learning rate", override=case.with_lr(10),
    )  # fmt: skip


REBOUND = 1.5
"""Loss at the end over its lowest from which on it has gone up again, of training and validation alike."""


def rate_too_high(case: Case) -> Iterator[Finding]:
    """Say of a run whose loss goes to and fro or up: both losses end far above their lowest, or nothing is learnt and not for want of steps."""
    if case.run["status"] != "ok":
        return
    train, val = case.curve("train"), case.curve("val")
    if len(train) < 8 or len(val) < 4 or not (train > 0).all():
        return
    moves = np.diff(np.log(train.to_numpy()))
    down = -moves[moves < 0].sum() / max(np.abs(moves).sum(), 1e-300)
    blew_up = train.iloc[: max(4, len(train) // 2)].max() > 2 * train.iloc[0]
    smooth = train.rolling(3, min_periods=1).median()
    rebound = min(smooth.iloc[-1] / smooth.min(), val.iloc[-1] / val.min())
    turns = case.of("update_cosine")
    to_and_fro = len(turns) > 2 and _second_half(turns).median() < TO_AND_FRO
    stuck = case.fall < LEAST_FALL and down < 0.6 and blew_up
    if not (rebound > REBOUND or stuck or (blew_up and case.fall < 0.5) or (to_and_fro and case.fall < LEAST_FALL)):
        return
    seen = (
        f"the loss ends {rebound:.2g} times as high as it was at best, in training and validation"
        if rebound > REBOUND
        else f"the training loss went up to {train.max():.3g} from {train.iloc[0]:.3g}, and the validation loss changed by {-case.fall:+.0%}"
    )
    yield Finding(
        case.run_id, "learning rate too high", PROBLEM, seen, "lower the learning rate, or let it fall (schedule=cosine)",
        since=_first_above(train, REBOUND * train.iloc[0]) if blew_up else int(val.idxmin()),
        override=case.with_lr(0.1),
    )  # fmt: skip


TO_AND_FRO = -0.5
"""Cosine between updates in a row below which steps go to and fro rather than on."""


def stuck_at_chance(case: Case) -> Iterator[Finding]:
    """Say of a run that ends where a model would that knows how frequent the classes are and nothing else."""
    val = case.curve("val")
    if case.chance is None or case.run["status"] != "ok" or val.empty:
        return
    if abs(val.iloc[-1] / case.chance - 1) < 0.02 and val.min() > 0.95 * case.chance:
        yield Finding(
            case.run_id, "stuck at chance", PROBLEM,
            f"the validation loss ends at {val.iloc[-1]:.3g}; guessing by frequency gives {case.chance:.3g}",
            "change the learning rate by factors of 10 in both directions; if nothing helps, look at data and initialization",
        )  # fmt: skip


REACH = 1e-3
"""Gradient of the first layer over that of the last, each beside its weights, below which it vanishes, above 1 / REACH explodes."""


def gradient_flow(case: Case) -> Iterator[Finding]:
    """Say where gradients vanish or explode on their way to the first layer (Glorot and Bengio 2010)."""
    layers = case.layers("gradient_norm")
    sizes = {}
    for layer in layers:
        gradients, weights = case.of("gradient_norm", layer), case.of("weight_norm", layer)
        both = (gradients / weights.where(weights > 0)).dropna()
        if len(both):
            sizes[layer] = float(both.iloc[: max(1, len(both) // 2)].median())
    if len(sizes) < 3:
        return
    first, *_, last = sizes
    if not sizes[last] > 0:
        return
    reach = sizes[first] / sizes[last]
    if REACH < reach < 1 / REACH:
        return
    word, advice = (
        ("vanishing gradients", "use normalization, skip connections, ReLU or a wider initialization")
        if reach <= REACH
        else (
            "exploding gradients",
            "clip gradients (train.clip_norm=1), or use normalization or a smaller initialization",
        )
    )
    yield Finding(
        case.run_id, word, PROBLEM,
        f"the gradient of {first} beside its weights is {reach:.1e} times that of {last}", advice, layer=first,
        override="train.clip_norm=1" if reach > 1 else "",
    )  # fmt: skip


MOST_DEAD = 0.5


def dead_units(case: Case) -> Iterator[Finding]:
    """Say of which layer most units are 0 for whole batches (Lu et al. 2019)."""
    for layer in case.layers("dead_units"):
        shares = case.of("dead_units", layer)
        late = _second_half(shares).median()
        if late > MOST_DEAD:
            since = _first_above(shares, MOST_DEAD)
            yield Finding(
                case.run_id, "dead units", PROBLEM,
                f"{late:.0%} of the units behind {layer} are idle for whole batches",
                "lower the learning rate, or use a leaky activation or normalization", since=since, layer=layer,
                override=case.with_lr(0.1),
            )  # fmt: skip


MOST_UNCHANGED = 0.1


def lost_in_rounding(case: Case) -> Iterator[Finding]:
    """Say of a run in which many weights have a gradient and do not move, since updates are below their precision."""
    shares = case.of("unchanged")
    late = _second_half(shares).median()
    if late > MOST_UNCHANGED:
        since = _first_above(shares, MOST_UNCHANGED)
        yield Finding(
            case.run_id, "updates lost in rounding", PROBLEM, f"{late:.0%} of the weights with a gradient do not move",
            "raise the learning rate, or keep weights in a higher precision (device.precision=fp32)", since=since,
            override=case.with_lr(10),
        )  # fmt: skip


def overshooting(case: Case) -> Iterator[Finding]:
    """Say of a run whose steps raise the loss of their own batch (Nocedal and Wright 2006, chapter 4)."""
    late = _second_half(case.of("decrease_ratio"))
    if len(late) >= 3 and (late < 0).mean() > 0.5:
        yield Finding(
            case.run_id, "overshooting", PROBLEM,
            f"{(late < 0).mean():.0%} of the steps looked at raise the loss of their own batch", "lower the learning rate",
            since=int(late.index[0]), override=case.with_lr(0.3),
        )  # fmt: skip


def edge_of_stability(case: Case) -> Iterator[Finding]:
    """Note that the curvature is at the limit of what the learning rate allows, which is common and harmless (Cohen et al. 2021)."""
    if case.lr is None:
        return
    name = "preconditioned_sharpness" if len(case.of("preconditioned_sharpness")) else "sharpness"
    values = _second_half(case.of(name))
    limit = _stable_below(case, name)
    if limit is not None and len(values) >= 3 and 0.8 < values.median() / limit < 1.5:
        yield Finding(
            case.run_id, "edge of stability", NOTE,
            f"the {name.replace('_', ' ')} is {values.median():.3g}, where steps at this learning rate are stable below {limit:.3g}",
            "nothing: training commonly stays there", since=int(values.index[0]),
        )  # fmt: skip


def _stable_below(case: Case, name: str) -> float | None:
    """Return the sharpness below which steps of an optimizer on a parabola are stable; None where it is not known."""
    run, lr = case.run, case.lr
    target = str(run.get("optimizer_target"))
    if not lr:
        return None
    if name == "sharpness" and target.endswith("SGD"):
        momentum = run.get("hp_momentum")
        beta = 0.0 if momentum is None or pd.isna(momentum) else float(momentum)
        return None if run.get("hp_nesterov") is True else (2 + 2 * beta) / lr
    if name == "preconditioned_sharpness" and target.rpartition(".")[2] in ("Adam", "AdamW"):
        betas = run.get("hp_betas")
        beta = json.loads(betas)[0] if isinstance(betas, str) else 0.9
        return float((2 + 2 * beta) / ((1 - beta) * lr))
    return 2 / lr if name == "preconditioned_sharpness" and target.endswith("RMSprop") else None


OVERFIT = 1.2
"""Validation loss at the end over its lowest from which on a run has overfitted."""


def overfitting(case: Case) -> Iterator[Finding]:
    """Say of a run whose validation loss has risen while its training loss went on falling."""
    val, train = case.curve("val"), case.curve("train")
    if case.run["status"] != "ok" or len(val) < 5 or len(train) < 5 or not val.min() > 0:
        return
    best = int(val.idxmin())
    later = train[train.index > best]
    if val.iloc[-1] > OVERFIT * val.min() and best <= 0.8 * val.index[-1] and len(later) > 1:
        before = train[train.index <= best].iloc[-3:].median()
        if later.iloc[-3:].median() < 0.9 * before:
            yield Finding(
                case.run_id, "overfitting", PROBLEM,
                f"the validation loss was lowest at step {best:,} and ends {val.iloc[-1] / val.min():.2g} times as high, while the"
                " training loss went on falling",
                "keep the best weights (train.save_best=true), stop earlier, or add weight decay, dropout or augmentation",
                since=best, override="train.save_best=true",
            )  # fmt: skip


FAR = 10.0
"""Factor between batch and noise scale from which on one is far from the other."""


def batch_size(case: Case) -> Iterator[Finding]:
    """Note a batch far above or below the gradient noise scale (McCandlish et al. 2018)."""
    values = _second_half(case.of("noise_scale"))
    if len(values) < 3:
        return
    scale, batch = values.median(), float(case.run["batch_size"])
    if batch > FAR * scale or scale > FAR * batch:
        above = batch > scale
        yield Finding(
            case.run_id, "batch above the noise scale" if above else "batch below the noise scale", NOTE,
            f"the gradient noise scale is about {scale:,.2g} examples, the batch {batch:,.0f}",
            "smaller batches would cost little in steps" if above else "larger batches would save steps, in proportion",
            since=int(values.index[0]),
        )  # fmt: skip


def always_clipped(case: Case) -> Iterator[Finding]:
    """Note a run in which every gradient is clipped: then only its direction counts."""
    values = case.of("clipped")
    if len(values) >= 5 and values.mean() > 0.95:
        yield Finding(
            case.run_id, "always clipped", NOTE, f"{values.mean():.0%} of the gradients looked at are scaled down",
            "raise train.clip_norm if that is not intended",
        )  # fmt: skip


RULES: dict[str, Callable[[Case], Iterator[Finding]]] = {
    rule.__name__: rule
    for rule in (
        diverged, stuck_at_chance, rate_too_high, rate_too_low, gradient_flow, dead_units, overshooting, lost_in_rounding,
        overfitting, edge_of_stability, batch_size, always_clipped,
    )
}  # fmt: skip
"""All rules, what matters most first; a new one is a function from a `Case` to findings, and a line here."""


IMPLIES = {
    "diverged": {"learning rate too high", "overshooting", "edge of stability", "updates lost in rounding", "vanishing gradients"},
    "learning rate too high": {
        "overfitting", "stuck at chance", "dead units", "overshooting", "vanishing gradients", "exploding gradients",
        "updates lost in rounding",
    },
    "learning rate too low": {"stuck at chance", "updates lost in rounding"},
    "vanishing gradients": {"stuck at chance", "updates lost in rounding"},
    "updates lost in rounding": {"stuck at chance"},
    "dead units": {"stuck at chance", "vanishing gradients"},
}  # fmt: skip
"""Findings that are consequences of another in the same run, which alone is told."""
