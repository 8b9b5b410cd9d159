"""Carry out a tuned sweep: equal trials for every optimizer, the best again on fresh seeds."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench import tables
from bench.base.errors import UserError
from bench.base.hashing import short_hash
from bench.config.identity import cell_id
from bench.config.schema import Config
from bench.execution.pruning import NUM_BEFORE_PRUNING, write_history
from bench.execution.session import Session
from bench.measure.environment import device_name
from bench.sweep.jobs import Overrides, made_by, quoted, seeds_override, typed
from bench.sweep.rounds import until_decided
from bench.sweep.search import Search, Trial
from bench.sweep.search_space import ENTRIES

MAX_WIDENED = 4
"""How often `sweep.extend` widens a range."""


class TunedSweep:
    """Equally many trials of every cell, and the runs that follow from them.

    Args:
        cells: The configuration of each cell, with the overrides that were typed.

    Raises:
        UserError: The cells cannot be tuned.
    """

    def __init__(self, cells: Sequence[Config]) -> None:
        for config in cells:
            if given := [each for each in config.overrides if each.lstrip("+~").startswith("seeds=")]:
                raise UserError(
                    f"seeds must be left out with sweep=tuned, got {given[0]}; sweep.trial_seed is the seed of"
                    " trials, sweep.seeds the number of fresh ones after it"
                )
            if config.device.name == "fake":
                raise UserError(
                    "device must be one that trains with sweep=tuned, got fake; leave sweep out to predict memory,"
                    " which what is searched does not change"
                )
            if config.sweep.method == "tpe" and importlib.util.find_spec("optuna") is None:
                raise UserError(
                    "sweep.method must be one of grid, random, halton where Optuna is not installed, got tpe;"
                    " pip install 'optbench[tpe]'"
                )
        self.searches = [Search(config) for config in cells]

    def carry_out(self, launch: Callable[[list[Overrides]], list[float]], session: Session) -> list[str]:
        """Make trials, widen ranges where that is asked for, then repeat the best of each cell on fresh seeds.

        Args:
            launch: Makes jobs and returns the objective of each.
            session: The session of the command.

        Returns:
            What a person should know of it, a sentence each.
        """
        self._make_trials(launch)
        for _ in range(MAX_WIDENED):
            if not self.widen():
                break
            self._make_trials(launch)
        found = [(search, search.best) for search in self.searches]
        best = [(search, trial) for search, trial in found if trial is not None]
        jobs = [self.final_job(search, trial) for search, trial in best]
        untuned = [self.untuned_job(search) for search in self.searches if search.config.sweep.untuned]
        config = self.searches[0].config
        if not config.looks:
            seeds = seeds_override(config.sweep.fresh_seeds)
            launch([*([*job, seeds] for job in jobs), *untuned])
            return self.sentences()
        launch(untuned)
        cells = [tried(search.config, trial.setting, "final") for search, trial in best]
        make = made_by(launch, jobs, len(config.looks))
        return [*self.sentences(), *until_decided(cells, config.sweep.fresh_seeds[0], make, session)]

    def _make_trials(self, launch: Callable[[list[Overrides]], list[float]]) -> None:
        while batch := self._ask():
            values = launch([self.trial_job(search, trial) for search, trial in batch])
            for (search, trial), value in zip(batch, values, strict=True):
                search.tell(trial, value, *self.seen(search, trial))
        again = [(search, *repeat) for search in self.searches for repeat in search.repeats()]
        values = launch([self.trial_job(search, trial, seed) for search, trial, seed in again]) if again else []
        for (_, trial, seed), value in zip(again, values, strict=True):
            trial.repeated[seed] = value

    def _ask(self) -> list[tuple[Search, Trial]]:
        """Return the trials to be made now, those of all optimizers in turn, so that an interrupt leaves equal budgets."""
        asked = [[(search, trial) for trial in search.ask()] for search in self.searches]
        return [pair for turn in itertools.zip_longest(*asked) for pair in turn if pair is not None]

    def widen(self) -> bool:
        """Widen the ranges of every workload with a best trial on an edge; return whether there was one."""
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

    def trial_job(self, search: Search, trial: Trial, seed: int | None = None) -> Overrides:
        """Return the job of one trial, on its first seed unless another is given."""
        record = [
            f"+trial.number={trial.number}",
            *self._recorded_search(search),
            seeds_override([search.config.sweep.trial_seed if seed is None else seed]),
        ]
        if search.config.sweep.method == "tpe" and (path := self._write_history(search)) is not None:
            record.append(f"+trial.history={quoted(str(path))}")
        return [*typed(search.config), *search.overrides(trial.setting), "+trial.stage=tune", *record]

    def final_job(self, search: Search, best: Trial) -> Overrides:
        """Return the job of the best trial on fresh seeds, without these."""
        edge = ", ".join(f"{name} {side}" for name, side in search.edges().items())
        return [
            *typed(search.config),
            *search.overrides(best.setting),
            "+trial.stage=final",
            f"+trial.number={best.number}",
            *self._recorded_search(search),
            *([f"+trial.edge={quoted(edge)}"] if edge else []),
            *([f"+trial.num_looks={looks}"] if (looks := search.config.trial.num_looks) else []),
        ]

    def untuned_job(self, search: Search) -> Overrides:
        """Return the job of a cell as it was given, on fresh seeds."""
        return [
            *typed(search.config),
            *self._recorded_search(search)[:1],
            seeds_override(search.config.sweep.fresh_seeds),
        ]

    def sentences(self) -> list[str]:
        """Return what a person should know of the trials, a sentence each."""
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
    def _recorded_search(search: Search) -> Overrides:
        return [f"+trial.tuning={quoted(search.description())}", f"+trial.search={quoted(search.ranges())}"]

    @staticmethod
    def seen(search: Search, trial: Trial) -> tuple[dict[int, float], bool]:
        """Return the validation loss by step of a trial, where the method uses it, and whether the trial was pruned."""
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
        path = search.config.study_dir / "tuning" / f"{short_hash([typed(search.config), len(finished)], 10)}.json"
        write_history(path, finished)
        return path


def tried(config: Config, setting: Mapping[str, float], stage: str) -> Config:
    """Return a cell with other values of the hyperparameters searched."""
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
