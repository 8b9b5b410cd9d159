"""The command `python -m bench.reproduce`: run what the claims of a ledger need, judge each, write the report."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.base.errors import UserError
from bench.claims.effects.evidence import Evidence
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import comparisons, verdicts
from bench.claims.ledger import BUDGETS, Claim, Ledger, ledgers, load
from bench.claims.needs import jobs, ledger_plan
from bench.claims.options import Commands, Options
from bench.claims.publish import publish, tables_of
from bench.claims.runner import run_ledger, runnable_ledger
from bench.measure.environment import num_cores

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status (see `bench.base.errors`)."""
    from bench.base.errors import INTERRUPTED, OK, REFUSED, UserError

    typed = list(sys.argv[1:] if arguments is None else arguments)
    if not typed or typed[0] in ("-h", "--help"):
        print(USAGE.format(ledgers=", ".join(ledgers())), end="")
        return OK if typed else REFUSED
    try:
        if typed[0] == "list":
            return _list(typed[1:])
        options = parse(typed)
        return _carry_out(options, load(options.ledger))
    except (UserError, FileNotFoundError) as error:
        print(f"bench.reproduce: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(
            "bench.reproduce: interrupted; finished runs are saved, run the same command again to resume",
            file=sys.stderr,
        )
        return INTERRUPTED


def parse(typed: Sequence[str]) -> Options:
    """The command line as options.

    Raises:
        UserError: Something in it is not what it must be.
    """
    names = [name for name in typed if "=" not in name]
    if len(names) != 1:
        raise UserError(f"one ledger must be named, got {' '.join(names) or 'none'}; choose of {', '.join(ledgers())}")
    known = {f.name: f for f in fields(Options) if f.name != "ledger"}
    values: dict[str, Any] = {}
    for entry in typed:
        key, equals, value = entry.partition("=")
        if not equals:
            continue
        if key not in known:
            raise UserError(f"{key} must be one of {', '.join(known)}, got an unknown key; see --help")
        default = known[key].default
        if isinstance(default, bool):
            if value not in ("true", "false"):
                raise UserError(f"{key} must be true or false, got {value}; leave it out for false")
            values[key] = value == "true"
        elif isinstance(default, int):
            if not value.isdigit() or int(value) < 1:
                raise UserError(f"{key} must be a whole number of at least 1, got {value}; leave it out for all cores")
            values[key] = int(value)
        else:
            values[key] = value
    if values.get("budget", "quick") not in BUDGETS:
        raise UserError(f"budget must be one of {', '.join(BUDGETS)}, got {values['budget']}; choose one of these")
    if values.get("publish") and (values.get("claim") or not values.get("budget")):
        raise UserError(
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


def _carry_out(options: Options, whole: Ledger) -> int:
    from bench.base.errors import OK

    ledger = whole.chosen(options.claim or None, options.budget or BUDGETS[0])
    if not options.rejudge:
        n_jobs = options.n_jobs or num_cores()
        ledger, absent = runnable_ledger(ledger)
        work = jobs(ledger, n_jobs)
        if options.plan:
            print(ledger_plan(work, n_jobs, ledger, absent))
            return OK
        for name, why in absent.items():
            print(f"bench.reproduce: {name} is left out: {why}", file=sys.stderr)
        run_ledger(options, ledger, work, n_jobs)
    folder, report = options.study_dir, Path(options.reports_dir) / options.study
    if options.publish:
        folder, report = Path(options.results_dir) / options.name, Path(options.reports_dir) / options.name
        publish(folder, *tables_of(options.study_dir))
    return judge_and_report(options, whole, folder, report)


def judge_and_report(options: Options, ledger: Ledger, folder: Path, report_dir: Path) -> int:
    """Judge a ledger by the tables of a folder, print the verdicts, write the report and the verdicts as tables.

    With one claim chosen, all are judged all the same, since they share a correction; only it is printed.
    """
    from bench.base.errors import OK
    from bench.claims.report.page import write_report
    from bench.claims.report.table import verdict_text
    from bench.execution.session import writing

    evidence, facts = tables_of(folder)
    budget = options.budget or (budget_of(ledger, evidence) if options.is_published else BUDGETS[0])
    ledger = ledger.chosen(budget=budget)
    judged = comparisons(ledger, evidence)
    found = verdicts(ledger, judged, facts)
    with writing(report_dir, "reports_dir"):
        commands = Commands(options, budget, published=options.is_published or options.publish)
        write_report(ledger, evidence, judged, found, facts, report_dir, commands)
        judged.drop(columns=["sample", "why"]).to_csv(report_dir / "comparisons.csv", index=False, float_format="%.6g")
        found.to_csv(report_dir / "verdicts.csv", index=False)
    print(verdict_text(ledger.chosen(options.claim or None, budget), judged, found))
    print(f"tables: {folder}{os.sep}")
    print(f"report: {report_dir / 'index.html'}")
    return OK


def budget_of(ledger: Ledger, evidence: Evidence) -> str:
    """The smallest budget that all workloads belong to that were run."""
    ran = [ledger.workloads[name].budget for name in set(evidence.claim_runs["workload"]) & set(ledger.workloads)]
    return max(ran, key=BUDGETS.index, default=BUDGETS[0])
