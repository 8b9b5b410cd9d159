"""Plan a sweep for `plan=true`: what it would run, what of it exists, and about how long the rest takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from bench import tables
from bench.base.errors import UserError
from bench.base.text import duration, first_line
from bench.config.identity import cell_id
from bench.config.schema import Config
from bench.execution.cell import check_threads, objective, seeds_of
from bench.execution.reuse import reusable_row
from bench.measure.environment import device_name, environment, environment_id
from bench.sweep.search import Search, Trial
from bench.sweep.tuned import MAX_WIDENED, TunedSweep, tried

Row = dict[str, Any]


PROBE_STEPS = 5
"""Steps that are timed where nothing alike was ever run."""


PROBE_LIMIT_S = 10.0


NEEDED = ["status", "optimizer", "model", "data", "batch_size", "budget", "total_s", "peak_tensors_mib"]
"""Columns of `runs` from which the cost of a run is estimated."""


@dataclass(frozen=True)
class Part:
    """Runs of one optimizer that differ only in the values tried and the seed.

    Attributes:
        config: One of their cells.
        what: run, trial, final or default.
        num: How many there are.
        num_done: How many exist.
    """

    config: Config
    what: str
    num: int
    num_done: int


def plan_text(configs: Sequence[Config]) -> str:
    """Return the plan of a sweep as text for a terminal.

    Args:
        configs: One of each cell that was asked for.

    Raises:
        UserError: They cannot be tuned, or a study is of a newer version.
        UserError: They would share cores.
    """
    if configs[0].launcher.name == "pool":
        from bench.execution.launchers.pool import check

        check(configs)
    elif configs[0].launcher.name != "slurm":
        check_threads(configs)
    recorded = _Recorded()
    parts = _tuned(configs, recorded) if configs[0].sweep.name == "tuned" else _product(configs, recorded)
    together: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        config = part.config
        key = config.optimizer.name, config.model.name, config.data.name, str(config.train.model_dump())
        together.setdefault(key, []).append(part)
    groups = [Group(alike, *_cost(alike[0].config, recorded)) for alike in together.values()]
    table = pd.DataFrame([group.row() for group in groups])
    return f"{table.to_string(index=False)}\n\n{_summary(groups, configs[0])}. Nothing was run."


@dataclass(frozen=True)
class Group:
    """Parts of a plan whose runs cost the same: one optimizer, model, data set and training.

    Attributes:
        parts: At least one.
        each_s: Of a run, in seconds; NaN where it is unknown.
        peak_mib: Of tensors; NaN where it is unknown.
        source: Where the two come from.
    """

    parts: Sequence[Part]
    each_s: float
    peak_mib: float
    source: str

    @property
    def num(self) -> int:
        """Number of runs, made or not."""
        return sum(part.num for part in self.parts)

    @property
    def num_done(self) -> int:
        """Number of runs that exist."""
        return sum(part.num_done for part in self.parts)

    def row(self) -> Row:
        """Return its row of the plan."""
        config = self.parts[0].config
        kinds: dict[str, int] = {}
        for part in self.parts:
            kinds[part.what] = kinds.get(part.what, 0) + part.num
        return {
            "optimizer": config.optimizer.name,
            "model on data": f"{config.model.name} on {config.data.name}",
            "runs": ", ".join(f"{num} {what}" for what, num in kinds.items()),
            "exist": self.num_done,
            "to make": self.num - self.num_done,
            "a run, s": _rounded(self.each_s),
            "from": self.source,
            "peak tensors, MiB": _rounded(self.peak_mib),
        }


def _summary(groups: Sequence[Group], config: Config) -> str:
    """Return how many runs are to be made, and how long they take, a sentence or two without the last full stop."""
    num, num_done = sum(group.num for group in groups), sum(group.num_done for group in groups)
    known = [group for group in groups if math.isfinite(group.each_s)]
    seconds = sum(group.each_s * (group.num - group.num_done) for group in known)
    num_unknown = num - num_done - sum(group.num - group.num_done for group in known)
    num_jobs = config.launcher.n_jobs
    summary = f"{num:,} run{'s' * (num != 1)}, of which {num_done:,} exist and {num - num_done:,} are to be made"
    if num_unknown < num - num_done or not num_unknown:
        concurrency = f"{num_jobs} jobs side by side" if num_jobs > 1 else "one at a time"
        summary += f": about {duration(seconds / num_jobs)}, {concurrency}"
    if num_unknown:
        summary += f"; for {num_unknown:,} of them the time is unknown"
    if config.looks:
        summary += (
            f". This is the first round of seeds=auto; further ones, up to {', '.join(map(str, config.looks[1:])) or 'none'} seeds,"
            " are for settings whose comparisons are not decided by then"
        )
    return summary


class _Recorded:
    """The runs of some cells that exist for this environment."""

    def __init__(self) -> None:
        self._rows: dict[Path, list[Row]] = {}
        self._environments: dict[str, str] = {}

    def rows(self, config: Config) -> list[Row]:
        """Return the rows of its study."""
        path = config.study_dir
        if path not in self._rows:
            self._rows[path] = tables.recorded(path)[NEEDED].to_dict("records")
        return self._rows[path]

    def done(self, config: Config, seeds: Sequence[int]) -> list[Row]:
        """Return the rows of its runs that need not be made again."""
        device, unavailable_reason = device_name(config)
        if device not in self._environments:
            self._environments[device] = environment_id(environment("cpu" if unavailable_reason else device))
        cell, where = cell_id(config, device), self._environments[device]
        found = [reusable_row(config, tables.run_id(cell, seed, where)) for seed in seeds]
        return [row for row in found if row is not None]


def _product(configs: Sequence[Config], recorded: _Recorded) -> Iterator[Part]:
    for config in configs:
        seeds = seeds_of(config)
        yield Part(config, "as given", len(seeds), len(recorded.done(config, seeds)))


def _tuned(configs: Sequence[Config], recorded: _Recorded) -> Iterator[Part]:
    """Yield the trials, and as far as they are known what follows from them: wider ranges, and the runs of the best."""
    sweep = TunedSweep(configs)
    for _ in range(MAX_WIDENED):
        known = [_known(sweep, search, recorded) for search in sweep.searches]
        if not all(known) or not sweep.widen():
            break
    for search in sweep.searches:
        config, seeds, num_final = search.config, search.config.sweep.fresh_seeds, 0
        is_known = _known(sweep, search, recorded)
        num_done = sum(trial.value is not None for trial in search.trials)
        num_again = sum(len(trial.repeated) for trial in search.trials)
        num_trials = max(config.sweep.trials, len(search.trials)) + num_again + len(search.repeats())
        yield Part(config, "trials", num_trials, num_done + num_again)
        if search.best is not None and is_known:
            num_final = len(recorded.done(tried(config, search.best.setting, "final"), seeds))
        if search.best is not None or not is_known:
            yield Part(config, "of the best", len(seeds), num_final)
        if config.sweep.untuned:
            yield Part(config, "as given", len(seeds), len(recorded.done(config, seeds)))


def _known(sweep: TunedSweep, search: Search, recorded: _Recorded) -> bool:
    """Give a search the results of its trials that exist; return whether all of them do."""
    missing: list[Trial] = []
    while asked := [trial for trial in search.ask() if trial not in missing]:
        for trial in asked:
            rows = recorded.done(tried(search.config, trial.setting, "tune"), [search.config.sweep.trial_seed])
            if rows:
                search.tell(trial, objective(search.config, rows), *sweep.seen(search, trial))
            else:
                missing.append(trial)
    for trial, seed in search.repeats():
        rows = recorded.done(tried(search.config, trial.setting, "tune"), [seed])
        if rows:
            trial.repeated[seed] = objective(search.config, rows)
    return not missing and not search.repeats()


def _cost(config: Config, recorded: _Recorded) -> tuple[float, float, str]:
    """Return seconds and peak tensor memory (MiB) of a run, NaN where unknown, and the source of the estimate."""
    budget = f"{config.train.steps:,} steps" if config.train.steps else f"{config.train.epochs:,} epoch"
    alike = [
        row
        for row in recorded.rows(config)
        if row["status"] == "ok"
        and (row["optimizer"], row["model"], row["data"])
        == (config.optimizer.name, config.model.name, config.data.name)
        and row["batch_size"] == config.train.batch_size
        and str(row["budget"]).startswith(budget)
    ]
    peaks = [row["peak_tensors_mib"] for row in alike if pd.notna(row["peak_tensors_mib"])]
    if alike:
        known = [float(row["total_s"]) for row in alike if pd.notna(row["total_s"])]
        seconds = median(known) if known else math.nan
        source = f"{len(alike)} run{'s' * (len(alike) != 1)}"
        return seconds, median(peaks) if peaks else math.nan, source
    device, unavailable_reason = device_name(config)
    source = "nothing" if unavailable_reason else "shapes" if device == "fake" else f"{PROBE_STEPS} steps made now"
    return *_probe(config), source


def _probe(config: Config) -> tuple[float, float]:
    """Return the seconds of a run, extrapolated from its first steps, and its predicted peak memory (MiB); NaN where unknown."""
    train = config.train.model_copy(update={"steps": PROBE_STEPS, "eval_every": None, "time_limit_s": PROBE_LIMIT_S})
    device, unavailable_reason = device_name(config)
    if unavailable_reason:
        return math.nan, math.nan
    from bench.execution.memory import memory_of
    from bench.execution.row import planned_row
    from bench.execution.run import run

    where = environment(device)
    short = config.model_copy(update={"train": train, "metrics": []})
    row = planned_row(short, config.seeds[0], "plan", "plan", where, device)
    peak = math.nan
    fake = config.model_copy(update={"device": config.device.model_copy(update={"name": "fake"})})
    with suppress(Exception):  # as many reasons as there are models; the plan says "unknown"
        peak = float(memory_of(fake, row)["peak_mib"])
    if device == "fake":
        return 0.0, peak
    try:
        made = run(short, row).row
    except Exception as error:
        raise UserError(f"optimizer={config.optimizer.name} cannot be run: {first_line(error)}") from None
    if made["status"] != "ok":
        return math.nan, peak
    num_steps = config.train.steps or round(made["num_steps_budget"] / made["num_epochs"] * (config.train.epochs or 0))
    num_evaluations = 1 + math.ceil(
        num_steps / (config.train.eval_every or made["num_steps_budget"] / made["num_epochs"])
    )
    seconds = num_steps * made["step_ms"] / 1e3 + num_evaluations * made["eval_s"] / 2
    return seconds + made["construct_s"] + made["rest_s"], peak


def _rounded(value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
