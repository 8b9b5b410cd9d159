"""Make the runs that claims need, time steps and carry out the checks."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bench.analysis.quality import enough_undisturbed
from bench.analysis.step_costs import newest_session
from bench.analysis.verdict import CANNOT_TELL
from bench.base.console import say
from bench.base.errors import UserError
from bench.claims.effects.evidence import CHOSEN_BY, DEFAULT, ENDED
from bench.claims.evaluate import comparisons
from bench.claims.ledger import Ledger
from bench.claims.needs import STEP_COST_S, PlannedSweep, measured_on, planned_sweeps, timed
from bench.claims.options import Options
from bench.claims.progress import LedgerProgress
from bench.claims.publish import tables_of
from bench.claims.rounds import LOOKS, MINUTES, open_sides

if TYPE_CHECKING:
    from bench.execution.session import Session


def runnable_ledger(ledger: Ledger, unseen: Collection[str] = ()) -> tuple[Ledger, dict[str, str]]:
    """Return the ledger with the workloads that can run on this machine, and the reason for each of the others.

    Args:
        ledger: With the workloads of a budget.
        unseen: Workloads that are kept without a look at their data, which would call what they name.
    """
    import torch

    from bench.compose.composer import composed
    from bench.config.parse import parse as parse_config
    from bench.execution.workload import dataset
    from bench.measure.device import Unavailable, resolve

    used = list(dict.fromkeys(workload for _, _, workload in measured_on(ledger)))
    absent: dict[str, str] = {}
    for name in used:
        if name in unseen:
            continue
        try:
            config = parse_config(composed(ledger.workloads[name].run))
            resolve(config.device.name)
            dataset(config.data, torch.device("cpu"))
        except (UserError, Unavailable) as error:
            absent[name] = str(error)
    return ledger._replace(
        workloads={k: v for k, v in ledger.workloads.items() if k in used and k not in absent}
    ), absent


def run_ledger(options: Options, ledger: Ledger, n_jobs: int) -> None:
    """Make all runs, time steps, carry out the checks of statements of fact.

    Where the budget has several looks, seeds are added in rounds to the sides of comparisons that are open, until none is or the
    time is over, see `bench.claims.rounds`. What is decided at a look rests on the tables alone: a command that was interrupted
    takes the same decisions again.

    Raises:
        UserError: Something cannot be carried out.
        KeyboardInterrupt: After the run in flight was recorded.
    """
    from bench import tables

    facts = _facts(ledger)
    looks = LOOKS[options.run_budget]
    limit_s = 60 * (options.max_minutes or MINUTES[options.run_budget])
    sweeps = planned_sweeps(ledger, n_jobs, looks)
    for number in range(len(looks)):
        _make(options, sweeps, n_jobs, STEP_COST_S * len(timed(ledger)) if number == 0 else 0.0)
        tables.build(options.study_dir)
        if number == 0:
            time_steps(options, ledger)
        if number + 1 >= len(looks):
            break
        sweeps = _next_round(options, ledger, n_jobs, looks, number, limit_s)
        if not sweeps:
            break
    _check_facts(options.study_dir, facts)
    tables.build(options.study_dir)


def _make(options: Options, sweeps: Sequence[PlannedSweep], n_jobs: int, more_s: float) -> None:
    """Carry out sweeps, one after the other, and write down which runs are of which side."""
    from bench.execution.launchers.forkserver import prepare_pool
    from bench.execution.launchers.pool import Pool
    from bench.sweep.launch import run_sweep

    place = [f"study={options.study}", f"results_dir={options.results_dir}", "report=false"]
    if any(not sweep.exclusive for sweep in sweeps):
        prepare_pool()
    progress = LedgerProgress(sweeps, n_jobs, more_s)
    pool = Pool(n_jobs) if any(not sweep.exclusive for sweep in sweeps) else None
    try:
        for number, sweep in enumerate(sweeps, 1):
            progress.begin(number, sweep)
            session = run_sweep([*sweep.overrides, *place], pool, progress)
            if sweep.times_count and _is_disturbed(sweep, session):
                session = run_sweep([*sweep.overrides, *place, "force=true"], pool, progress)
            if session.refusal:
                raise UserError(f"{sweep.workload}: {session.refusal}")
            _record(options.study_dir, sweep, session)
    finally:
        progress.finish()
        if pool is not None:
            pool.close()


def _next_round(
    options: Options, ledger: Ledger, n_jobs: int, looks: Sequence[int], number: int, limit_s: float
) -> list[PlannedSweep]:
    """Return the sweeps of the next round: those for comparisons that are open, cheapest first, as far as the time reaches."""
    evidence, _ = tables_of(options.study_dir)
    judged = comparisons(ledger, evidence)
    wanted = open_sides(ledger, judged, looks)
    took_s = evidence.runs["total_s"].astype(float)
    left_s = limit_s - float(took_s.sum()) / n_jobs
    sweeps, kept = planned_sweeps(ledger, n_jobs, looks, number + 1, wanted), []
    for sweep in sorted(sweeps, key=lambda sweep: sweep.wall_s(n_jobs)):
        if sweep.wall_s(n_jobs) > left_s:
            break
        left_s -= sweep.wall_s(n_jobs)
        kept.append(sweep)
    num_open = int((judged["verdict"] == CANNOT_TELL).sum())
    said = f"bench.reproduce: look {number + 1} of {len(looks)} at most, {looks[number]} seeds: {num_open} of"
    said += f" {len(judged)} comparisons are open; {len(wanted)} sides get more seeds"
    late = (
        f", but {len(sweeps) - len(kept)} of {len(sweeps)} sweeps do not fit into the time"
        if len(kept) < len(sweeps)
        else ""
    )
    say(said + late, sys.stderr)
    return sorted(kept, key=sweeps.index)


def _is_disturbed(sweep: PlannedSweep, session: Session) -> bool:
    """Tell whether the times of some side cannot be judged by, see `enough_undisturbed`."""
    rows = pd.DataFrame([{**row, **more} for row, more in _recorded(sweep, session) if row["status"] in ENDED])
    return bool(len(rows)) and not all(enough_undisturbed(side) for _, side in rows.groupby("side"))


def _recorded(sweep: PlannedSweep, session: Session) -> list[tuple[Mapping[str, Any], dict[str, str]]]:
    """Return the rows of a sweep's runs that are judged, each with its row of the side table `claim_runs`."""
    stage = "final" if sweep.at in CHOSEN_BY else "single"
    return [
        (
            row,
            {
                "workload": sweep.workload,
                "side": sweep.sides[0] if len(sweep.sides) == 1 else row["optimizer"],
                "at": sweep.at,
                "run_id": run_id,
            },
        )
        for run_id, row in session.rows.items()
        if row["stage"] == stage
    ]


def _record(study_dir: Path, sweep: PlannedSweep, session: Session) -> None:
    """Write down which runs are of which side."""
    from bench import tables
    from bench.base.hashing import short_hash

    rows = [claimed for _, claimed in _recorded(sweep, session)]
    for side in sweep.sides:
        part = f"{sweep.workload}-{sweep.at}-{short_hash([side], 8)}"
        tables.write_side(study_dir, "claim_runs", part, [row for row in rows if row["side"] == side])


def time_steps(options: Options, ledger: Ledger) -> None:
    """Time the steps of what is compared by time, where no session of an undisturbed machine has."""
    from bench import tables
    from bench.compose.command_line import run_command_line
    from bench.step_cost.measurement import measure

    runs = tables.load(options.study_dir).runs
    for number, (workload, entry_of) in enumerate(timed(ledger).items(), 1):
        entries = list(dict.fromkeys(entry_of.values()))
        claimed = tables.load_side(options.study_dir, "claim_runs")
        claimed = claimed[(claimed["workload"] == workload) & (claimed["at"] == DEFAULT)]
        made = runs.merge(claimed[["run_id", "side"]], on="run_id")
        if _is_timed(made, tables.load_side(options.study_dir, "step_costs"), list(entry_of)):
            continue
        say(f"step times {number}/{len(timed(ledger))}: {workload}, {', '.join(entries)}", sys.stderr)
        groups = ("model", "data", "device", "train.batch_size")
        own = [
            part
            for part in ledger.workloads[workload].run
            if part.startswith(groups) and not part.startswith("data.order")
        ]
        kinds = sorted(set(made["implementation"].dropna())) or ["forloop"]
        typed = [
            *own, f"optimizers=[{','.join(entries)}]", f"implementations=[{','.join(kinds)}]", "builds=2",
            f"study={options.study}", f"results_dir={options.results_dir}", "report=false",
        ]  # fmt: skip
        refusal = run_command_line("step_cost", lambda node: measure(node), typed)
        if refusal:
            raise UserError(f"{workload}: {refusal}")


def _is_timed(runs: pd.DataFrame, costs: pd.DataFrame, sides: Sequence[str]) -> bool:
    """Tell whether one undisturbed session timed the steps of every side, with its settings, here.

    Args:
        runs: Runs of the sides, with `side`.
        costs: Rows of the side table `step_costs`.
        sides: What must be timed.
    """
    wanted = [set(runs.loc[runs["side"] == side, "step_cost_id"].dropna()) for side in sides]
    return newest_session(costs, wanted) is not None


def _facts(ledger: Ledger) -> list[str]:
    """Return the names of the checks that its claims need.

    Raises:
        UserError: There is no such check.
    """
    wanted = {claim.fact: claim.id for claim in ledger.claims.values() if claim.fact is not None}
    if wanted:
        from bench.claims.checks.articles import FACTS

        for name in set(wanted) - set(FACTS):
            raise UserError(
                f"fact of claim {wanted[name]} must be one of {', '.join(FACTS)}, got {name}; choose one of these"
            )
    return sorted(wanted)


def _check_facts(study_dir: Path, wanted: Sequence[str]) -> None:
    """Carry out the checks of statements of fact."""
    if not wanted:
        return
    import torch

    from bench import tables
    from bench.claims.checks.articles import FACTS

    for name in wanted:
        found = FACTS[name]()
        row = {
            "fact": name,
            "holds": bool(found.holds),
            "numbers": json.dumps(found.numbers),
            "torch_version": torch.__version__,
        }
        tables.write_side(study_dir, "facts", name, [row])
