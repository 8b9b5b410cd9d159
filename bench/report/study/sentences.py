"""Sentences about a study: budgets, verdicts, paths."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import is_same_for_every_seed
from bench.analysis.step_costs import MIN_PROCESSES, smallest_difference
from bench.report.formatting import interval_text

NOT_REPEATED = "No trial was repeated on fresh seeds yet, and trials alone do not rank optimizers."


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


def verdict(found: SectionAnalysis) -> str:
    """Return in a few sentences which optimizer ends lowest, and which others differ significantly from it."""
    section, runs = found.section, found.section.runs
    if section.predicted:
        return "Memory was predicted from shapes: nothing was run, so nothing is ranked."
    if runs.empty:
        return NOT_REPEATED
    shown = found.leaders
    ok = runs[runs["status"] == "ok"]
    if ok.empty:
        return "No run ended ok: there is nothing to compare."
    if is_same_for_every_seed(runs):
        ends = ok[ok["series"].isin(shown)].groupby("series")["final_val_loss"].first().astype(float).sort_values()
        listed = ", ".join(f"{name} ({value:.3g})" for name, value in ends.items())
        return f"Nothing is random here, so one run of each is enough. Final values, lowest first: {listed}."
    if ok.groupby("series")["seed"].nunique().max() < 2:
        return "One seed cannot rank anything: run several, for example seeds=[0,1,2]."
    if len(shown) < 2:
        return f"{shown[0]} is the only optimizer so far: there is nothing to compare it with."
    pairs = found.pairs
    if pairs.empty:
        return "There is nothing to compare: no two optimizers finished two seeds in common."
    best = shown[0]
    apart: list[str] = []
    together: list[str] = []
    for pair in pairs[(pairs["a"] == best) | (pairs["b"] == best)].itertuples():
        other, flip = (pair.b, False) if pair.a == best else (pair.a, True)
        (apart if pair.significant else together).append(f"{other}{_times_its_loss(pair, flip)}")
    numbers = sorted(set(pairs["num_pairs"]))
    seeds = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    table = found.summary.set_index("series").loc[shown]
    of_whom = ""
    if table.loc[best, "num_ok"] < table.loc[best, "num_runs"]:
        of_whom = ", over the runs that ended ok"
    elif (table["final_val_loss"] < table.loc[best, "final_val_loss"]).any():
        of_whom = " among those whose runs all ended ok"
    sentences = [f"Lowest final validation loss{of_whom}: {best}."]
    basis = f" ({seeds} paired seeds"
    basis += f", after Holm's correction over {len(pairs)} comparisons)" if len(pairs) > 1 else ")"
    if apart:
        sentences.append(f"Significantly different from it{basis}: {'; '.join(apart)}.")
    if together:
        sentences.append(f"Not distinguishable from it{'' if apart else basis}: {'; '.join(together)}.")
    met = {best, *pairs.loc[pairs["b"] == best, "a"], *pairs.loc[pairs["a"] == best, "b"]}
    if unmet := [name for name in shown if name not in met]:
        sentences.append(f"Not compared with it, because fewer than two seeds are paired: {', '.join(unmet)}.")
    return " ".join(sentences)


def _times_its_loss(pair: Any, flip: bool) -> str:
    """Return how many times as high the other's loss is, in brackets; what is not known is left out."""
    ratio, low, high, bound = pair.ratio, pair.adjusted_low, pair.adjusted_high, str(pair.bound)
    if not flip:
        ratio, low, high = (1 / number if number else math.inf for number in (ratio, high, low))
        bound = {"at most": "at least", "at least": "at most"}.get(bound, "")
    if not math.isfinite(ratio):
        return ""
    interval = interval_text(low, high).strip(" []").replace(", ", " to ")
    return f" ({f'{bound} {ratio:.3g}'.strip()} times its loss{f', 95% interval {interval}' if interval else ''})"


def path_words(table: pd.DataFrame) -> str:
    """Return where each path of `paths` ends, in a sentence."""
    ends = table.groupby("series", sort=False).last()
    return "; ".join(
        f"{name} {'ends' if row['status'] == 'ok' else str(row['status'])} at ({row['x']:.3g}, {row['y']:.3g})"
        + (f", value {row['value']:.3g}" if pd.notna(row["value"]) else "")
        for name, row in ends.iterrows()
    )


def smallest_difference_words(costs: pd.DataFrame) -> str:
    """Return the smallest difference that a session of step costs detects, in a sentence; empty if there is none."""
    smallest = smallest_difference(costs)
    if math.isnan(smallest):
        return ""
    return (
        "The smallest difference between two step times that this measurement detects with 80 % power in a single comparison is"
        f" {100 * smallest:.1f} %."
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
