"""The first screen: which optimizer, how much faster, at what memory, and is it real?

Each answer is a sentence or a few, made by rule from one table of the report, and names that table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from bench.analysis import tuning
from bench.analysis.goals import Target
from bench.analysis.memory import memory_unit
from bench.analysis.profiles import leave_one_out, profile_score, rank_flips
from bench.analysis.section import SectionAnalysis
from bench.analysis.target_pairs import winners_disagree

MIN_PAIRS_OF_ORDER = 6
"""Pairs from which order alone, all won by one side, is significant: 2 / 2^6 < .05."""


SAME_MEMORY = 1.01
"""Peaks within this factor of each other count as the same."""


@dataclass(frozen=True)
class Answer:
    """A sentence or a few of the first screen.

    Attributes:
        text: What it says.
        table: Which table says more: a key of the page's blocks, such as "targets".
        warns: Whether it limits what the others say.
    """

    text: str
    table: str
    warns: bool = False


def how_fast(target: Target, targets: pd.DataFrame, pairs: pd.DataFrame, measured: bool) -> Answer | None:
    """Return which optimizer reaches the target in the fewest steps and which in the least time.

    Args:
        target: The validation loss to reach.
        targets: What `targets.time_to_target` gave.
        pairs: What `target_pairs` gave of the same series.
        measured: Whether step times were measured apart.

    Returns:
        None where fewer than two series can be compared over seeds.
    """
    there = targets[targets["steps_to_target"].notna()]
    if pairs.empty or there.empty:
        return None
    # all seeds got there: the mean, which the pairs rest on; else the median
    by_steps = there.assign(_order=there["mean_steps"].fillna(there["steps_to_target"])).sort_values("_order")["series"]
    said = f"To a validation loss of {target.value:.4g} ({target.words}): "
    disagreement = winners_disagree(targets, pairs)
    if disagreement is not None:
        d = disagreement
        said += (
            f"steps and time disagree. {d.by_steps} takes fewer steps than {d.by_time} ({d.steps_ratio:.3g} times as many,"
            f" {_interval(d.steps_ratio_low, d.steps_ratio_high)}{_apart(d.steps_significant)}) but more time ({d.time_ratio:.3g} times as"
            f" much, {_interval(d.time_ratio_low, d.time_ratio_high)}{_apart(d.time_significant)}); time is steps × separately measured step"
            " time."
        )
    else:
        said += _fewest("steps", "ratio", str(by_steps.iloc[0]), pairs)
        timed = there[there["time_to_target_s"].notna()].sort_values("time_to_target_s")
        if len(timed) > 1:
            fastest = timed.iloc[0]
            interval = _interval(fastest["time_to_target_s_low"], fastest["time_to_target_s_high"])
            said += (
                f" {_fewest('time', 'time_ratio', str(fastest['series']), pairs)} It needs {fastest['time_to_target_s']:.3g} s"
                f" ({interval}), computed as steps × separately measured step time."
            )
    if measured and targets["time_to_target_s"].notna().sum() < 2:
        said += " Nothing is ranked by time, because fewer than two optimizers reached the target on all seeds."
    elif not measured:
        ends = there.dropna(subset=["end_to_end_s"]).sort_values("end_to_end_s")
        listed = ", ".join(f"{row.series} {row.end_to_end_s:.3g} s" for row in ends.itertuples())
        said += " Step times were not measured separately, so nothing is ranked by time"
        said += f"; end to end, these runs took: {listed}." if listed else "."
    lost = targets[targets["num_reached"] < targets["num_runs"]]
    if len(lost):
        listed = ", ".join(f"{row.series} ({row.num_reached} of {row.num_runs} seeds)" for row in lost.itertuples())
        said += f" Not all runs reached the target: {listed}."
    return Answer(said, "targets")


def _fewest(what: str, ratio: str, winner: str, pairs: pd.DataFrame) -> str:
    """Return which optimizer is ahead, by how much, and which others are not distinguishable from it."""
    prefix = ratio.removesuffix("ratio")
    mine = pairs[(pairs["a"] == winner) | (pairs["b"] == winner)]
    others, together = [], []
    for pair in mine.itertuples():
        other = str(pair.b if pair.a == winner else pair.a)
        value, low, high = (
            float(getattr(pair, name)) for name in (ratio, f"{prefix}adjusted_low", f"{prefix}adjusted_high")
        )
        bound = str(pair.bound)
        if pair.a == winner:
            value, low, high = (1 / number if number else math.inf for number in (value, high, low))
            bound = {"at most": "at least", "at least": "at most"}.get(bound, "")
        numbers = (
            f"{bound} {value:.3g} times as {'many' if what == 'steps' else 'much'}".strip()
            if math.isfinite(value)
            else ""
        )
        if pair.num_censored + pair.num_both_censored and what == "steps":
            won = pair.wins_a if pair.a == winner else pair.wins_b
            numbers = ", ".join(filter(None, (numbers, f"{winner} first in {won} of {pair.num_pairs} seeds")))
        if (math.isfinite(low) and low > 0) or math.isfinite(high):
            numbers += f", {_interval(low, high)}"
        elif str(getattr(pair, f"{prefix}method")) == "sign" and pair.num_pairs < MIN_PAIRS_OF_ORDER:
            numbers += f", and {pair.num_pairs} seeds are too few to test by order"
        if bool(getattr(pair, f"{prefix}significant")):
            others.append((value if math.isfinite(value) else math.inf, other, numbers))
        else:
            together.append(f"{other} ({numbers})" if numbers else other)
    amount = "the fewest steps" if what == "steps" else "the least time"
    said = f"{winner} needs {amount}"
    if others:
        _, name, numbers = min(others)
        known = f" ({numbers})" if numbers else ""
        rest = ", ".join(other for _, other, _ in sorted(others)[1:])
        said += f", significantly different from {name}{known}" + (f" and from {rest}" if rest else "")
    if together:
        said += f"{';' if others else ', but is'} not distinguishable from {', '.join(together)}"
    return f"{said}."


def _interval(low: float, high: float) -> str:
    """Return an interval in words; one that has no limit on a side says so."""
    if math.isfinite(low) and math.isfinite(high):
        return f"95% interval {low:.3g} to {high:.3g}"
    if math.isfinite(low) and low > 0:
        return f"95% interval from {low:.3g} on"
    return f"95% interval up to {high:.3g}" if math.isfinite(high) else "no interval"


def _apart(significant: bool) -> str:
    return "" if significant else ", not significant"


def memory(table: pd.DataFrame, kind: str) -> Answer | None:
    """Return which optimizer has the lowest peak memory, and how much more the others need.

    Args:
        table: Columns series and peak_mib.
        kind: What was measured, in words.

    Returns:
        None below two series.
    """
    known = table.dropna(subset=["peak_mib"]).sort_values("peak_mib", kind="stable")
    if len(known) < 2:
        return None
    unit_scale, unit = memory_unit(known)
    least = known.iloc[0]
    lowest = f"{unit_scale * least['peak_mib']:,.4g} {unit}"
    ratios = known["peak_mib"] / least["peak_mib"]
    alike = [str(name) for name in known["series"][ratios <= SAME_MEMORY]]
    more = [
        f"{name} {ratio:.3g} times" for name, ratio in zip(known["series"], ratios, strict=True) if ratio > SAME_MEMORY
    ]
    once = "Measured once for each setting, so there is no interval." if "predicted" not in kind else ""
    if not more:
        return Answer(f"{kind}: the same for all to within 1 %, {lowest}. {once}".strip(), "memory")
    return Answer(
        f"{kind}: lowest for {', '.join(alike)}, {lowest}; relative to that: {', '.join(more)}. {once}".strip(),
        "memory",
    )


def what_tuning_buys(table: pd.DataFrame) -> Answer | None:
    """Return how much tuning improves the optimizer that gains most, and for which there is no significant gain.

    Args:
        table: What `tuning.defaults_against_tuned` gave.
    """
    known = table.dropna(subset=["ratio"]).sort_values("ratio")
    lost = table[(table["num_default_lost"] > 0) & table["ratio"].isna()]
    if known.empty:
        return None
    most = known.iloc[0]
    said = (
        f"Tuning brings {most['optimizer']} to {most['ratio']:.3g} times the final validation loss of its default"
        f" ({_interval(most['adjusted_low'], most['adjusted_high'])}{_apart(bool(most['significant']))})"
    )
    said += ", the lowest ratio of all." if len(known) > 1 else "."
    alike = [f"{row.optimizer} ({row.ratio:.3g})" for row in known.iloc[1:].itertuples() if not row.significant]
    if alike:
        said += f" Tuned and default are not distinguishable for {', '.join(alike)}."
    worse = [f"{row.optimizer} ({row.ratio:.3g})" for row in known.itertuples() if row.significant and row.ratio > 1]
    if worse:
        said += f" The tuned setting is worse than default for {', '.join(worse)}: it was chosen on another seed."
    if len(lost):
        said += f" At default settings, {', '.join(lost['optimizer'])} did not end ok."
    some = known[known["num_default_lost"] + known["num_tuned_lost"] > 0]
    if len(some):
        said += f" Pairs in which a run did not end ok are left out: {', '.join(some['optimizer'])}."
    return Answer(said, "defaults")


def setting(found: SectionAnalysis) -> str:
    """Return what every caption ends with: default or tuned, trials, seeds."""
    section, runs = found.section, found.section.runs
    if section.predicted or (runs.empty and not section.tuned):
        return ""
    counts = runs.groupby("series")["seed"].nunique() if len(runs) else pd.Series([0])
    seeds = f"{_range(counts)} seed{'s' if counts.max() != 1 else ''} each"
    if section.tuned:
        num_trials = found.budget["num_trials"]
        repeated = f"the best of each on {_range(counts)} fresh seeds" if len(runs) else "not repeated yet"
        return f"Tuned, {_range(num_trials)} trials each; {repeated}."
    if (runs["settings"] == "default").all():
        return f"Default settings, untuned; {seeds}."
    tried = runs.groupby("optimizer", sort=False)["cell_id"].nunique()
    if tried.nunique() > 1:
        listed = ", ".join(f"{name} {count}" for name, count in tried.items())
        return f"Settings given by hand, tried: {listed}; {seeds}."
    return f"Settings given by hand, {tried.iloc[0]} for each optimizer; {seeds}."


def _range(counts: pd.Series) -> str:
    return f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"


def how_fair(found: SectionAnalysis) -> Answer | None:
    """Return whether settings are default or tuned, with how many trials and seeds, and what that limits."""
    section, said = found.section, setting(found)
    if not said:
        return None
    if section.tuned:
        ways = dict.fromkeys(text for text in found.budget["tuning"] if text)
        said += f" Search: {'; '.join(ways)}." if ways else ""
    else:
        said += " After tuning, the order may differ (sweep=tuned)."
    return Answer(said, "tuning" if section.tuned else "summary")


def limits(found: SectionAnalysis) -> Answer | None:
    """Return what limits the answers: boundaries of the range, unequal budgets, runs that did not end ok."""
    section, runs, said = found.section, found.section.runs, []
    if section.tuned:
        budget = found.budget
        if tuning.is_unequal(budget):
            alike = budget["num_trials"].nunique() == 1
            listed = ", ".join(
                f"{row.optimizer} {f'({row.tuning})' if alike else row.num_trials}" for row in budget.itertuples()
            )
            said.append(f"Unequal tuning: {listed}." if alike else f"Unequal tuning, numbers of trials: {listed}.")
        hopeless = budget[(budget["num_trials"] > 0) & (budget["num_ok"] == 0)]
        if len(hopeless):
            said.append(f"Not ranked, because no trial ended ok: {', '.join(hopeless['optimizer'])}.")
        edges = found.edges
        if len(edges):
            listed = ", ".join(f"{row.optimizer} ({row.edge})" for row in edges.itertuples())
            said.append(
                f"The best setting of {listed} lies on the boundary of the search range, so a better one may lie outside"
                " (sweep.extend=true widens it)."
            )
    elif not section.predicted:
        tried = runs.groupby("optimizer", sort=False)["cell_id"].nunique()
        if tried.nunique() > 1:
            listed = ", ".join(f"{name} {count}" for name, count in tried.items())
            said.append(f"Unequal numbers of settings tried: {listed}.")
    lost = runs[runs["series"].isin(found.leaders) & (runs["status"] != "ok")]
    if len(lost):
        listed = ", ".join(
            f"{series} {len(group)} of {int((runs['series'] == series).sum())}"
            for series, group in lost.groupby("series", sort=False)
        )
        said.append(f"Runs that did not end ok and have no final loss: {listed}.")
    return Answer(" ".join(said), "tuning" if section.tuned else "runs", warns=True) if said else None


def overall(times: pd.DataFrame, unit: str) -> Answer | None:
    """Return the scores over several workloads, and whether their order is the same when one optimizer is left out.

    Args:
        times: What `profiles.times_of` gave; missing where an optimizer was not run.
        unit: "steps" or "time".

    Returns:
        None below three workloads, or two optimizers.
    """
    if min(times.shape[1] - 1, times.shape[0]) < 2:
        return None
    scores = profile_score(times).sort_values(ascending=False, kind="stable")
    several = len(scores) > 2  # of two, the one that is left stands alone
    without = leave_one_out(times)
    listed = []
    for name, score in scores.items():
        others = without.loc[name].dropna()
        listed.append(f"{name} {score:.2f}" + (f" ({others.min():.2f} to {others.max():.2f})" if several else ""))
    brackets = "; in brackets, the range when one other optimizer is left out" if several else ""
    said = (
        f"Scores over {times.shape[1]} workloads, by {unit} to the target of each, from 1 (always the fastest) to 0 (never within a"
        f" factor of 4 of the fastest{brackets}): {', '.join(listed)}."
    )
    absent = times.isna().sum(axis=1)
    if absent.any():
        missed = ", ".join(f"{name} on {count}" for name, count in absent[absent > 0].items())
        said += f" Not run on some, which counts as never reaching the target: {missed} of {times.shape[1]}."
    if not several:
        return Answer(said, "profile")
    flips = rank_flips(scores, without)
    if flips.empty:
        said += " The order is the same whichever optimizer is left out."
    else:
        flip = flips.iloc[0]
        said += (
            f" The order depends on which optimizers take part: without {flip['left_out']}, {flip['above']} ranks above {flip['below']}"
            + (f", and there are {len(flips) - 1} more such changes." if len(flips) > 1 else ".")
        )
    return Answer(said, "profile")
