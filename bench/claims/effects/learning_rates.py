"""Effects of and on the learning rate: width of the good range, the best rate, what a choice costs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.analysis.bounds import Sample
from bench.analysis.tuning import basin_width, best_of_k
from bench.claims.effects.evidence import RATES, NotMeasured, Pair, bounds_between, common_seeds, sample_of


def _rates(pair: Pair, side: str) -> pd.DataFrame:
    """Return the final validation loss by seed and learning rate of runs at every rate; inf where a run diverged."""
    runs = pair.evidence.of(pair.workload, side, RATES)
    loss = runs["final_val_loss"].astype(float).where(runs["status"] == "ok", math.inf)
    table = runs.assign(value=loss, lr=runs["lr"].astype(float))[["seed", "lr", "value"]]
    if not (np.isfinite(table["value"]) & (table["value"] > 0)).groupby(table["seed"]).any().all():
        raise NotMeasured("seed_diverged")
    return table


def basin(pair: Pair) -> Sample:
    """Compare the decades of learning rate that end within a tenth of a side's own lowest validation loss, by seed.

    A basin that reaches the lowest or highest rate tried is at least as wide.
    """
    bounds = []
    for side in (pair.a, pair.b):
        assert side is not None
        table = _rates(pair, side)
        finite = table[np.isfinite(table["value"])]
        worst = 1e3 * float(finite["value"].max())  # a run that diverged ends the basin right beside its rate
        table = table.assign(value=table["value"].clip(upper=worst), optimizer=table["seed"].astype(str), setting="")
        found = basin_width(table)
        widths = found["decades"].to_numpy(float)
        seeds = found["optimizer"].astype(int).to_numpy()
        at_most = np.where(found["open"] != "", math.inf, widths)
        bounds.append((pd.Series(widths, seeds), pd.Series(at_most, seeds)))
    return bounds_between(*bounds)


def best_rate(pair: Pair) -> Sample:
    """Compare log10 of the learning rate with the lowest final validation loss, by seed.

    It is the vertex of the parabola through the log losses of the best rate tried and its two neighbours; at the end of
    what was tried, or beside a run that diverged, the rate itself.
    """
    found = []
    for side in (pair.a, pair.b):
        assert side is not None
        by_seed = _rates(pair, side).sort_values("lr").groupby("seed")
        found.append(
            by_seed.apply(lambda runs: _vertex(np.log10(runs["lr"].to_numpy(float)), runs["value"].to_numpy(float)))
        )
    first, second = common_seeds(*found)
    return sample_of(first - second)


def _vertex(x: np.ndarray, loss: np.ndarray) -> float:
    best = int(np.argmin(loss))
    near = slice(best - 1, best + 2)
    if not 0 < best < len(x) - 1 or not np.isfinite(loss[near]).all() or (loss[near] <= 0).any():
        return float(x[best])
    bend, slope, _ = np.polyfit(x[near] - x[best], np.log(loss[near]), 2)
    return float(x[best] - slope / (2 * bend)) if bend > 0 else float(x[best])


def rate_matters(pair: Pair) -> Sample:
    """Compare the final validation loss a decade off the best learning rate, on the milder side, with the lowest."""
    table = _rates(pair, pair.a)
    found, high = [], []
    for _, group in table.groupby("seed"):
        group = group.sort_values("lr")
        rate, loss = np.log10(group["lr"].to_numpy(float)), group["value"].to_numpy(float)
        best = int(np.argmin(loss))
        off = [i for i in range(len(rate)) if abs(abs(rate[i] - rate[best]) - 1) < 0.26]
        if not off:
            continue
        mildest = float(min(loss[i] for i in off))
        bound = 100.0 * loss[best] if math.isinf(mildest) else mildest
        found.append(math.log(bound / loss[best]))
        high.append(math.inf if math.isinf(mildest) else found[-1])
    if len(found) < 2:
        raise NotMeasured("no_rate_a_decade_off")
    return Sample(np.array(found), np.array(high))


def best_of_three(pair: Pair) -> Sample:
    """Compare the final validation loss that three rates drawn at random give on average, by seed."""
    found = []
    for side in (pair.a, pair.b):
        assert side is not None
        by_seed = _rates(pair, side).groupby("seed")["value"]
        found.append(by_seed.apply(lambda losses: math.log(_expected_best(losses.to_numpy(float)))))
    first, second = common_seeds(*found)
    return sample_of(first - second)


def _expected_best(losses: np.ndarray) -> float:
    """Return the expected lowest of three of these; a run that diverged counts as no better than any that did not."""
    if len(losses) < 3:
        raise NotMeasured("too_few_rates")
    finite = losses[np.isfinite(losses)]
    return float(best_of_k(np.where(np.isfinite(losses), losses, finite.max()), [3])["expected"].iloc[0])
