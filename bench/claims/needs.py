"""Plan the runs that the claims of a ledger need, as sweeps of `python -m bench`."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.base.errors import UserError
from bench.base.text import duration, shortened
from bench.claims.effects.evidence import (
    CHOSEN_BY,
    DEFAULT,
    NUM_TRIALS,
    RATES,
    SEEDS_PER_TRIAL,
    STEPS_TO_TARGET,
    TRAIN_LOSS,
    TUNED,
    TUNED_FOR,
)
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import ats, chosen_by, made_for, pairs
from bench.claims.ledger import Claim, Ledger, Workload
from bench.config.capabilities import shipped_optimizers
from bench.sweep.search_space import Range

Key = tuple[str, str, str]
"""A workload, a side, and why its runs are made."""


@dataclass
class Requirement:
    """What the runs of one side have to record."""

    metrics: set[str] = field(default_factory=set)
    memory: bool = False
    exclusive: bool = False


@dataclass(frozen=True)
class PlannedSweep:
    """One sweep of `python -m bench`.

    Attributes:
        workload: Its name in the ledger.
        at: Why its runs are made.
        sides: Optimizers at their configs' settings, or one side with settings of its own.
        overrides: What is typed, but for study and folders.
        num_runs: How many it makes or finds.
        seconds: About how long those take that are made, one after the other.
        exclusive: Whether they are made one at a time.
        times_count: Whether a claim is judged by the times of these very runs.
    """

    workload: str
    at: str
    sides: tuple[str, ...]
    overrides: tuple[str, ...]
    num_runs: int
    seconds: float
    exclusive: bool
    times_count: bool

    def wall_s(self, n_jobs: int) -> float:
        """Return about how many seconds the runs take, several at a time where that is allowed."""
        return self.seconds / (1 if self.exclusive else n_jobs)


def requirements(ledger: Ledger) -> dict[Key, Requirement]:
    """Return what the claims of a ledger need, by workload, side and `at`."""
    wanted: dict[Key, Requirement] = {}
    for claim, measure, workload in measured_on(ledger):
        quantity = QUANTITIES[measure.quantity]
        for at in ats(claim, quantity):
            select = chosen_by(quantity, ledger.workloads[workload])
            for side, why in [entry for a, b in pairs(claim, measure, at) for entry in made_for(at, a, b, select)]:
                need = wanted.setdefault((workload, side, why), Requirement())
                need.metrics |= set(quantity.metrics)
                need.memory |= quantity.memory
                need.exclusive |= quantity.alone or ledger.workloads[workload].alone
    return wanted


def measured_on(ledger: Ledger) -> Iterator[tuple[Claim, Any, str]]:
    """Yield each claim with each of its measures and each workload of the budget that it is measured on."""
    for claim in ledger.claims.values():
        for measure in claim.measures:
            for workload in measure.workloads or claim.workload_names:
                if workload in ledger.workloads:
                    yield claim, measure, workload


def planned_sweeps(
    ledger: Ledger, n_jobs: int, looks: Sequence[int], number: int = 0, only: Collection[Key] | None = None
) -> list[PlannedSweep]:
    """Return the sweeps that a ledger needs, those first whose times count.

    Args:
        ledger: With the workloads of a budget.
        n_jobs: Runs side by side.
        looks: Numbers of seeds at which comparisons are looked at, of workloads that do not end before.
        number: Which of them is next, from 0.
        only: The sides that need more seeds; None: all.
    """
    groups: dict[tuple[Any, ...], tuple[list[str], Requirement]] = {}
    for (workload, side, at), need in requirements(ledger).items():
        own_looks = looks_of(ledger.workloads[workload], at, looks)
        if number >= len(own_looks) or (only is not None and (workload, side, at) not in only):
            continue
        own = side if at == RATES or " " in side else ""
        sides, whole = groups.setdefault(
            (workload, at, own, need.exclusive), ([], Requirement(exclusive=need.exclusive))
        )
        sides.append(side)
        whole.metrics |= need.metrics
        whole.memory |= need.memory
    made, tried = [], set[tuple[str, str]]()
    for (workload, at, *_), (sides, need) in groups.items():
        task = ledger.workloads[workload]
        sweep = _planned_sweep(task, workload, at, sides, need, n_jobs, looks, number)
        if at in CHOSEN_BY and number == 0:
            # trials on the first seed are the same, whatever they are chosen by
            shared = NUM_TRIALS * sum((workload, side) in tried for side in sides)
            sweep = replace(sweep, seconds=sweep.seconds - shared * task.seconds)
            tried |= {(workload, side) for side in sides}
        made.append(sweep)
    order, why = list(ledger.workloads), list(WHY)
    return sorted(made, key=lambda sweep: (not sweep.exclusive, order.index(sweep.workload), why.index(sweep.at)))


def looks_of(workload: Workload, at: str, looks: Sequence[int]) -> list[int]:
    """Return the numbers of seeds at which comparisons on a workload are looked at: its own most is the last of them."""
    most = min(workload.seeds, workload.rate_seeds) if at == RATES else workload.seeds
    return sorted({min(number, most) for number in looks})


def _planned_sweep(
    workload: Workload,
    name: str,
    at: str,
    sides: Sequence[str],
    need: Requirement,
    n_jobs: int,
    looks: Sequence[int],
    number: int,
) -> PlannedSweep:
    optimizer, _, settings = sides[0].partition(" ")
    own_looks = looks_of(workload, at, looks)
    num_seeds, before = own_looks[number], own_looks[number - 1] if number else 0
    typed = [*workload.run, f"optimizer={','.join(side.partition(' ')[0] for side in sides)}", *settings.split()]
    if len(own_looks) > 1:
        typed.append(f"+trial.num_looks={len(own_looks)}")
    if at in CHOSEN_BY:
        select = CHOSEN_BY[at]
        typed += [
            "sweep=tuned", f"sweep.trials={NUM_TRIALS}", f"sweep.seeds_per_trial={SEEDS_PER_TRIAL}",
            f"sweep.select={select}", f"sweep.seeds={num_seeds}", "sweep.untuned=false", "sweep.extend=true",
        ]  # fmt: skip
        if select == STEPS_TO_TARGET:
            typed.append(f"sweep.target={workload.target!r}")
        num_trials = NUM_TRIALS + (SEEDS_PER_TRIAL - 1) * math.ceil(NUM_TRIALS / 3)
        num_runs, num_made = len(sides) * (num_trials + num_seeds), len(sides) * (before and num_trials + before)
    elif at == RATES:
        rates = learning_rates(optimizer)
        typed += [f"optimizer.lr={','.join(map(repr, rates))}", f"seeds={_listed(range(1, 1 + num_seeds))}"]
        num_runs, num_made = len(rates) * num_seeds, len(rates) * before
    else:
        typed.append(f"seeds={_listed(range(1, 1 + num_seeds))}")
        num_runs, num_made = len(sides) * num_seeds, len(sides) * before
    if need.metrics:
        typed.append(f"metrics=[{','.join(sorted(need.metrics))}]")
    typed.append(f"memory={str(need.memory).lower()}")
    if not need.exclusive and n_jobs > 1:
        typed += ["launcher=pool", f"launcher.n_jobs={n_jobs}"]
    return PlannedSweep(
        name,
        at,
        tuple(sides),
        tuple(typed),
        num_runs,
        (num_runs - num_made) * workload.seconds,
        need.exclusive or n_jobs == 1,
        need.exclusive,
    )


def learning_rates(optimizer: str) -> list[float]:
    """Return learning rates half a decade apart around the documented one of an optimizer: those of a tuned sweep.

    Raises:
        UserError: Its config names none.
    """
    search = shipped_optimizers().get(optimizer, {}).get("search") or {}
    if "lr" not in search:
        raise UserError(
            f"{shortened(optimizer)} must have a search.lr in its config to be run at several learning rates, got none"
        )
    center = float(search["lr"]["center"])
    whole = Range("lr", center / 100, center * 100)
    return [whole.at(i / (NUM_TRIALS - 1)) for i in range(NUM_TRIALS)]


def _listed(values: Iterable[object]) -> str:
    return f"[{','.join(map(str, values))}]"


WHY = {
    DEFAULT: "as given",
    TUNED: "tuned",
    TUNED_FOR[STEPS_TO_TARGET]: "tuned for steps to the target",
    TUNED_FOR[TRAIN_LOSS]: "tuned for training loss",
    RATES: "at every learning rate",
}
"""Why runs are made, in words."""


def ledger_plan(
    work: Sequence[PlannedSweep], n_jobs: int, ledger: Ledger, absent: Mapping[str, str], looks: Sequence[int]
) -> str:
    """Return what would run for a ledger, or in the first round of several, and for about how long, as text."""
    lines = [
        f"{sweep.num_runs:5} runs, about {duration(sweep.wall_s(n_jobs)):>7}: python -m bench {shlex.join(sweep.overrides)} -m"
        for sweep in work
    ]
    seconds = sum(sweep.wall_s(n_jobs) for sweep in work) + STEP_COST_S * len(timed(ledger))
    lines += [f"{name} is not available on this machine: {why}" for name, why in absent.items()]
    total = round(sum(sweep.seconds / ledger.workloads[sweep.workload].seconds for sweep in work))
    return "\n".join(
        [
            *lines,
            f"{total:,} runs and step times of {len(timed(ledger))} workloads, about {duration(seconds)} with {n_jobs} at a time",
            *(
                [
                    f"then more seeds, up to {', '.join(map(str, looks[1:]))} of each side, where a comparison is still open"
                ]
                if len(looks) > 1
                else []
            ),
        ]
    )


STEP_COST_S = 30.0
"""What timing the steps of one workload takes, about."""


def timed(ledger: Ledger) -> dict[str, dict[str, str]]:
    """Return, by workload, the sides whose steps have to be timed, each with its `_entry`."""
    wanted: dict[str, dict[str, str]] = {}
    for claim, measure, workload in measured_on(ledger):
        if QUANTITIES[measure.quantity].step_costs and not ledger.workloads[workload].alone:
            for side in itertools.chain.from_iterable(pairs(claim, measure, DEFAULT)):
                entry = _entry(side or "")
                if side is not None and entry is not None:
                    wanted.setdefault(workload, {})[side] = entry
    return wanted


def _entry(side: str) -> str | None:
    """Return a side as an entry of `optimizers` of `bench.step_cost`; None if its steps need not or cannot be timed."""
    name, _, settings = side.partition(" ")
    options = [
        part.removeprefix("optimizer.").split("=", 1) for part in settings.split() if part.startswith("optimizer.")
    ]
    costly = [(key, value) for key, value in options if key != "lr"]
    if not name or "closure" in shipped_optimizers().get(name, {}).get("needs", ()):
        return None
    return f"{{name:{name},{','.join(f'{key}:{value}' for key, value in costly)}}}" if costly else name
