"""What can be set on the command line of `python -m bench.reproduce`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from bench.claims.ledger import BUDGETS, ledgers


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
