"""The options of `python -m bench.reproduce`: one table, from which they are parsed, explained and repeated."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

from bench.base.errors import UserError
from bench.claims.ledger import BUDGETS, ledgers

_BUDGETS_MEAN = (
    "quick, the default: embedded data, one number of seeds, at most 10 minutes on 2 cores; standard: also data from files, and"
    " seeds in rounds while a comparison is open, up to three hours; full: all of it"
)


def _option(default: str | bool | int, shown: str, meaning: str, choices: tuple[str, ...] = ()) -> Any:
    """Declare an option: its default, how it is shown in the help, what it means, and the values it may have."""
    return field(default=default, metadata={"shown": shown, "meaning": meaning, "choices": choices})


@dataclass(frozen=True)
class Options:
    """The ledger and the options of one command; their defaults, meanings and values are declared here."""

    ledger: str
    budget: str = _option("", "|".join(BUDGETS), _BUDGETS_MEAN, BUDGETS)
    claim: str = _option("", "<id>", "judge this claim only")
    plan: bool = _option(False, "true", "print what would run and for about how long; run nothing")
    rejudge: bool = _option(
        False, "true", "judge the stored tables again, without training: those published, or with budget= your own"
    )
    publish: bool = _option(False, "true", "replace the published tables and report by those of a budget")
    max_minutes: int = _option(
        0,
        "<number>",
        "minutes that runs may take before no more seeds are added; default: 150 for standard, else no limit",
    )
    n_jobs: int = _option(0, "<number>", "runs side by side where their times do not count; default: all cores")
    trust: bool = _option(
        False, "true", "let a ledger of your own call code outside bench, models, optimizers and torch"
    )
    json: bool = _option(False, "true", "print the verdicts and comparisons as JSON, for scripts")
    results_dir: str = _option("results", "<folder>", "where studies are written; default: results")
    reports_dir: str = _option("reports", "<folder>", "where reports are written; default: reports")

    @property
    def is_published(self) -> bool:
        """Whether the published tables are meant."""
        return self.rejudge and not self.budget

    @property
    def name(self) -> str:
        """Name of the ledger."""
        return self.ledger if self.ledger in ledgers() else Path(self.ledger).resolve().name

    @property
    def run_budget(self) -> str:
        """The budget that is run: the one that was typed, or the first."""
        return self.budget or BUDGETS[0]

    @property
    def study(self) -> str:
        """Name of the study: the ledger's, of a budget or as published."""
        return self.name if self.is_published else f"{self.name}-{self.run_budget}"

    @property
    def study_dir(self) -> Path:
        """Its folder."""
        return Path(self.results_dir) / self.study

    def command(self, **changes: str | bool) -> str:
        """Return the command line of these options, with some of them changed."""
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
    """The commands that a report shows.

    Attributes:
        options: What was typed for the report.
        budget: The budget that it shows.
        published: Whether it is of the published tables.
    """

    options: Options
    budget: str
    published: bool

    def repeat(self, claim: str) -> str:
        """Return the command that runs and judges one claim again."""
        return self.options.command(budget=self.budget, claim=claim, rejudge=False, publish=False)

    def rebuild(self) -> str:
        """Return the command that writes the report again from its tables."""
        budget = "" if self.published else self.budget
        return self.options.command(budget=budget, rejudge=True, publish=False)


def parse(arguments: Sequence[str]) -> Options:
    """Return the options of a command line: a ledger and key=value pairs, in any order.

    Raises:
        UserError: A ledger is missing, a key is unknown, or a value is not one that its key takes.
    """
    names = [argument for argument in arguments if "=" not in argument]
    if len(names) != 1:
        raise UserError(f"one ledger must be named, got {' '.join(names) or 'none'}; choose of {', '.join(ledgers())}")
    values: dict[str, Any] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals:
            values[key] = _parsed(key, value)
    if values.get("publish") and (values.get("claim") or not values.get("budget")):
        raise UserError(
            "publish must come with a budget and without claim, got it otherwise; the whole ledger is published"
        )
    return Options(names[0], **values)


def _parsed(key: str, value: str) -> str | bool | int:
    """Return the value of an option, of the type of its default."""
    declared = _declared()
    if key not in declared:
        raise UserError(f"{key} must be one of {', '.join(declared)}, got an unknown key; see --help")
    default, choices = declared[key].default, declared[key].metadata["choices"]
    if isinstance(default, bool):
        if value not in ("true", "false"):
            raise UserError(f"{key} must be true or false, got {value}; leave it out for false")
        return value == "true"
    if isinstance(default, int):
        if not (value.isascii() and value.isdigit()) or int(value) < 1:
            raise UserError(f"{key} must be a whole number of at least 1, got {value}; leave it out for the default")
        return int(value)
    if choices and value not in choices:
        raise UserError(f"{key} must be one of {', '.join(choices)}, got {value}; choose one of these")
    return value


def _declared() -> dict[str, Field[Any]]:
    """Return the options by name, without the ledger."""
    return {declared.name: declared for declared in fields(Options) if declared.name != "ledger"}


def options_help() -> str:
    """Return a line or more for each option: how it is written, and what it means."""
    shown = {f"{name}={declared.metadata['shown']}": declared for name, declared in _declared().items()}
    width = max(map(len, shown))
    return "\n".join(
        textwrap.fill(
            declared.metadata["meaning"],
            width=100,
            initial_indent=f"  {usage:{width}}  ",
            subsequent_indent=" " * (width + 4),
        )
        for usage, declared in shown.items()
    )
