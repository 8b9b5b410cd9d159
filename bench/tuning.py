"""Equal-budget tuning: where each optimizer is searched, which trials it gets, and which of them is best.

Every optimizer has the same number of trials over the same number of decades around a documented
centre (`search` of its config). A tuned sweep makes these trials with one seed, takes the best by
`sweep.select`, and repeats it on seeds that no trial has seen.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import tables
from bench.config import Config, OptimizerConfig, SweepConfig, cell_id, short_hash
from bench.environment import device_name

if TYPE_CHECKING:
    from optuna.trial import Trial as OptunaTrial

ENTRIES = {"beta1": ("betas", 0), "beta2": ("betas", 1)}
"""Names of what can be searched that are elements of a list: the hyperparameter, and which element."""

MAX_WIDENED = 4
"""How often `sweep.extend` widens a range."""

NUM_BEFORE_PRUNING = 4
"""Trials of an optimizer that end before a later one may be given up."""


@dataclass(frozen=True)
class Range:
    """Values of a hyperparameter, even on a logarithmic scale.

    Attributes:
        name: As in `optimizer.search`.
        low: The lowest value of what is even: the value, or one less the value.
        high: The highest.
        one_minus: Whether that is one less the value.
    """

    name: str
    low: float
    high: float
    one_minus: bool = False

    def at(self, share: float) -> float:
        """The value at a share of the width from 0 (lowest of what is even) to 1, to four digits."""
        even = float(f"{self.low * (self.high / self.low) ** share:.4g}")
        return float(f"{1 - even:.10g}") if self.one_minus else even

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        first, last = sorted((self.at(0.0), self.at(1.0)))
        return first, last

    def decade_beyond(self, above: bool) -> Range:
        """The decade next to it: above its highest `even` value, or below its lowest."""
        if above:
            return replace(self, low=self.high, high=self.high * 10)
        return replace(self, low=self.low / 10, high=self.low)

    def with_decade(self, above: bool) -> Range:
        """The range and that decade."""
        return replace(self, high=self.high * 10) if above else replace(self, low=self.low / 10)


def space(optimizer: OptimizerConfig, sweep: SweepConfig) -> list[Range]:
    """What is searched of an optimizer: the entries of `sweep.over` that it has.

    An optimizer without a `search` of its own (a person's class) is searched around the learning rate given.

    Raises:
        ValueError: It has none of them, or a range leaves what the hyperparameter may be.
    """
    ranges = []
    for name in sweep.over:
        entry = optimizer.search.get(name)
        lr = optimizer.options.get("lr")
        if entry is not None:
            center, decades, one_minus = entry.center, entry.decades or sweep.decades, entry.scale == "one_minus"
        elif name == "lr" and isinstance(lr, float) and lr > 0 and not optimizer.search:
            center, decades, one_minus = lr, sweep.decades, False
        else:
            continue
        middle, half = (1 - center if one_minus else center), 10 ** (decades / 2)
        if middle <= 0:
            raise ValueError(
                f"optimizer.search.{name}.center must be below 1 with scale: one_minus, got {center:g}; lower it"
            )
        high = min(middle * half, 1.0) if one_minus else middle * half
        ranges.append(Range(name, middle / half, high, one_minus))
    if not ranges:
        has = ", ".join(optimizer.search) or "nothing"
        raise ValueError(
            f"sweep.over must name something to search of optimizer={optimizer.name}, which has {has}, got"
            f" {', '.join(sweep.over)}; add for example +optimizer.search.{sweep.over[0]}.center=0.01"
        )
    return ranges


def shares(method: str, num: int, num_axes: int, seed: int = 0) -> np.ndarray:
    """Points of the unit cube.

    Args:
        method: grid: even, ends included; random: uniform; halton: the sequence in bases 2, 3, 5, ... after its
            first point, the origin (Halton 1960), so that it begins in the middle.
        num: How many.
        num_axes: Of the cube.
        seed: Of random.

    Returns:
        Shape (num, num_axes). The first points of a longer sequence are the shorter one, but for grid.

    Raises:
        ValueError: A grid of so many points is not a cube.
    """
    if method == "grid":
        each = round(num ** (1 / num_axes))
        if each**num_axes != num:
            raise ValueError(
                f"sweep.trials must be a whole number to the power of {num_axes}, the axes of the grid, such as"
                f" {max(2, each) ** num_axes}, got {num}; or choose sweep.method=halton"
            )
        axis = np.linspace(0, 1, each)
        return np.array(list(itertools.product(axis, repeat=num_axes)))
    if method == "random":
        return np.random.default_rng(seed).random((num, num_axes))
    from scipy.stats import qmc

    return np.asarray(qmc.Halton(num_axes, scramble=False).fast_forward(1).random(num))


@dataclass
class Trial:
    """One setting that is tried.

    Attributes:
        number: From 0, in the order of the search.
        setting: Value by name, as in `optimizer.search`.
        value: What `sweep.select` says of it, infinite unless it ended ok; None: not known yet.
        seen: Validation loss by step, where the method goes by it.
    """

    number: int
    setting: dict[str, float]
    value: float | None = None
    seen: dict[int, float] = field(default_factory=dict)


@dataclass
class Search:
    """The search of one cell: which trials it gets, and what came of them."""

    config: Config
    trials: list[Trial] = field(default_factory=list)
    num_widened: int = 0

    def __post_init__(self) -> None:
        sweep = self.config.sweep
        self.space = space(self.config.optimizer, sweep)
        for axis in self.space:
            key = ENTRIES.get(axis.name, (axis.name,))[0]
            if key not in self.config.optimizer.options:
                raise ValueError(
                    f"optimizer.search.{axis.name} must be of a setting of optimizer={self.config.optimizer.name}, got"
                    f" none named {key}; add +optimizer.{key}= and a value, which is that of the untuned runs"
                )
            typed = f"optimizer.{key}"
            if any(override.startswith(f"{typed}=") for override in self.config.overrides) and (
                axis.name in self.config.optimizer.search
            ):
                raise ValueError(
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
        """Trials to be made now: all that are known, or one at a time where each depends on those before."""
        waiting = [trial for trial in self.trials if trial.value is None]
        if waiting or self._optuna is None or len(self.trials) >= self.config.sweep.trials:
            return waiting
        self.trials.append(Trial(len(self.trials), self._optuna.ask()))
        return self.trials[-1:]

    def tell(self, trial: Trial, value: float, seen: Mapping[int, float], pruned: bool = False) -> None:
        """What came of a trial.

        Args:
            trial: One of `trials`.
            value: The lower the better; infinite unless it ended ok.
            seen: Validation loss by step.
            pruned: Whether it was given up.
        """
        trial.value, trial.seen = value, dict(seen)
        if self._optuna is not None and trial.number < self.config.sweep.trials:
            self._optuna.tell(trial, seen, pruned)

    @property
    def best(self) -> Trial | None:
        """The trial with the lowest value, of several the first; None where none ended ok."""
        ended = [t for t in self.trials if t.value is not None and math.isfinite(t.value)]
        return min(ended, key=lambda t: (t.value, t.number), default=None)

    def edges(self) -> dict[str, str]:
        """Hyperparameters whose best value is the lowest or the highest tried, each with which of the two."""
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

    def words(self) -> str:
        """The tuning in words, alike for all optimizers of a sweep."""
        sweep = self.config.sweep
        wider = ", widened while a best one lay on an edge" if sweep.extend else ""
        return (
            f"{sweep.method}, {sweep.trials} trials, {' and '.join(sweep.over)} over {sweep.decades:g}"
            f" decade{'s' * (sweep.decades != 1)}{wider}, chosen by {sweep.select}"
        )

    def ranges(self) -> str:
        """The ranges searched, JSON."""
        return json.dumps({axis.name: list(axis.ends) for axis in self.space})

    def overrides(self, setting: Mapping[str, float]) -> list[str]:
        """What sets these values on the command line."""
        lists: dict[str, list[float]] = {}
        typed = []
        for name, value in setting.items():
            key, index = ENTRIES.get(name, (name, None))
            if index is None:
                typed.append(f"optimizer.{key}={value!r}")
            else:
                lists.setdefault(key, list(self.config.optimizer.options[key]))[index] = value
        return typed + [f"optimizer.{key}={json.dumps(values)}" for key, values in lists.items()]


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


def write_history(path: Path, trials: Sequence[Mapping[int, float]]) -> None:
    """Keep what finished trials had on their way: validation loss by step, each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(json.dumps([{str(step): value for step, value in seen.items()} for seen in trials]))
    aside.replace(path)


def pruner(path: str) -> Callable[[int, float], bool]:
    """What says whether to give a trial up: its lowest loss so far is above the median of finished trials there.

    By Optuna's MedianPruner, once `NUM_BEFORE_PRUNING` trials have finished. It knows only what stood in the
    file before, so that runs side by side are judged as runs in a row.

    Args:
        path: What `write_history` wrote.

    Raises:
        ValueError: It cannot be read.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        finished = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(
            f"trial.history must be a file that sweep=tuned wrote, got {path} ({error}); leave it out"
        ) from None
    study: Any = optuna.create_study(pruner=optuna.pruners.MedianPruner(NUM_BEFORE_PRUNING))
    for seen in finished:
        values = {int(step): value for step, value in seen.items()}
        study.add_trial(optuna.trial.create_trial(value=min(values.values()), intermediate_values=values))
    trial = study.ask()

    def give_up(step: int, value: float) -> bool:
        trial.report(value, step)
        return bool(trial.should_prune())

    return give_up


# --- a tuned sweep --------------------------------------------------------------------------------

Job = list[str]
"""The overrides of one Hydra job."""


class TunedSweep:
    """Trials of every cell, the same number each, and what follows from them.

    Args:
        cells: The configuration of each cell; its `overrides` are what was typed.

    Raises:
        ValueError: The cells cannot be tuned.
    """

    def __init__(self, cells: Sequence[Config]) -> None:
        for config in cells:
            if any(override.lstrip("+~").startswith("seeds=") for override in config.overrides):
                raise ValueError(
                    f"seeds must be left out with sweep=tuned, got {config.seeds}; sweep.trial_seed is the seed of"
                    " trials, sweep.seeds the number of fresh ones after it"
                )
            if config.device.name == "fake":
                raise ValueError(
                    "device must be one that trains with sweep=tuned, got fake; leave sweep out to predict memory,"
                    " which what is searched does not change"
                )
            if config.sweep.method == "tpe" and importlib.util.find_spec("optuna") is None:
                raise ValueError(
                    "sweep.method must be one of grid, random, halton where Optuna is not installed, got tpe;"
                    " pip install 'optbench[tpe]'"
                )
        self.searches = [Search(config) for config in cells]

    def carry_out(self, launch: Callable[[list[Job]], list[float]]) -> None:
        """Make trials, widen ranges where that is asked for, then repeat the best of each cell on fresh seeds.

        Args:
            launch: Makes jobs, and gives the objective of each.
        """
        self._make_trials(launch)
        for _ in range(MAX_WIDENED):
            if not self.widen():
                break
            self._make_trials(launch)
        launch([job for search in self.searches for job in self.final_jobs(search)])

    def _make_trials(self, launch: Callable[[list[Job]], list[float]]) -> None:
        while batch := self._ask():
            values = launch([self.trial_job(search, trial) for search, trial in batch])
            for (search, trial), value in zip(batch, values, strict=True):
                search.tell(trial, value, *self.seen(search, trial))

    def _ask(self) -> list[tuple[Search, Trial]]:
        """Trials to be made now, those of all optimizers in turn, so that an interrupt leaves equal budgets."""
        asked = [[(search, trial) for trial in search.ask()] for search in self.searches]
        return [pair for turn in itertools.zip_longest(*asked) for pair in turn if pair is not None]

    def widen(self) -> bool:
        """Widen the ranges of every workload of which a best trial lies on an edge; whether there was one."""
        workloads: dict[str, list[Search]] = {}
        for search in self.searches:
            left_out = {"optimizer", "overrides"}
            workloads.setdefault(search.config.model_dump_json(exclude=left_out), []).append(search)
        wider = False
        for alike in workloads.values():
            names = [name for search in alike for name in search.edges()]
            if names and alike[0].config.sweep.extend:
                wider = True
                for search in alike:
                    search.widen(names[0])
        return wider

    def trial_job(self, search: Search, trial: Trial) -> Job:
        """The job of one trial."""
        told = [f"+trial.number={trial.number}", *self._told(search), f"seeds=[{search.config.sweep.trial_seed}]"]
        if search.config.sweep.method == "tpe" and (path := self._write_history(search)) is not None:
            told.append(f"+trial.history={_quoted(str(path))}")
        return [*_typed(search.config), *search.overrides(trial.setting), "+trial.stage=tune", *told]

    def final_jobs(self, search: Search) -> list[Job]:
        """The jobs that follow from the trials of a cell: its best setting on fresh seeds, and its own one."""
        typed, told = _typed(search.config), self._told(search)
        seeds = f"seeds={json.dumps(search.config.sweep.fresh_seeds, separators=(',', ':'))}"
        jobs, best = [], search.best
        if best is not None:
            edge = ", ".join(f"{name} {side}" for name, side in search.edges().items())
            jobs.append(
                [
                    *typed,
                    *search.overrides(best.setting),
                    "+trial.stage=final",
                    f"+trial.number={best.number}",
                    *told,
                    *([f"+trial.edge={_quoted(edge)}"] if edge else []),
                    seeds,
                ]
            )
        if search.config.sweep.untuned:
            jobs.append([*typed, *told[:1], seeds])
        return jobs

    def sentences(self) -> list[str]:
        """What a person should know of the trials."""
        said = []
        workloads = {(search.config.model.name, search.config.data.name) for search in self.searches}
        for search in self.searches:
            name, best = search.config.optimizer.name, search.best
            if len(workloads) > 1:
                name += f" for {search.config.model.name} on {search.config.data.name}"
            if best is None:
                said.append(f"no trial of {name} ended ok, so there is none to repeat; see the reasons in the table")
            for axis, side in search.edges().items():
                value = "" if best is None else f" ({best.setting[axis]:g})"
                said.append(
                    f"the best {axis} of {name} is the {side}est tried{value}: a better one may lie beyond;"
                    " sweep.extend=true widens the range of every optimizer"
                )
        return said

    @staticmethod
    def _told(search: Search) -> Job:
        return [f"+trial.tuning={_quoted(search.words())}", f"+trial.search={_quoted(search.ranges())}"]

    @staticmethod
    def seen(search: Search, trial: Trial) -> tuple[dict[int, float], bool]:
        """Validation loss by step of a trial that was made, where the method goes by it; and whether it was given up."""
        if search.config.sweep.method != "tpe":
            return {}, False
        found = tables.latest(search.config.study_dir, _tried(search.config, trial), search.config.sweep.trial_seed)
        if found is None:
            return {}, False
        row, curves = found
        losses = curves[(curves["split"] == "val") & (curves["metric"] == "loss") & (curves["step"] > 0)]
        seen = dict(zip(losses["step"].astype(int), losses["value"].astype(float), strict=True))
        return seen, row["status"] == "pruned"

    @staticmethod
    def _write_history(search: Search) -> Path | None:
        finished = [t.seen for t in search.trials if t.seen and t.value is not None and math.isfinite(t.value)]
        if len(finished) < NUM_BEFORE_PRUNING:
            return None
        typed = _typed(search.config)
        path = search.config.study_dir / "tuning" / f"{short_hash([typed, len(finished)], 10)}.json"
        write_history(path, finished)
        return path


def _typed(config: Config) -> Job:
    """What was typed for a cell, less what each of its jobs has of its own."""
    return [override for override in config.overrides if not override.lstrip("+~").startswith(("plan=", "trial."))]


def _quoted(text: str) -> str:
    """A text as Hydra's grammar of overrides takes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def tried(config: Config, setting: Mapping[str, float], stage: str) -> Config:
    """A cell with other values of what is searched."""
    options = copy.deepcopy(config.optimizer.options)
    for name, value in setting.items():
        key, index = ENTRIES.get(name, (name, None))
        if index is None:
            options[key] = value
        else:
            options[key][index] = value
    optimizer = config.optimizer.model_copy(update={"options": options})
    return config.model_copy(update={"optimizer": optimizer, "trial": config.trial.model_copy(update={"stage": stage})})


def _tried(config: Config, trial: Trial) -> str:
    changed = tried(config, trial.setting, "tune")
    return cell_id(changed, device_name(config)[0])
