"""The numbers of a study, from its tables: what is shown of it, its side tables, and the analysis of each section."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bench.analysis.goals import BY_RULE, Goal
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import sections
from bench.base.errors import UserError
from bench.tables.frames import Study
from bench.tables.query import condition
from bench.tables.read import load_side


class Sides(NamedTuple):
    """Side tables of a study."""

    step_costs: pd.DataFrame
    memory: pd.DataFrame
    trajectories: pd.DataFrame
    surfaces: pd.DataFrame
    diagnostics: pd.DataFrame

    @classmethod
    def of(cls, study_dir: Path) -> Sides:
        """Read them; what cannot be read is a problem of its table."""
        return cls(*(load_side(study_dir, name) for name in cls._fields))

    @property
    def problems(self) -> list[str]:
        """What could not be read of them, a sentence each."""
        return [problem for side in self for problem in side.attrs["problems"]]


@dataclass(frozen=True, eq=False)
class StudyAnalysis:
    """Hold the tables of a study that are shown, and compute the numbers of its sections when they are asked for.

    Attributes:
        study: What `bench.tables.load` gave.
        study_dir: Where it lies, for its side tables and for the command that rebuilds the report.
        where: A condition on the columns of `runs` that chooses which runs to show, see `bench.tables.query`.
        mix_environments: Put runs of different machines or versions into one section.
        goal: How the target of steps and time to target is chosen.
    """

    study: Study
    study_dir: Path
    where: str | None = None
    mix_environments: bool = False
    goal: Goal = BY_RULE

    @cached_property
    def sides(self) -> Sides:
        """Return its side tables."""
        return Sides.of(self.study_dir)

    @cached_property
    def shown(self) -> Study:
        """Return the tables of the runs that are shown.

        Raises:
            UserError: `where` is no condition, or leaves no run.
        """
        return Study(_chosen(self.study.runs, self.where), self.study.curves)

    @cached_property
    def analyses(self) -> list[SectionAnalysis]:
        """Return the numbers of each section.

        Raises:
            UserError: As `shown`; or the baseline of the goal was not run.
        """
        parts = list(sections(self.shown.runs, self.mix_environments))
        known = sorted({str(name) for part in parts for key in ("optimizer", "series") for name in part.runs[key]})
        if self.goal.baseline is not None and self.goal.baseline not in known:
            raise UserError(
                f"--baseline must be one of {', '.join(known)}, got {self.goal.baseline}; choose one of these"
            )
        sides = self.sides
        given = (self.study.curves, sides.step_costs, sides.memory, self.goal, sides.diagnostics)
        return [SectionAnalysis(part, *given) for part in parts]


def _chosen(runs: pd.DataFrame, where: str | None) -> pd.DataFrame:
    if where is None or runs.empty:
        return runs
    try:
        chosen = runs[condition(where, runs)]
    except ValueError as error:
        raise UserError(
            f"--where must be a condition on the columns of runs, got {where!r:.200}: {error};"
            " for example --where \"optimizer != 'sgd' and lr > 0.01\""
        ) from None
    if chosen.empty:
        raise UserError(f"--where must leave at least one run, got {where!r}, which leaves none; loosen it")
    return chosen
