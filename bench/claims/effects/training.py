"""Effects on the course of training: memory, latency, roughness, spread, gradients, generalization."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from bench.analysis.bounds import Sample, Spread
from bench.claims.effects.evidence import DEFAULT, TUNED, NotMeasured, Pair, common_seeds, sample_of, undisturbed


def peak_memory(pair: Pair) -> Sample:
    """Compare peak memory in tensors, from the memory pass of each cell: bytes, in which nothing is random."""
    values = []
    for runs in pair.sides():
        known = runs["peak_tensors_mib"].dropna()
        if known.empty:
            raise NotMeasured("memory_not_measured", there=False)
        values.append(math.log(float(known.iloc[0])))
    difference = np.array([values[0] - values[1]])
    return Sample(difference, difference, exact=True)


def latency(pair: Pair) -> Sample:
    """Compare the time of a forward pass of the trained model for one example."""
    sides = [undisturbed(runs).set_index("seed") for runs in pair.sides()]
    if any("latency_ms" not in runs or runs["latency_ms"].isna().all() for runs in sides):
        raise NotMeasured("not_recorded", there=False, column="latency_ms")
    first, second = common_seeds(*(np.log(runs["latency_ms"].astype(float)) for runs in sides))
    return sample_of(first - second)


def roughness(pair: Pair) -> Sample:
    """Compare how far training losses stray from a local line, where both runs of a seed are at the same losses.

    The mean over points of |log loss - a straight line fitted to the 9 points around it|, over those points of each run
    that have four on either side and whose line lies between the losses that both runs of the pair pass through. Speed alone,
    which is slope, is no roughness.
    """
    sides = []
    for runs in pair.sides():
        points = pair.points(runs[runs["status"] == "ok"], "train", "loss")
        points = points[points["value"] > 0]
        seeds = runs.set_index("run_id")["seed"]
        sides.append(
            {int(seeds[run]): _trend(group) for run, group in points.groupby("run_id") if len(group) >= WINDOW}
        )
    differences = []
    for seed in sorted(set(sides[0]) & set(sides[1])):
        trends = [side[seed][0] for side in sides]
        low = max(float(np.min(trend)) for trend in trends)
        high = min(float(np.max(trend)) for trend in trends)
        rough = []
        for trend, apart in (side[seed] for side in sides):
            inside = (trend >= low) & (trend <= high)
            if inside.sum() >= ROUGH_POINTS:
                rough.append(float(np.abs(apart)[inside].mean()))
        if len(rough) == 2 and min(rough) > 0:
            differences.append(math.log(rough[0]) - math.log(rough[1]))
    if len(differences) < 2:
        raise NotMeasured("too_few_common_losses", points=ROUGH_POINTS)
    return sample_of(np.array(differences))


WINDOW = 9
"""Points of a training-loss curve to which a line is fitted."""


def _trend(points: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return a local line through log losses at the middle of each full window, and how far the loss there is from it."""
    steps, logs = (
        np.lib.stride_tricks.sliding_window_view(values, WINDOW)
        for values in (points["step"].to_numpy(float), np.log(points["value"].to_numpy(float)))
    )
    x = steps - steps.mean(axis=1, keepdims=True)
    slope = (x * logs).sum(axis=1) / (x**2).sum(axis=1)
    trend = logs.mean(axis=1) + slope * x[:, WINDOW // 2]
    return trend, logs[:, WINDOW // 2] - trend


ROUGH_POINTS = 8
"""Points of a training-loss curve within the losses in common from which its roughness is taken, at least."""


def seed_spread(pair: Pair) -> Spread:
    """Compare the standard deviation over seeds of the log of the final validation loss; nothing is paired."""
    values = []
    for runs in pair.sides():
        if (runs["status"] == "diverged").any():
            raise NotMeasured("spread_of_diverged")
        fall = runs["first_train_loss"].astype(float) / runs["final_val_loss"].astype(float)
        if fall.median() < LEAST_FALL:
            raise NotMeasured("hardly_trained")
        losses = runs["final_val_loss"].astype(float).to_numpy()
        values.append(np.log(losses[losses > 0]))
    if min(map(len, values)) < 3:
        raise NotMeasured("too_few_seeds_ended")
    return Spread(*values)


LEAST_FALL = 1.25
"""Training loss at the start over validation loss at the end from which a side counts as trained."""


def gradient_reach(pair: Pair) -> Sample:
    """Compare the norm of the first layer's gradient over that of the last layer's, geometric mean over training."""
    found = []
    for runs in pair.sides():
        first, last = (pair.points(runs, "train", f"grad_norm_{end}") for end in ("first", "last"))
        both = first.merge(last, on=["run_id", "step"], suffixes=("_first", "_last"))
        both = both[(both["value_first"] > 0) & (both["value_last"] > 0)]
        if both.empty:
            raise NotMeasured("layer_gradients_not_recorded", there=False)
        logs = np.log(both["value_first"].astype(float)) - np.log(both["value_last"].astype(float))
        means = logs.groupby(both["run_id"]).mean()
        seeds = runs.set_index("run_id")["seed"].astype(int)
        found.append(pd.Series(means.to_numpy(), seeds.loc[means.index].to_numpy()))
    first_side, second_side = common_seeds(*found)
    return sample_of(first_side - second_side)


def generalization_gap(pair: Pair) -> Sample:
    """Compare test loss less training loss at the end."""
    gaps = []
    for runs in pair.sides():
        if (runs["status"] == "diverged").any():
            raise NotMeasured("no_loss_at_end")
        ok = runs[runs["status"] == "ok"].set_index("seed")
        gaps.append(ok["final_test_loss"].astype(float) - ok["final_train_loss"].astype(float))
    first, second = common_seeds(*gaps)
    return sample_of(first - second)


def untuned_choice(pair: Pair) -> Sample:
    """Compare the test loss of the best, by validation loss, of several untuned optimizers with that of a tuned one."""
    assert pair.b is not None
    sides = [pair.evidence.of(pair.workload, side, DEFAULT) for side in pair.a.split("|")]
    several = pd.concat(sides, ignore_index=True)
    ended = several[several["status"] == "ok"].astype({"best_val_loss": float}).dropna(subset=["best_val_loss"])
    if ended.empty:
        raise NotMeasured("untuned_not_ok")
    chosen = ended.loc[ended.groupby("seed")["best_val_loss"].idxmin()].set_index("seed")
    tuned = pair.evidence.of(pair.workload, pair.b, TUNED)
    tuned = tuned[tuned["status"] == "ok"].set_index("seed")
    first, second = common_seeds(*(np.log(runs["test_loss_at_best_val"].astype(float)) for runs in (chosen, tuned)))
    return sample_of(first - second)


def loss_fall(pair: Pair) -> Sample:
    """Divide the training loss of the first step by that at the end."""
    runs = pair.evidence.of(pair.workload, pair.a, pair.at)
    if (runs["status"] == "diverged").any():
        raise NotMeasured("no_loss_at_end")
    ok = runs[runs["status"] == "ok"]
    return sample_of(np.log(ok["first_train_loss"].astype(float)) - np.log(ok["final_train_loss"].astype(float)))
