"""The command `python -m bench.reproduce`: run what the claims of a ledger need, judge each, write the report."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from bench.base.console import say
from bench.base.errors import INTERRUPTED, OK, REFUSED, UserError
from bench.claims.effects.evidence import Evidence
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import comparisons, verdicts
from bench.claims.ledger import BUDGETS, Claim, Ledger, ledgers, load
from bench.claims.needs import ledger_plan, planned_sweeps
from bench.claims.options import Commands, Options, options_help, parse
from bench.claims.publish import publish, tables_of
from bench.claims.rounds import LOOKS
from bench.claims.runner import run_ledger, runnable_ledger
from bench.claims.trust import check_trust, foreign_targets
from bench.claims.variants import variants
from bench.measure.environment import num_cores

USAGE = """\
usage: python -m bench.reproduce <ledger> [key=value ...]
       python -m bench.reproduce list [<ledger> ...]
       python -m bench.reproduce quantities

Run what the claims of a ledger need, judge each of them, and write the report.
`list` prints the claims of ledgers, `quantities` what a claim can measure.

ledgers:
  {ledgers}, or a folder of claims of your own

options:
{options}

Exit status: 0 done, whatever the verdicts; 2 the command was refused; 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command line; return the exit status (see `bench.base.errors`)."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    if not typed or typed[0] in ("-h", "--help"):
        say(USAGE.format(ledgers=", ".join(ledgers()), options=options_help()), end="")
        return OK if typed else REFUSED
    try:
        if typed[0] == "list":
            return _list(typed[1:])
        if typed == ["quantities"]:
            return _quantities()
        options = parse(typed)
        return _carry_out(options, load(options.ledger))
    except (UserError, FileNotFoundError) as error:
        say(f"bench.reproduce: {error}", sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        say(
            "bench.reproduce: interrupted; finished runs are saved, run the same command again to resume",
            sys.stderr,
        )
        return INTERRUPTED


def _quantities() -> int:
    """Print what claims can measure."""
    width = max(map(len, QUANTITIES))
    say(f"{'quantity':{width}}  {'unit':7}  meaning")
    for name, quantity in QUANTITIES.items():
        say(f"{name:{width}}  {quantity.unit:7}  {quantity.words}")
    say(
        "\nA ratio is of one side to the other, so delta: 0.05 means a factor of 1.05; other units are of a difference.\n"
        "measures: [{quantity: val_loss, says: less, delta: 0.05}]"
    )
    return OK


def _list(typed: Sequence[str]) -> int:
    for name in typed or ledgers():
        ledger = load(name)
        say(f"{name}: {ledger.head.title}, {len(ledger.claims)} claims\n")
        for claim in ledger.claims.values():
            say(textwrap.fill(f"{claim.id:6} {claim.claim}", 110, subsequent_indent=" " * 7))
            say(textwrap.fill(_how(claim), 110, initial_indent=" " * 7, subsequent_indent=" " * 7))
        say()
    return 0


def _how(claim: Claim) -> str:
    """Return how a claim is judged, in a line."""
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
    ledger = whole.chosen(options.claim or None, options.run_budget)
    if not options.rejudge:
        n_jobs = options.n_jobs or num_cores()
        unseen = foreign_targets(ledger)
        if not (options.plan or options.trust):
            check_trust(ledger, options.ledger)
        ledger, absent = runnable_ledger(ledger, unseen if options.plan else ())
        if options.plan:
            looks = LOOKS[options.run_budget]
            say(ledger_plan(planned_sweeps(ledger, n_jobs, looks), n_jobs, ledger, absent, looks))
            return OK
        for name, why in absent.items():
            say(f"bench.reproduce: {name} is left out: {why}", sys.stderr)
        run_ledger(options, ledger, n_jobs)
    folder, report = options.study_dir, Path(options.reports_dir) / options.study
    if options.rejudge and not folder.is_dir():
        raise UserError(
            f"rejudge=true must be given where there are tables to judge, got {folder}, which does not exist; the published ones"
            " are in the folder results/ of the source repository, and without rejudge=true the runs are made here"
        )
    if options.publish:
        folder, report = Path(options.results_dir) / options.name, Path(options.reports_dir) / options.name
        publish(folder, *tables_of(options.study_dir))
    return judge_and_report(options, whole, folder, report)


def judge_and_report(options: Options, ledger: Ledger, folder: Path, report_dir: Path) -> int:
    """Judge a ledger by the tables of a folder; print the verdicts, write them as tables, and write the report.

    All claims are judged even if one was chosen, since they share a correction; only the chosen one is printed.
    """
    from bench.claims.report.page import write_report
    from bench.claims.report.table import verdict_text
    from bench.execution.session import writing

    evidence, facts = tables_of(folder)
    budget = options.budget or (budget_of(ledger, evidence) if options.is_published else BUDGETS[0])
    ledger = ledger.chosen(budget=budget)
    judged = comparisons(ledger, evidence)
    found = verdicts(ledger, judged, facts)
    varied = variants(ledger, evidence, judged, facts)
    with writing(report_dir, "reports_dir"):
        commands = Commands(options, budget, published=options.is_published or options.publish)
        write_report(ledger, evidence, judged, found, facts, varied, report_dir, commands)
    chosen = ledger.chosen(options.claim or None, budget)
    if options.json:
        from bench.report.as_json import as_json

        own = {
            name: table[table["claim"].isin(chosen.claims)]
            for name, table in (("verdicts", found), ("comparisons", judged), ("variants", varied))
        }
        own["comparisons"] = own["comparisons"].drop(columns=["sample", "why"])
        files = {"tables": str(folder), "report": str(report_dir / "index.html")}
        say(as_json({"ledger": options.name, "budget": budget, **files, **own, "exit_status": OK}))
        return OK
    say(verdict_text(chosen, judged, found))
    say(f"tables: {folder}{os.sep}")
    say(f"report: {report_dir / 'index.html'}")
    return OK


def budget_of(ledger: Ledger, evidence: Evidence) -> str:
    """Return the smallest budget to which all workloads belong that were run."""
    ran = [ledger.workloads[name].budget for name in set(evidence.claim_runs["workload"]) & set(ledger.workloads)]
    return max(ran, key=BUDGETS.index, default=BUDGETS[0])
