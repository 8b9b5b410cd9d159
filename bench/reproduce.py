"""`python -m bench.reproduce`: run what the claims of a ledger need, judge each, and write the report."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from bench.claims.ledger import BUDGETS, Claim, Ledger, Workload, ledgers, load
from bench.claims.quantities import DEFAULT, NUM_TRIALS, QUANTITIES, RATES, TUNED, Evidence
from bench.claims.verdicts import ats, comparisons, made_for, pairs, verdicts
from bench.config import CONF_DIR
from bench.environment import num_cores
from bench.report.stats import MIN_PROCESSES
from bench.tuning import Range

if TYPE_CHECKING:
    import pandas as pd

    from bench.app import Session

USAGE = """\
python -m bench.reproduce <ledger> [key=value ...]     run what its claims need, judge them, write the report
python -m bench.reproduce list [<ledger>]              the claims

<ledger>: {ledgers}, or a folder of claims of your own. Keys:
  budget=quick         quick (embedded data, at most 10 minutes on 2 cores) | standard | full
  claim=<id>           one claim only
  plan=true            say what would run and for about how long; run nothing
  rejudge=true         judge what the tables hold, without training: the published ones, or with budget= your own
  publish=true         put the tables and the report of a budget in place of the published ones
  n_jobs=<cores>       runs side by side, where their times do not count
  results_dir=results  reports_dir=reports
"""

TABLES = ("runs", "curves", "step_costs", "claim_runs", "facts")
"""What judging needs, and what is published."""


class Mistake(ValueError):
    """What was typed cannot be carried out; the text is the sentence for the person who typed it."""


@dataclass(frozen=True)
class Options:
    """What a person may set."""

    ledger: str
    budget: str = ""
    claim: str = ""
    plan: bool = False
    rejudge: bool = False
    publish: bool = False
    n_jobs: int = 0
    results_dir: str = "results"
    reports_dir: str = "reports"

    @property
    def is_published(self) -> bool:
        """Whether it is about the published tables."""
        return self.rejudge and not self.budget

    @property
    def name(self) -> str:
        """Name of the ledger."""
        return self.ledger if self.ledger in ledgers() else Path(self.ledger).resolve().name

    @property
    def study(self) -> str:
        """Name of the study: the ledger's, of a budget or as published."""
        return self.name if self.is_published else f"{self.name}-{self.budget or BUDGETS[0]}"

    @property
    def study_dir(self) -> Path:
        """Its folder."""
        return Path(self.results_dir) / self.study

    def command(self, **changes: str | bool) -> str:
        """What is typed for it, with other values."""
        said = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "ledger"} | changes
        defaults = {f.name: f.default for f in fields(self)}
        typed = [
            f"{key}={str(value).lower() if isinstance(value, bool) else value}"
            for key, value in said.items()
            if value != defaults[key]
        ]
        return shlex.join(["python", "-m", "bench.reproduce", self.ledger, *typed])


@dataclass(frozen=True)
class Commands:
    """What is typed for what a report shows.

    Attributes:
        options: What was typed for the report.
        budget: The budget that it shows.
        published: Whether it is of the published tables.
    """

    options: Options
    budget: str
    published: bool

    def repeat(self, claim: str) -> str:
        """Runs and judges one claim again."""
        return self.options.command(budget=self.budget, claim=claim, rejudge=False, publish=False)

    def rebuild(self) -> str:
        """Makes the report anew from its tables."""
        budget = "" if self.published else self.budget
        return self.options.command(budget=budget, rejudge=True, publish=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status (see `bench.app`)."""
    from bench import app

    typed = list(sys.argv[1:] if arguments is None else arguments)
    if not typed or typed[0] in ("-h", "--help"):
        print(USAGE.format(ledgers=", ".join(ledgers())), end="")
        return app.OK if typed else app.REFUSED
    try:
        if typed[0] == "list":
            return _list(typed[1:])
        options = parse(typed)
        return _carry_out(options, load(options.ledger))
    except (ValueError, app.Refused, FileNotFoundError) as error:
        print(f"bench.reproduce: {error}", file=sys.stderr)
        return app.REFUSED
    except KeyboardInterrupt:
        print(
            "bench.reproduce: interrupted; finished runs are saved, run the same command again to resume",
            file=sys.stderr,
        )
        return app.INTERRUPTED


def parse(typed: Sequence[str]) -> Options:
    """The command line as options.

    Raises:
        Mistake: Something in it is not what it must be.
    """
    names = [name for name in typed if "=" not in name]
    if len(names) != 1:
        raise Mistake(f"one ledger must be named, got {' '.join(names) or 'none'}; choose of {', '.join(ledgers())}")
    known = {f.name: f for f in fields(Options) if f.name != "ledger"}
    values: dict[str, Any] = {}
    for entry in typed:
        key, equals, value = entry.partition("=")
        if not equals:
            continue
        if key not in known:
            raise Mistake(f"{key} must be one of {', '.join(known)}, got an unknown key; see --help")
        default = known[key].default
        if isinstance(default, bool):
            if value not in ("true", "false"):
                raise Mistake(f"{key} must be true or false, got {value}; leave it out for false")
            values[key] = value == "true"
        elif isinstance(default, int):
            if not value.isdigit() or int(value) < 1:
                raise Mistake(f"{key} must be a whole number of at least 1, got {value}; leave it out for all cores")
            values[key] = int(value)
        else:
            values[key] = value
    if values.get("budget", "quick") not in BUDGETS:
        raise Mistake(f"budget must be one of {', '.join(BUDGETS)}, got {values['budget']}; choose one of these")
    if values.get("publish") and (values.get("claim") or not values.get("budget")):
        raise Mistake(
            "publish must come with a budget and without claim, got it otherwise; the whole ledger is published"
        )
    return Options(names[0], **values)


def _list(typed: Sequence[str]) -> int:
    import textwrap

    for name in typed or ledgers():
        ledger = load(name)
        print(f"{name}: {ledger.head.title}, {len(ledger.claims)} claims\n")
        for claim in ledger.claims.values():
            print(textwrap.fill(f"{claim.id:6} {claim.claim}", 110, subsequent_indent=" " * 7))
            print(textwrap.fill(_how(claim), 110, initial_indent=" " * 7, subsequent_indent=" " * 7))
        print()
    return 0


def _how(claim: Claim) -> str:
    """How a claim is judged, in a line."""
    if claim.untestable:
        return f"not testable here: {claim.untestable}"
    if claim.fact:
        return f"by a check: {claim.fact}"
    said = "; ".join(
        f"{QUANTITIES[m.quantity].words}: {m.says.replace('_', ' ')} by more than {f'{m.delta:.0%}' if QUANTITIES[m.quantity].is_ratio else f'{m.delta:g} {QUANTITIES[m.quantity].unit}'}"
        for m in claim.measures
    )
    other = ", ".join(claim.against) if claim.against else f"{claim.reference:g}"
    return f"{claim.a} against {other} on {', '.join(claim.workload_names)}: {said}"


# --- what is needed -------------------------------------------------------------------------------------


@dataclass
class Need:
    """What the runs of one side have to leave."""

    metrics: set[str] = field(default_factory=set)
    memory: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Job:
    """One sweep of `python -m bench`.

    Attributes:
        workload: Its name in the ledger.
        at: Why its runs are made.
        sides: Optimizers at their configs' settings, or one side with settings of its own.
        overrides: What is typed, but for study and folders.
        num_runs: How many it makes.
        seconds: About how long they take, one after the other.
        alone: Whether they are made one at a time.
        times_count: Whether a claim is judged by the times of these very runs.
    """

    workload: str
    at: str
    sides: tuple[str, ...]
    overrides: tuple[str, ...]
    num_runs: int
    seconds: float
    alone: bool
    times_count: bool

    def wall_s(self, n_jobs: int) -> float:
        """About how long they take, so many at a time where that may be."""
        return self.seconds / (1 if self.alone else n_jobs)


def needs(ledger: Ledger) -> dict[tuple[str, str, str], Need]:
    """What the claims of a ledger need: by workload, side and `at`."""
    wanted: dict[tuple[str, str, str], Need] = {}
    for claim, measure, workload in _measured(ledger):
        quantity = QUANTITIES[measure.quantity]
        for at in ats(claim, quantity):
            for side, why in [entry for a, b in pairs(claim, measure, at) for entry in made_for(at, a, b)]:
                need = wanted.setdefault((workload, side, why), Need())
                need.metrics |= set(quantity.metrics)
                need.memory |= quantity.memory
                need.alone |= quantity.alone or ledger.workloads[workload].alone
    return wanted


def _measured(ledger: Ledger) -> Iterator[tuple[Claim, Any, str]]:
    for claim in ledger.claims.values():
        for measure in claim.measures:
            for workload in measure.workloads or claim.workload_names:
                if workload in ledger.workloads:
                    yield claim, measure, workload


def jobs(ledger: Ledger, n_jobs: int) -> list[Job]:
    """The sweeps that give a ledger what it needs, those first whose times count.

    Args:
        ledger: With the workloads of a budget.
        n_jobs: Runs side by side.
    """
    groups: dict[tuple[Any, ...], tuple[list[str], Need]] = {}
    for (workload, side, at), need in needs(ledger).items():
        own = side if at == RATES or " " in side else ""
        sides, whole = groups.setdefault((workload, at, own, need.alone), ([], Need(alone=need.alone)))
        sides.append(side)
        whole.metrics |= need.metrics
        whole.memory |= need.memory
    made = [
        _job(ledger.workloads[key[0]], key[0], key[1], sides, need, n_jobs) for key, (sides, need) in groups.items()
    ]
    order = list(ledger.workloads)
    return sorted(
        made, key=lambda job: (not job.alone, order.index(job.workload), (DEFAULT, TUNED, RATES).index(job.at))
    )


def _job(workload: Workload, name: str, at: str, sides: Sequence[str], need: Need, n_jobs: int) -> Job:
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
    if not need.alone and n_jobs > 1:
        typed += ["launcher=pool", f"launcher.n_jobs={n_jobs}"]
    return Job(
        name,
        at,
        tuple(sides),
        tuple(typed),
        num_runs,
        num_runs * workload.seconds,
        need.alone or n_jobs == 1,
        need.alone,
    )


def learning_rates(optimizer: str) -> list[float]:
    """Rates half a decade apart, around the documented one of an optimizer: those of a tuned sweep.

    Raises:
        Mistake: Its config names none.
    """
    file = CONF_DIR / "optimizer" / f"{optimizer}.yaml"
    search = yaml.safe_load(file.read_text()).get("search", {}) if file.is_file() else {}
    if "lr" not in search:
        raise Mistake(f"{optimizer} must have a search.lr in its config to be run at several learning rates, got none")
    center = float(search["lr"]["center"])
    whole = Range("lr", center / 100, center * 100)
    return [whole.at(i / (NUM_TRIALS - 1)) for i in range(NUM_TRIALS)]


def _listed(values: Iterable[object]) -> str:
    return f"[{','.join(map(str, values))}]"


# --- running --------------------------------------------------------------------------------------------


class Overall:
    """Shows all sweeps of a ledger as one, with the time left.

    Args:
        jobs: What is to be made.
        n_jobs: Runs side by side where that may be.
        more_s: Seconds of what comes after.
    """

    def __init__(self, jobs: Sequence[Job], n_jobs: int, more_s: float) -> None:
        from tqdm import tqdm

        self._jobs, self._n_jobs = list(jobs), n_jobs
        self._left_s = sum(job.wall_s(n_jobs) for job in jobs) + more_s
        self._expected_s = self._made_s = 0.0  # of runs that were made, not found
        self._last = time.monotonic()
        self._each_s = 0.0
        self._bar = tqdm(
            total=sum(job.num_runs for job in jobs),
            unit="run",
            disable=not sys.stderr.isatty(),
            leave=False,
            dynamic_ncols=True,
        )

    def begin(self, number: int, job: Job) -> None:
        """A sweep begins."""
        self._each_s = job.wall_s(self._n_jobs) / job.num_runs
        line = f"[{number}/{len(self._jobs)}] {job.workload}, {WHY[job.at]}: {', '.join(job.sides)} ({job.num_runs} runs); {self.left()}"
        if self._bar.disable:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.write(line, file=sys.stderr)

    def left(self) -> str:
        """How long all may still take, from what runs were expected to take and took."""
        pace = self._made_s / self._expected_s if self._expected_s > 5 else 1.0
        return f"about {duration(self._left_s * pace)} left"

    def start(self, label: str) -> Callable[[int, int, float], None]:
        """A run begins."""
        return lambda step, num_steps, loss: None

    def end(self, label: str, outcome: str) -> None:
        """A run ended, or was found done."""
        self._left_s = max(0.0, self._left_s - self._each_s)
        now, before = time.monotonic(), self._last
        self._last = now
        if not outcome.startswith("exists already"):
            self._expected_s += self._each_s
            self._made_s += now - before
        self._bar.set_description(self.left(), refresh=False)
        self._bar.update()

    def close(self) -> None:
        """A sweep is over."""
        self._bar.refresh()

    def finish(self) -> None:
        """All are."""
        self._bar.close()


WHY = {DEFAULT: "as given", TUNED: "tuned", RATES: "at every learning rate"}


def duration(seconds: float) -> str:
    """Seconds in words that a person plans by."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _carry_out(options: Options, whole: Ledger) -> int:
    from bench import app

    ledger = whole.chosen(options.claim or None, options.budget or BUDGETS[0])
    if not options.rejudge:
        n_jobs = options.n_jobs or num_cores()
        ledger, absent = _runnable(ledger)
        work = jobs(ledger, n_jobs)
        if options.plan:
            print(_plan(work, n_jobs, ledger, absent))
            return app.OK
        for name, why in absent.items():
            print(f"bench.reproduce: {name} is left out: {why}", file=sys.stderr)
        _run(options, ledger, work, n_jobs)
    folder, report = options.study_dir, Path(options.reports_dir) / options.study
    if options.publish:
        folder, report = Path(options.results_dir) / options.name, Path(options.reports_dir) / options.name
        publish(folder, *tables_of(options.study_dir))
    return judge_and_report(options, whole, folder, report)


def tables_of(folder: Path) -> tuple[Evidence, pd.DataFrame]:
    """The tables of a study: those that claims are judged by, and the side table `facts`.

    Raises:
        FileNotFoundError: There is no such study.
    """
    from bench import tables

    study = tables.load(folder)
    costs, claim_runs, facts = (tables.load_side(folder, name) for name in ("step_costs", "claim_runs", "facts"))
    for problem in (*study.problems, *costs.attrs["problems"], *claim_runs.attrs["problems"], *facts.attrs["problems"]):
        print(f"bench.reproduce: {problem}", file=sys.stderr)
    return Evidence(study.runs, study.curves, costs, claim_runs), facts


def judge_and_report(options: Options, ledger: Ledger, folder: Path, report_dir: Path) -> int:
    """Judge a ledger by the tables of a folder, print the verdicts, write the report and the verdicts as tables.

    With one claim chosen, all are judged all the same, since they share a correction; only it is printed.
    """
    from bench import app
    from bench.claims.pages import verdict_text, write_report

    evidence, facts = tables_of(folder)
    budget = options.budget or (budget_of(ledger, evidence) if options.is_published else BUDGETS[0])
    ledger = ledger.chosen(budget=budget)
    judged = comparisons(ledger, evidence)
    found = verdicts(ledger, judged, facts)
    with app.writing(report_dir, "reports_dir"):
        commands = Commands(options, budget, published=options.is_published or options.publish)
        write_report(ledger, evidence, judged, found, facts, report_dir, commands)
        judged.drop(columns="sample").to_csv(report_dir / "comparisons.csv", index=False, float_format="%.6g")
        found.to_csv(report_dir / "verdicts.csv", index=False)
    print(verdict_text(ledger.chosen(options.claim or None, budget), judged, found))
    print(f"tables: {folder}{os.sep}")
    print(f"report: {report_dir / 'index.html'}")
    return app.OK


def budget_of(ledger: Ledger, evidence: Evidence) -> str:
    """The smallest budget that all workloads belong to that were run."""
    ran = [ledger.workloads[name].budget for name in set(evidence.claim_runs["workload"]) & set(ledger.workloads)]
    return max(ran, key=BUDGETS.index, default=BUDGETS[0])


def _plan(work: Sequence[Job], n_jobs: int, ledger: Ledger, absent: Mapping[str, str]) -> str:
    lines = [
        f"{job.num_runs:5} runs, about {duration(job.wall_s(n_jobs)):>7}: python -m bench {shlex.join(job.overrides)} -m"
        for job in work
    ]
    seconds = sum(job.wall_s(n_jobs) for job in work) + STEP_COST_S * len(timed(ledger))
    lines += [f"not here: {name}: {why}" for name, why in absent.items()]
    total = sum(job.num_runs for job in work)
    return "\n".join(
        [
            *lines,
            f"{total:,} runs and step times of {len(timed(ledger))} workloads, about {duration(seconds)} with {n_jobs} at a time",
        ]
    )


def _runnable(ledger: Ledger) -> tuple[Ledger, dict[str, str]]:
    """The ledger with the workloads that can be trained on here, and why the others cannot."""
    import torch
    from hydra import compose, initialize_config_dir

    from bench.app import plain
    from bench.config import parse as parse_config
    from bench.device import Unavailable, resolve
    from bench.run import dataset

    used = list(dict.fromkeys(workload for _, _, workload in _measured(ledger)))
    absent: dict[str, str] = {}
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        for name in used:
            try:
                config = parse_config(plain(compose("config", ledger.workloads[name].run)))
                resolve(config.device.name)
                dataset(config.data, torch.device("cpu"))
            except (ValueError, Unavailable) as error:
                absent[name] = str(error)
    return ledger._replace(
        workloads={k: v for k, v in ledger.workloads.items() if k in used and k not in absent}
    ), absent


STEP_COST_S = 30.0
"""What timing the steps of one workload takes, about."""


def _run(options: Options, ledger: Ledger, work: Sequence[Job], n_jobs: int) -> None:
    """Make all runs, time steps, carry out the checks of statements of fact.

    Raises:
        Refused: Something cannot be carried out.
        KeyboardInterrupt: After the run in flight was recorded.
    """
    from bench import app, tables
    from bench.pool import Pool
    from bench.progress import overall

    facts = _facts(ledger)
    place = [f"study={options.study}", f"results_dir={options.results_dir}", "report=false"]
    if any(not job.alone for job in work):
        app.prepare_pool()
    shown = Overall(work, n_jobs, STEP_COST_S * len(timed(ledger)))
    pool = Pool(n_jobs) if any(not job.alone for job in work) else None
    try:
        with overall(shown):
            for number, job in enumerate(work, 1):
                shown.begin(number, job)
                session = app.sweep([*job.overrides, *place], pool)
                if job.times_count and _contended(session):
                    session = app.sweep([*job.overrides, *place, "force=true"], pool)
                if session.refusal:
                    raise app.Refused(f"{job.workload}: {session.refusal}")
                _record(options.study_dir, job, session)
    finally:
        shown.finish()
        if pool is not None:
            pool.close(now=True)
    tables.build(options.study_dir)
    _time_steps(options, ledger)
    _check_facts(options.study_dir, facts)
    tables.build(options.study_dir)


def _contended(session: Session) -> bool:
    """Whether the machine was busy in most of the runs."""
    busy = [row.get("timing_quality") == "contended" for row in session.rows.values()]
    return bool(2 * sum(busy) > len(busy))


def _record(study_dir: Path, job: Job, session: Session) -> None:
    """Write down which runs are of which side."""
    from bench import tables
    from bench.config import short_hash

    stage = "final" if job.at == TUNED else "single"
    rows = [
        {
            "workload": job.workload,
            "side": job.sides[0] if len(job.sides) == 1 else row["optimizer"],
            "at": job.at,
            "run_id": run_id,
        }
        for run_id, row in session.rows.items()
        if row["stage"] == stage
    ]
    for side in job.sides:
        part = f"{job.workload}-{job.at}-{short_hash([side], 8)}"
        tables.write_side(study_dir, "claim_runs", part, [row for row in rows if row["side"] == side])


def timed(ledger: Ledger) -> dict[str, list[str]]:
    """Sides whose steps have to be timed, by workload."""
    wanted: dict[str, list[str]] = {}
    for claim, measure, workload in _measured(ledger):
        if QUANTITIES[measure.quantity].step_costs and not ledger.workloads[workload].alone:
            for side in itertools.chain.from_iterable(pairs(claim, measure, DEFAULT)):
                entry = _entry(side or "")
                if entry is not None and entry not in wanted.setdefault(workload, []):
                    wanted[workload].append(entry)
    return wanted


def _entry(side: str) -> str | None:
    """A side as an element of `optimizers` of `bench.step_cost`; None where its steps are those of another."""
    name, _, settings = side.partition(" ")
    options = [
        part.removeprefix("optimizer.").split("=", 1) for part in settings.split() if part.startswith("optimizer.")
    ]
    costly = [(key, value) for key, value in options if key != "lr"]
    if not name or name == "lbfgs":
        return None
    return f"{{name:{name},{','.join(f'{key}:{value}' for key, value in costly)}}}" if costly else name


def _time_steps(options: Options, ledger: Ledger) -> None:
    """Time the steps of what is compared by time, where no session of an undisturbed machine has."""
    from bench import app, tables
    from bench.step_cost import measure

    study = tables.load(options.study_dir)
    for number, (workload, entries) in enumerate(timed(ledger).items(), 1):
        claimed = tables.load_side(options.study_dir, "claim_runs")
        ids = claimed.loc[(claimed["workload"] == workload) & (claimed["at"] == DEFAULT), "run_id"]
        runs = study.runs[study.runs["run_id"].isin(ids)]
        costs = tables.load_side(options.study_dir, "step_costs")
        if _is_timed(runs, costs, entries):
            continue
        print(
            f"step times {number}/{len(timed(ledger))}: {workload}, {', '.join(entries)}", file=sys.stderr, flush=True
        )
        groups = ("model", "data", "device", "train.batch_size")
        own = [
            part
            for part in ledger.workloads[workload].run
            if part.startswith(groups) and not part.startswith("data.order")
        ]
        kinds = sorted(set(runs["implementation"].dropna())) or ["forloop"]
        typed = [
            *own, f"optimizers=[{','.join(entries)}]", f"implementations=[{','.join(kinds)}]", "builds=2",
            f"study={options.study}", f"results_dir={options.results_dir}", "report=false",
        ]  # fmt: skip
        refusal = app.compose("step_cost", lambda node: measure(node), typed)
        if refusal:
            raise app.Refused(f"{workload}: {refusal}")


def _is_timed(runs: pd.DataFrame, costs: pd.DataFrame, entries: Sequence[str]) -> bool:
    """Whether one session timed as many sides, on this workload and machine, undisturbed."""
    if costs.empty or runs.empty:
        return False
    here = costs[
        (costs["workload_id"].isin(runs["workload_id"])) & (costs["environment_id"].isin(runs["environment_id"]))
    ]
    quiet = here[(here["status"] == "ok") & (here["timing_quality"] != "contended")]
    processes = quiet.groupby(["session_id", "step_cost_id"])["process"].nunique()
    sessions = processes[processes >= MIN_PROCESSES].groupby("session_id").size()
    return bool((sessions >= len(entries)).any())


def _facts(ledger: Ledger) -> list[str]:
    """The checks that its claims name.

    Raises:
        Mistake: There is no such check.
    """
    wanted = {claim.fact: claim.id for claim in ledger.claims.values() if claim.fact is not None}
    if wanted:
        from bench.claims.facts import FACTS

        for name in set(wanted) - set(FACTS):
            raise Mistake(
                f"fact of claim {wanted[name]} must be one of {', '.join(FACTS)}, got {name}; choose one of these"
            )
    return sorted(wanted)


def _check_facts(study_dir: Path, wanted: Sequence[str]) -> None:
    """Carry out the checks of statements of fact."""
    if not wanted:
        return
    import torch

    from bench import tables
    from bench.claims.facts import FACTS

    for name in wanted:
        found = FACTS[name]()
        row = {
            "fact": name,
            "holds": bool(found.holds),
            "numbers": json.dumps(found.numbers),
            "torch_version": torch.__version__,
        }
        tables.write_side(study_dir, "facts", name, [row])


# --- publishing -----------------------------------------------------------------------------------------


def publish(folder: Path, evidence: Evidence, facts: pd.DataFrame) -> None:
    """Write the tables that judging needs, and nothing else, as few bytes as that takes.

    Runs that no claim is judged by are left out, and so are curves of runs at every learning rate, and what tells of the
    machine but not of its measurements: its name, paths, the state of a checkout. Curves are kept to single precision.

    Args:
        folder: Where to.
        evidence: The tables.
        facts: Side table `facts`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bench import tables

    claimed = evidence.claim_runs
    runs = evidence.runs[evidence.runs["run_id"].isin(claimed["run_id"])]
    runs = runs.assign(hostname=None, git_commit=None, command=None)
    runs["data_options"] = runs["data_options"].map(_without_paths)
    drawn = claimed[claimed["at"] != RATES]
    curves = evidence.curves[evidence.curves["run_id"].isin(drawn["run_id"]) & (evidence.curves["split"] != "test")]
    curves = curves.astype({"value": "float32", "train_time_s": "float32"})
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in zip(
        TABLES, (runs, curves, evidence.step_costs.assign(command=None), claimed, facts), strict=True
    ):
        made = pa.Table.from_pandas(table.reset_index(drop=True), preserve_index=False)
        made = made.replace_schema_metadata({b"schema_version": str(tables.SCHEMA_VERSION).encode()})
        pq.write_table(made, folder / f"{name}.parquet", compression="zstd", compression_level=19)


def _without_paths(options: str) -> str:
    """The arguments of a data set, less where its files lie."""
    kept = {key: value for key, value in json.loads(options).items() if key not in ("root", "path")}
    return json.dumps(kept, sort_keys=True)


if __name__ == "__main__":
    from bench.__main__ import find_packages

    find_packages()
    sys.exit(main())
