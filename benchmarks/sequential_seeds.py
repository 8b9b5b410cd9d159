"""How often seeds=auto errs, and how many runs it saves against a number of seeds that is fixed beforehand.

    python benchmarks/sequential_seeds.py

Each row: 20,000 comparisons of two optimizers whose paired log-ratios are drawn from a shape, normal or skewed, or from the
centred differences of a comparison in `results/articles` and `results/papers`, with a true difference of nothing, of delta and of
the differences that these tables show. As `bench.analysis.sequential` does, each is looked at after 5, 10, 20, ... seeds until its
interval, at the level 1 - 0.05 / number of looks, lies beyond delta (different) or within it (alike). Columns: nulls declared
different; of differences of exactly delta, those declared larger and those declared alike. All three should be 5 % at most.

Then, over the differences of the published tables: the share decided, the mean number of seeds, and how many seeds a fixed number
takes to decide as large a share.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from bench.analysis.comparisons import _difference, _losses
from bench.config.schema import DecideConfig

ROOT = Path(__file__).resolve().parent.parent
NUM_SAMPLES = 20_000
DELTA = math.log1p(DecideConfig().delta)
MIN_PAIRS = 10
"""Pairs that a published comparison must have to be drawn from."""

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

SHAPES: dict[str, Draw] = {
    "normal": lambda random, shape: random.normal(size=shape),
    "t, 3 degrees of freedom": lambda random, shape: random.standard_t(3, size=shape),
    "exponential": lambda random, shape: random.exponential(size=shape) - 1.0,
    "log-normal": lambda random, shape: random.lognormal(size=shape) - math.exp(0.5),
    "one bad seed in ten": lambda random, shape: random.normal(size=shape) + 10.0 * (random.random(shape) < 0.1) - 1.0,
}


def published() -> Iterator[np.ndarray]:
    """Yield the differences of log final losses of every two series of a workload that the published tables pair by seed."""
    for study in ("articles", "papers"):
        runs = pd.read_parquet(ROOT / "results" / study / "runs.parquet")
        for _, section in runs.groupby(["workload_id", "budget"]):
            losses = {name: _losses(group, "final_val_loss") for name, group in section.groupby("cell_id")}
            for a, b in itertools.combinations(losses.values(), 2):
                both = a.add_suffix("_a").join(b.add_suffix("_b"), how="inner")
                if len(both) < MIN_PAIRS:
                    continue
                sample = _difference(both)
                if sample.num_bounded == 0 and np.isfinite(sample.low).all() and sample.low.std() > 1e-9:
                    yield sample.low


def decided(x: np.ndarray, looks: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return, a sample a row, the verdict (1 different, -1 alike, 0 open) and the number of seeds at which it fell."""
    verdict, at = np.zeros(len(x), dtype=int), np.full(len(x), looks[-1])
    for n in looks:
        mean, error = x[:, :n].mean(axis=1), x[:, :n].std(axis=1, ddof=1) / math.sqrt(n)
        half = special.stdtrit(n - 1, 1 - 0.025 / len(looks)) * error
        new = np.where(np.abs(mean) - half > DELTA, 1, np.where(np.abs(mean) + half <= DELTA, -1, 0))
        at = np.where((verdict == 0) & (new != 0), n, at)
        verdict = np.where(verdict == 0, new, verdict)
    return verdict, at


def errors(draw: Draw, looks: list[int], random: np.random.Generator) -> list[float]:
    """Return, in percent, nulls declared different, and of differences of delta those declared larger and alike."""
    x = draw(random, (NUM_SAMPLES, looks[-1]))
    on_null, on_delta = decided(x, looks)[0], decided(x + DELTA, looks)[0]
    return [100 * float(share) for share in ((on_null == 1).mean(), (on_delta == 1).mean(), (on_delta == -1).mean())]


def scaled(shape: Draw, factor: float) -> Draw:
    """Return a shape with another spread."""
    return lambda random, size: factor * shape(random, size)


def from_differences(values: np.ndarray) -> Draw:
    """Return what draws from some differences, centred."""
    return lambda random, size: random.choice(values - values.mean(), size=size)


def main() -> None:
    """Print both tables."""
    random = np.random.default_rng(0)
    differences = list(published())
    print(f"{len(differences)} published comparisons of at least {MIN_PAIRS} pairs; delta {DecideConfig().delta:g}")
    print(f"\n{'differences':26} {'spread':>7} {'looks to':>8} {'null':>6} {'larger':>7} {'alike':>6}")
    for name, shape in SHAPES.items():
        unit = shape(random, (1000, 1000)).std()
        for spread, most in itertools.product((0.02, 0.05, 0.2), (5, 20, 160, 300)):
            shares = errors(scaled(shape, spread / unit), DecideConfig(max_seeds=most).looks, random)
            print(f"{name:26} {spread:7} {most:8} " + "  ".join(f"{share:5.1f}" for share in shares))
    for most in (20, 160):
        looks = DecideConfig(max_seeds=most).looks
        shown = [
            errors(from_differences(values), looks, random) for values in differences[:: len(differences) // 40 or 1]
        ]
        mean, worst = np.mean(shown, axis=0), np.max(shown, axis=0)
        for words, shares in (("published, mean", mean), ("published, worst", worst)):
            print(f"{words:26} {'own':>7} {most:8} " + "  ".join(f"{share:5.1f}" for share in shares))
    print(f"\n{'most':>5} {'decided':>8} {'seeds, mean':>12} {'fixed number':>13} {'runs saved':>11}")
    for most in (20, 40, 80, 160):
        looks = DecideConfig(max_seeds=most).looks
        samples = [(from_differences(values)(random, (200, 320)) + values.mean()) for values in differences]
        found = [decided(sample, looks) for sample in samples]
        share = float(np.mean([(verdict != 0).mean() for verdict, _ in found]))
        mean_seeds = float(np.mean([at.mean() for _, at in found]))
        fixed = next(
            (
                n
                for n in range(3, 321)
                if np.mean([(decided(sample, [n])[0] != 0).mean() for sample in samples]) >= share
            ),
            320,
        )
        print(f"{most:5} {share:8.1%} {mean_seeds:12.1f} {fixed:13} {1 - mean_seeds / fixed:11.0%}")


if __name__ == "__main__":
    main()
