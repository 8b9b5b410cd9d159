"""What is wrong with the runs of a study: every rule over every run, seeds of a setting together."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.analysis.finding_rules import IMPLIES, RULES
from bench.analysis.findings import NOTE, Case, Finding


def diagnose(runs: pd.DataFrame, curves: pd.DataFrame, diagnostics: pd.DataFrame) -> list[Finding]:
    """Return what stands out in some runs, in their order, what matters most of each first.

    Args:
        runs: Rows of the table `runs`.
        curves: The table `curves`.
        diagnostics: The side table `diagnostics`; empty where nothing was recorded.
    """
    wanted = curves["run_id"].isin(runs["run_id"]) & (curves["metric"] == "loss")
    losses = _by_run(curves[wanted], ["split"])
    layered = diagnostics.assign(layer=diagnostics["layer"].fillna("")) if len(diagnostics) else diagnostics
    records = _by_run(layered, ["name", "layer"]) if len(layered) else {}
    found = []
    for _, run in runs.iterrows():
        name = run["run_id"]
        case = Case(run, losses.get(name, {}), records.get(name, {}))
        own = [finding for rule in RULES.values() for finding in rule(case)]
        implied = set().union(*(IMPLIES.get(finding.rule, set()) for finding in own))
        found += [finding for finding in own if finding.rule not in implied]
    return found


def _by_run(table: pd.DataFrame, keys: list[str]) -> dict[str, dict[Any, pd.Series]]:
    """Return by run and further keys the values of a table by step."""
    ordered = table.sort_values("step", kind="stable")
    steps, values = ordered["step"].to_numpy(int), ordered["value"].to_numpy(float)
    found: dict[str, dict[Any, pd.Series]] = {}
    for (run, *rest), places in ordered.groupby(["run_id", *keys], sort=False).indices.items():
        key = rest[0] if len(rest) == 1 else tuple(rest)
        found.setdefault(run, {})[key] = pd.Series(values[places], index=steps[places])
    return found


@dataclass(frozen=True)
class Group:
    """The same finding in several runs of one setting.

    Attributes:
        series: The setting.
        first: The finding in its first run.
        num: In how many runs.
        num_runs: Of how many.
        command: What tries what is advised; empty where it is no matter of one key.
    """

    series: str
    first: Finding
    num: int
    num_runs: int
    command: str


def grouped(findings: list[Finding], runs: pd.DataFrame) -> list[Group]:
    """Return findings with the seeds of a setting together.

    Args:
        findings: What `diagnose` gave of the runs.
        runs: Rows of `runs` with `series`.
    """
    series = dict(zip(runs["run_id"], runs["series"].astype(str), strict=True))
    commands = dict(zip(runs["run_id"], runs["command"].fillna("").astype(str), strict=True))
    together: dict[tuple[str, str], dict[str, Finding]] = {}
    for finding in findings:
        together.setdefault((series[finding.run_id], finding.rule), {}).setdefault(finding.run_id, finding)
    groups = []
    for (name, _), by_run in together.items():
        first = next(iter(by_run.values()))
        num_runs = int((runs["series"].astype(str) == name).sum())
        groups.append(Group(name, first, len(by_run), num_runs, with_override(commands[first.run_id], first.override)))
    return sorted(groups, key=lambda group: group.first.kind == NOTE)


def with_override(command: str, override: str) -> str:
    """Return the command of a run with one key set otherwise; empty where there is nothing to set or no command.

    >>> with_override("python -m bench optimizer=sgd optimizer.lr=1 'seeds=[0]' force=true", "optimizer.lr=0.1")
    "python -m bench optimizer=sgd 'seeds=[0]' optimizer.lr=0.1"
    """
    if not override or not command.startswith("python -m bench"):
        return ""
    key = re.escape(override.partition("=")[0])
    kept = [word for word in shlex.split(command) if not re.match(rf"\+*{key}=", word) and word != "force=true"]
    return shlex.join([*kept, override])
