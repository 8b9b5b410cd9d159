"""Plan the runs that the claims of a ledger need, as sweeps of `python -m bench`."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.base.errors import UserError
from bench.base.text import duration, shortened
from bench.claims.effects.evidence import DEFAULT, NUM_TRIALS, RATES, TUNED
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import ats, made_for, pairs
from bench.claims.ledger import Claim, Ledger, Workload
from bench.config.capabilities import shipped_optimizers
from bench.sweep.search_space import Range


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
        num_runs: How many it makes.
        seconds: About how long they take, one after the other.
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


def requirements(ledger: Ledger) -> dict[tuple[str, str, str], Requirement]:
    """Return what the claims of a ledger need, by workload, side and `at`."""
    wanted: dict[tuple[str, str, str], Requirement] = {}
    for claim, measure, workload in measured_on(ledger):
        quantity = QUANTITIES[measure.quantity]
        for at in ats(claim, quantity):
            for side, why in [entry for a, b in pairs(claim, measure, at) for entry in made_for(at, a, b)]:
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


def planned_sweeps(ledger: Ledger, n_jobs: int) -> list[PlannedSweep]:
    """Return the sweeps that a ledger needs, those first whose times count.

    Args:
        ledger: With the workloads of a budget.
        n_jobs: Runs side by side.
    """
    groups: dict[tuple[Any, ...], tuple[list[str], Requirement]] = {}
    for (workload, side, at), need in requirements(ledger).items():
        own = side if at == RATES or " " in side else ""
        sides, whole = groups.setdefault(
            (workload, at, own, need.exclusive), ([], Requirement(exclusive=need.exclusive))
        )
        sides.append(side)
        whole.metrics |= need.metrics
        whole.memory |= need.memory
    made = [
        _planned_sweep(ledger.workloads[key[0]], key[0], key[1], sides, need, n_jobs)
        for key, (sides, need) in groups.items()
    ]
    order = list(ledger.workloads)
    return sorted(
        made,
        key=lambda sweep: (not sweep.exclusive, order.index(sweep.workload), (DEFAULT, TUNED, RATES).index(sweep.at)),
    )


def _planned_sweep(
    workload: Workload, name: str, at: str, sides: Sequence[str], need: Requirement, n_jobs: int
) -> PlannedSweep:
    optimizer, _, settings = sides[0].partition(" ")
    num = len(sides)
    typed = [*workload.run, f"optimizer={','.join(side.partition(' ')[0] for side in sides)}", *settings.split()]
    if at == TUNED:
        typed += ["sweep=tuned", f"sweep.trials={NUM_TRIALS}", f"sweep.seeds={workload.seeds}", "sweep.untuned=false"]
        num_runs = num * (NUM_TRIALS + workload.seeds)
    elif at == RATES:
        seeds = min(workload.seeds, workload.rate_seeds)
        rates = learning_rates(optimizer)
        typed += [f"optimizer.lr={','.join(map(repr, rates))}", f"seeds={_listed(range(1, 1 + seeds))}"]
        num_runs = len(rates) * seeds
    else:
        typed.append(f"seeds={_listed(range(1, 1 + workload.seeds))}")
        num_runs = num * workload.seeds
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
        num_runs * workload.seconds,
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


WHY = {DEFAULT: "as given", TUNED: "tuned", RATES: "at every learning rate"}


def ledger_plan(work: Sequence[PlannedSweep], n_jobs: int, ledger: Ledger, absent: Mapping[str, str]) -> str:
    """Return what would run for a ledger, and for about how long, as text."""
    lines = [
        f"{sweep.num_runs:5} runs, about {duration(sweep.wall_s(n_jobs)):>7}: python -m bench {shlex.join(sweep.overrides)} -m"
        for sweep in work
    ]
    seconds = sum(sweep.wall_s(n_jobs) for sweep in work) + STEP_COST_S * len(timed(ledger))
    lines += [f"{name} is not available on this machine: {why}" for name, why in absent.items()]
    total = sum(sweep.num_runs for sweep in work)
    return "\n".join(
        [
            *lines,
            f"{total:,} runs and step times of {len(timed(ledger))} workloads, about {duration(seconds)} with {n_jobs} at a time",
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
