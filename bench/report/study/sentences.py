"""Sentences about a study: budgets, verdicts, paths."""

from __future__ import annotations

import math

import pandas as pd

from bench.analysis.section import SectionAnalysis
from bench.analysis.step_costs import MIN_PROCESSES, smallest_difference


def budget_words(found: SectionAnalysis) -> list[str]:
    """Return the tuning budget of a tuned section and its limits, a sentence each; nothing for other sections."""
    section = found.section
    if not section.tuned:
        return []
    budget = found.budget
    trials, seeds = sorted(set(budget["num_trials"])), sorted(set(budget["num_seeds"]))
    ways = [text for text in dict.fromkeys(budget["tuning"]) if text]
    said = []
    if ways:
        said.append(f"Tuned by {'; '.join(ways)}.")
    given = ", ".join(f"{row.optimizer} {row.num_trials} ({row.steps:,} steps)" for row in budget.itertuples())
    if len(trials) > 1:
        said.append(
            f"The optimizers had different numbers of trials: {given}. More trials are more chances to find a good setting."
        )
    elif len(section.trials):
        said.append(f"Trials: {given}.")
    if len(ways) > 1:
        said.append(
            "The optimizers were not all tuned in the same way, so a significant difference may be due to the tuning."
        )
    pruned, lost = int(budget["num_pruned"].sum()), int(budget["num_lost"].sum())
    if pruned:
        said.append(f"Trials pruned early: {pruned}; their steps are counted.")
    if lost:
        said.append(f"Trials that did not end ok: {lost}; they count as worse than every trial that did.")
    if len(section.runs):
        spread = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        said.append(
            f"The ranking is that of the best trial of each optimizer, repeated on {spread} seeds that were not used to choose it."
        )
    settings = section.runs.drop_duplicates("series")["optimizer"].value_counts()
    said += [
        f"{name} has {count} tuned settings here, from several sweeps or schedules; the one with the lowest loss on the"
        " seeds of the ranking is shown, which favours it."
        for name, count in settings[settings > 1].items()
    ]
    said += [
        f"The best trial of {row.optimizer} lies on the boundary of the search range ({row.edge}), so a better one may lie outside;"
        " sweep.extend=true widens the range for every optimizer."
        for row in found.edges.itertuples()
    ]
    return said


def path_words(table: pd.DataFrame) -> str:
    """Return where each path of `paths` ends, in a sentence."""
    ends = table.groupby("series", sort=False).last()
    return "; ".join(
        f"{name} {'ends' if row['status'] == 'ok' else str(row['status'])} at ({row['x']:.3g}, {row['y']:.3g})"
        + (f", value {row['value']:.3g}" if pd.notna(row["value"]) else "")
        for name, row in ends.iterrows()
    )


def smallest_difference_words(costs: pd.DataFrame) -> str:
    """Return the smallest difference that a session of step costs detects, in a sentence or two; empty if there is none."""
    smallest = smallest_difference(costs)
    if math.isnan(smallest):
        return ""
    return (
        "The smallest difference between two step times that this measurement detects with 80 % power in a single comparison is"
        f" {100 * smallest:.1f} %.{quick_words(costs)}"
    )


def quick_words(costs: pd.DataFrame) -> str:
    """Return what a session with one build in each process cannot tell, led by a space; empty where there were more."""
    if costs["num_replicates"].max() > costs["num_processes"].max():
        return ""
    return (
        " It was a quick one, with one build in each process: it cannot tell smaller differences, nor what changes from build to build,"
        " such as where tensors lie in memory."
    )


def absent_words(costs: pd.DataFrame) -> list[str]:
    """Return what was not measured, and why, a sentence each."""
    absent = costs[costs["status"] != "ok"]
    words = []
    for (implementation, status), group in absent.groupby(["implementation", "status"], sort=False):
        names, reasons = sorted(group["optimizer"]), list(dict.fromkeys(group["reason"].dropna()))
        words.append(
            f"{', '.join(names)} {implementation}: {', '.join([status, *reasons[:1]])}"
            + ("; similar reasons for the others." if len(reasons) > 1 else ".")
        )
    contended = int(costs["num_contended"].sum())
    if contended:
        words.append(
            f"{contended} timings were contended and left out; implementations with fewer than {MIN_PROCESSES} processes left are"
            " not ranked. Repeat on a quiet machine, or with more replicates."
        )
    return words
