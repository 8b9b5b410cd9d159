"""The numbers of one report section, each computed once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from bench.analysis import targets, tuning
from bench.analysis.comparisons import indistinguishable_groups, paired_ratios, summary
from bench.analysis.diagnosis import diagnose
from bench.analysis.findings import Finding
from bench.analysis.goals import BY_RULE, Goal, Target, default_targets
from bench.analysis.memory import memory_of
from bench.analysis.sections import Section, leaders, num_looks, num_settings, sections
from bench.analysis.step_costs import step_times
from bench.analysis.target_pairs import target_pairs


@dataclass(frozen=True, eq=False)
class SectionAnalysis:
    """Compute the numbers of a section when they are first asked for, and keep them.

    Pages, findings and sentences take their numbers from here, so that no two of them can differ. The tables are shared:
    a caller must not change them in place.

    Attributes:
        section: Runs that may be compared.
        curves: The table `curves`, of any runs.
        step_cost_rows: The side table `step_costs`, of any sessions.
        memory: The side table `memory`, of any configurations.
        diagnostics: The side table `diagnostics`, of any runs.
        goal: How the target loss is chosen.
    """

    section: Section
    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    step_cost_rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    memory: pd.DataFrame = field(default_factory=pd.DataFrame)
    goal: Goal = BY_RULE
    diagnostics: pd.DataFrame = field(default_factory=pd.DataFrame)

    @cached_property
    def recorded(self) -> pd.DataFrame:
        """Rows of `diagnostics` of its runs."""
        if self.diagnostics.empty:
            return self.diagnostics
        return self.diagnostics[self.diagnostics["run_id"].isin(self.section.runs["run_id"])]

    @property
    def is_recorded(self) -> bool:
        """Whether its runs recorded diagnostics."""
        return len(self.recorded) > 0

    @cached_property
    def findings(self) -> list[Finding]:
        """What stands out in the runs of its leaders, see `diagnosis.diagnose`."""
        runs = self.section.runs
        if self.section.predicted or self.curves.empty or runs.empty:
            return []
        return diagnose(runs[runs["series"].isin(self.leaders)], self.curves, self.recorded)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a series, see `comparisons.summary`."""
        return summary(self.section.runs)

    @cached_property
    def leaders(self) -> list[str]:
        """The series that tables and figures show, best first, see `sections.leaders`; none without runs."""
        return leaders(self.section.runs, self.summary) if len(self.section.runs) else []

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Comparisons of every two leaders by final validation loss, see `comparisons.paired_ratios`."""
        return paired_ratios(self.section.runs, self.leaders, num_settings=self.num_settings, num_looks=self.num_looks)

    @cached_property
    def num_settings(self) -> dict[str, int]:
        """Of each leader, among how many settings of its optimizer these very runs chose it, see `sections.num_settings`."""
        return num_settings(self.section.runs, self.leaders)

    @cached_property
    def num_looks(self) -> dict[str, int]:
        """Of each series, at how many numbers of seeds it was to be looked at whether they are enough, see `sections.num_looks`."""
        return num_looks(self.section.runs)

    @cached_property
    def groups(self) -> list[list[str]]:
        """Groups of compared leaders that do not differ significantly, see `comparisons.indistinguishable_groups`."""
        compared = {*self.pairs["a"], *self.pairs["b"]}
        return indistinguishable_groups(self.pairs, [name for name in self.leaders if name in compared])

    @cached_property
    def budget(self) -> pd.DataFrame:
        """What tuning each optimizer was given, see `tuning.tuning_budget`."""
        return tuning.tuning_budget(self.section)

    @cached_property
    def edges(self) -> pd.DataFrame:
        """Optimizers whose best trial lies on the boundary of what was tried, see `tuning.edges`."""
        return tuning.edges(self.section.runs)

    @cached_property
    def best_settings(self) -> pd.DataFrame:
        """The best setting of each optimizer and what it came to, see `tuning.tuned_table`."""
        return tuning.tuned_table(self.section.runs, self.summary, self.leaders)

    @cached_property
    def against_defaults(self) -> pd.DataFrame:
        """Each tuned setting over the default one, see `tuning.defaults_against_tuned`."""
        return tuning.defaults_against_tuned(self.section, shown=self.leaders)

    @cached_property
    def step_times(self) -> pd.DataFrame | None:
        """Separately measured step times of those leaders that made a step, see `step_costs.step_times`."""
        runs = self.section.runs
        stepped = set(runs.loc[(runs["num_steps"] > 0).fillna(False).to_numpy(bool), "series"])
        return step_times(runs, [name for name in self.leaders if name in stepped], self.step_cost_rows)

    @cached_property
    def memory_by_part(self) -> pd.DataFrame:
        """Peak memory of the leaders by what it holds, see `memory.memory_of`."""
        return memory_of(self.section.runs, self.memory, self.leaders) if len(self.memory) else pd.DataFrame()

    @cached_property
    def target(self) -> Target | None:
        """The validation loss to reach, None where there is none, or no curves are at hand."""
        runs = self.section.runs
        if self.curves.empty:
            return None
        return self.goal.target(runs, self._own_curves, self.leaders) if len(runs) else None

    @cached_property
    def target_levels(self) -> list[Target]:
        """Targets by rule, the loosest first, see `goals.default_targets`."""
        runs = self.section.runs
        return default_targets(runs[runs["series"].isin(self.leaders)], self._own_curves) if len(runs) else []

    @cached_property
    def steps_to_levels(self) -> pd.DataFrame:
        """Steps to each of the targets by rule: what `targets.time_to_target` gives, with a column target."""
        found = [
            targets.time_to_target(self.section.runs, self._own_curves, self.leaders, level.value, None).assign(
                target=level.value
            )
            for level in self.target_levels
        ]
        return pd.concat(found, ignore_index=True) if found else pd.DataFrame()

    @cached_property
    def steps_to_target(self) -> pd.DataFrame:
        """Steps to the target of each run of a leader, see `targets.steps_to_target`; there must be a target."""
        shown = self.section.runs["series"].isin(self.leaders)
        return targets.steps_to_target(self.section.runs[shown], self._own_curves, self._target.value)

    @cached_property
    def time_to_target(self) -> pd.DataFrame:
        """Steps and time to the target of each leader, see `targets.time_to_target`; there must be a target."""
        return targets.time_to_target(
            self.section.runs, self._own_curves, self.leaders, self._target.value, self.step_times
        )

    @cached_property
    def target_pairs(self) -> pd.DataFrame:
        """Comparisons of every two leaders by the target, see `target_pairs`; there must be a target."""
        return target_pairs(
            self.section.runs,
            self._own_curves,
            self.leaders,
            self._target.value,
            self.step_times,
            self.num_settings,
            self.num_looks,
        )

    @cached_property
    def _own_curves(self) -> pd.DataFrame:
        return self.curves[self.curves["run_id"].isin(self.section.runs["run_id"])]

    @property
    def _target(self) -> Target:
        assert self.target is not None
        return self.target


def analyses(
    runs: pd.DataFrame,
    curves: pd.DataFrame | None = None,
    step_cost_rows: pd.DataFrame | None = None,
    memory: pd.DataFrame | None = None,
) -> Iterator[SectionAnalysis]:
    """Yield the analysis of each of the `sections` of a study.

    Args:
        runs: The table `runs`.
        curves: The table `curves`, if it is at hand.
        step_cost_rows: The side table `step_costs`, if it is at hand.
        memory: The side table `memory`, if it is at hand.
    """
    given = [pd.DataFrame() if table is None else table for table in (curves, step_cost_rows, memory)]
    for section in sections(runs):
        yield SectionAnalysis(section, *given)
