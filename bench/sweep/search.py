"""Search settings: grid, random, Halton and TPE."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bench.base.errors import UserError
from bench.config.schema import Config, SweepConfig
from bench.sweep.search_space import ENTRIES, Range, shares, space

if TYPE_CHECKING:
    from optuna.trial import Trial as OptunaTrial


FEWEST_REPEATED = 3
"""Trials of a search that are made on several seeds, at least, where `sweep.seeds_per_trial` is above 1."""


@dataclass
class Trial:
    """One setting that is tried.

    Attributes:
        number: From 0, in the order of the search.
        setting: Value by name, as in `optimizer.search`.
        value: What `sweep.select` says of it, infinite unless it ended ok; None: not known yet.
        seen: Validation loss by step, where the method goes by it.
        repeated: What `sweep.select` says of it on further seeds, by seed.
    """

    number: int
    setting: dict[str, float]
    value: float | None = None
    seen: dict[int, float] = field(default_factory=dict)
    repeated: dict[int, float] = field(default_factory=dict)

    @property
    def values(self) -> np.ndarray:
        """What is known of it on each of its seeds, those in order."""
        first = [] if self.value is None else [self.value]
        return np.array([*first, *(value for _, value in sorted(self.repeated.items()))], dtype=float)

    @property
    def rank(self) -> tuple[int, float, int]:
        """Sorts the better first: fewer runs lost, then the lower mean of the others, then the earlier."""
        ended = self.values[np.isfinite(self.values)]
        return len(self.values) - len(ended), float(ended.mean()) if len(ended) else math.inf, self.number


@dataclass
class Search:
    """The search of one cell: its trials and their results."""

    config: Config
    trials: list[Trial] = field(default_factory=list)
    num_widened: int = 0

    def __post_init__(self) -> None:
        sweep = self.config.sweep
        self.space = space(self.config.optimizer, sweep)
        for axis in self.space:
            key = ENTRIES.get(axis.name, (axis.name,))[0]
            if key not in self.config.optimizer.options:
                raise UserError(
                    f"optimizer.search.{axis.name} must be of a setting of optimizer={self.config.optimizer.name}, got"
                    f" none named {key}; add +optimizer.{key}= and a value, which is that of the untuned runs"
                )
            typed = f"optimizer.{key}"
            if any(override.startswith(f"{typed}=") for override in self.config.overrides) and (
                axis.name in self.config.optimizer.search
            ):
                raise UserError(
                    f"{typed} must be left to sweep=tuned, which searches it (sweep.over), got one by hand; leave it"
                    " out, or set the middle of the search, optimizer.search"
                    f".{axis.name}.center"
                )
        self._optuna = _Optuna(self.space, sweep) if sweep.method == "tpe" else None
        if self._optuna is None:
            self._add(shares(sweep.method, sweep.trials, len(self.space), sweep.sampler_seed), self.space)

    def _add(self, points: np.ndarray, ranges: Sequence[Range]) -> None:
        for point in points:
            setting = {axis.name: axis.at(share) for axis, share in zip(ranges, point, strict=True)}
            self.trials.append(Trial(len(self.trials), setting))

    def ask(self) -> list[Trial]:
        """Return the trials to be made now: all that are known, or one at a time where each depends on those before."""
        waiting = [trial for trial in self.trials if trial.value is None]
        if waiting or self._optuna is None or len(self.trials) >= self.config.sweep.trials:
            return waiting
        self.trials.append(Trial(len(self.trials), self._optuna.ask()))
        return self.trials[-1:]

    def tell(self, trial: Trial, value: float, seen: Mapping[int, float], pruned: bool = False) -> None:
        """Record the result of a trial.

        Args:
            trial: One of `trials`.
            value: The lower the better; infinite unless it ended ok.
            seen: Validation loss by step.
            pruned: Whether it was given up.
        """
        trial.value, trial.seen = value, dict(seen)
        if self._optuna is not None and trial.number < self.config.sweep.trials:
            self._optuna.tell(trial, seen, pruned)

    def repeats(self) -> list[tuple[Trial, int]]:
        """Return the trials that may be best, each with every further seed that it has yet to be made on.

        They are the third of the trials that is best on the first seed, three at least.
        """
        ended = sorted((t for t in self.trials if t.value is not None and math.isfinite(t.value)), key=_first)
        may_be_best = ended[: max(FEWEST_REPEATED, math.ceil(len(self.trials) / 3))]
        seeds = self.config.sweep.trial_seeds[1:]
        return [(trial, seed) for trial in may_be_best for seed in seeds if seed not in trial.repeated]

    @property
    def best(self) -> Trial | None:
        """The trial with the lowest mean over its seeds; None if none ended ok.

        Of trials along one hyperparameter that are as good, so far as several seeds can tell, it is the middle one.
        """
        num_seeds = self.config.sweep.seeds_per_trial
        ended = [t for t in self.trials if np.isfinite(t.values).any()]
        repeated = [t for t in ended if len(t.values) == num_seeds]
        lowest = min(repeated or ended, key=lambda t: t.rank, default=None)
        if lowest is None or num_seeds == 1 or len(self.space) > 1:
            return lowest
        plateau = self._plateau(lowest, repeated)
        middles = plateau[(len(plateau) - 1) // 2 : len(plateau) // 2 + 1]
        return min(middles, key=lambda t: t.rank)

    def _plateau(self, lowest: Trial, repeated: Sequence[Trial]) -> list[Trial]:
        """Return the trials beside the lowest, without a gap, whose mean is within a standard error of its: those in order.

        The standard error is that of the differences paired by seed.

        References:
            The one-standard-error rule: Breiman, Friedman, Olshen and Stone, "Classification and Regression Trees" (1984), section 3.4.3.
        """
        (axis,) = self.space
        in_order = sorted(self.trials, key=lambda t: t.setting[axis.name])
        alike = []
        for trial in in_order:
            more = trial.values - lowest.values if trial in repeated else np.array([math.inf])
            error = float(more.std(ddof=1)) / math.sqrt(len(more)) if np.isfinite(more).all() else 0.0
            alike.append(trial is lowest or bool(more.mean() <= error))
        first = last = in_order.index(lowest)
        while first > 0 and alike[first - 1]:
            first -= 1
        while last + 1 < len(in_order) and alike[last + 1]:
            last += 1
        return in_order[first : last + 1]

    def edges(self) -> dict[str, str]:
        """Return the hyperparameters whose best value is the lowest or highest tried, each with "low" or "high"."""
        best = self.best
        if best is None:
            return {}
        found = {}
        for axis in self.space:
            values = [t.setting[axis.name] for t in self.trials]
            if best.setting[axis.name] in (min(values), max(values)):
                found[axis.name] = "low" if best.setting[axis.name] == min(values) else "high"
        return found

    def widen(self, name: str) -> None:
        """Add a decade to the range of a hyperparameter, on the side its best value is nearer to, and trials in it.

        As many as the range has a decade: the same for every optimizer. One that has no such hyperparameter
        gets them for its first.
        """
        names = [axis.name for axis in self.space]
        axis = self.space[names.index(name) if name in names else 0]
        best = self.best
        middle = math.sqrt(axis.low * axis.high)
        even = middle if best is None else best.setting[axis.name]
        if best is not None and axis.one_minus:
            even = 1 - even
        above = even > middle and not (axis.one_minus and axis.high * 10 > 1)
        num = max(1, round((self.config.sweep.trials - 1) / self.config.sweep.decades))
        points = np.linspace(0, 1, num + 1)[1:] if above else np.linspace(0, 1, num + 1)[:-1][::-1]
        others = shares("halton", len(self.trials) + num, len(self.space), 0)[len(self.trials) :]
        others[:, self.space.index(axis)] = points
        ranges = [other.decade_beyond(above) if other is axis else other for other in self.space]
        self._add(others, ranges)
        self.space = [other.with_decade(above) if other is axis else other for other in self.space]
        self.num_widened += 1

    def description(self) -> str:
        """Return the tuning in words, the same for all optimizers of a sweep."""
        sweep = self.config.sweep
        wider = ", widened while a best one lay on an edge" if sweep.extend else ""
        return (
            f"{sweep.method}, {sweep.trials} trials, {' and '.join(sweep.over)} over {sweep.decades:g}"
            f" decade{'s' * (sweep.decades != 1)}{wider}, chosen by {sweep.select}"
            + ("" if sweep.target is None else f" of {sweep.target:g}")
            + ("" if sweep.seeds_per_trial == 1 else f" on {sweep.seeds_per_trial} seeds")
        )

    def ranges(self) -> str:
        """Return the ranges searched, as JSON."""
        return json.dumps({axis.name: list(axis.ends) for axis in self.space})

    def overrides(self, setting: Mapping[str, float]) -> list[str]:
        """Return the overrides that set these values."""
        lists: dict[str, list[float]] = {}
        typed = []
        for name, value in setting.items():
            key, index = ENTRIES.get(name, (name, None))
            if index is None:
                typed.append(f"optimizer.{key}={value!r}")
            else:
                lists.setdefault(key, list(self.config.optimizer.options[key]))[index] = value
        return typed + [f"optimizer.{key}={json.dumps(values)}" for key, values in lists.items()]


def _first(trial: Trial) -> tuple[float, int]:
    assert trial.value is not None
    return trial.value, trial.number


class _Optuna:
    """Tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna."""

    def __init__(self, ranges: Sequence[Range], sweep: SweepConfig) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=sweep.sampler_seed))
        self._ranges = ranges
        self._asked: list[OptunaTrial] = []

    def ask(self) -> dict[str, float]:
        trial = self._study.ask()
        self._asked.append(trial)
        return {axis.name: axis.at(trial.suggest_float(axis.name, 0.0, 1.0)) for axis in self._ranges}

    def tell(self, trial: Trial, seen: Mapping[int, float], pruned: bool) -> None:
        from optuna.trial import TrialState

        asked = self._asked[trial.number]
        for step, value in sorted(seen.items()):
            asked.report(value, step)
        if pruned:
            self._study.tell(asked, state=TrialState.PRUNED)
        else:
            self._study.tell(asked, trial.value)
