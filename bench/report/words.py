"""Numbers as people read them: tables of text, and sentences."""

from __future__ import annotations

import json
import math
import textwrap
from typing import Any

import pandas as pd

from bench.report.sections import Section, is_same_for_every_seed, leaders, sections
from bench.report.stats import (
    IMPLEMENTATIONS,
    MEMORY_PARTS,
    MIN_PROCESSES,
    baseline_of,
    memory_of,
    memory_unit,
    paired_ratios,
    rule_and_implementation,
    smallest_difference,
    step_costs,
    summary,
)
from bench.report.tuning import defaults_against_tuned, edges, tuned_table, tuning_budget


def with_interval(mean: float, low: float, high: float, scale: float = 1.0) -> str:
    """`0.123 ± 0.004`: two digits of the half-width, five of the mean at most; a dash where there is nothing."""
    if not math.isfinite(mean):
        return "—"
    mean, half = mean * scale, (high - low) / 2 * scale
    if not math.isfinite(half):
        return f"{mean:.4g}"
    if max(abs(mean), half) < 1e-4 and (mean or half):
        return f"{mean:.3g} ± {half:.2g}"
    most = 4 if mean == 0 else max(0, 4 - math.floor(math.log10(abs(mean))))
    digits = most if half <= 0 else min(most, max(0, 1 - math.floor(math.log10(half))))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def readable_summary(table: pd.DataFrame) -> pd.DataFrame:
    """`summary` as people read it: one text a cell."""

    def cell(row: pd.Series, name: str, scale: float = 1.0) -> str:
        return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], scale)

    columns: dict[str, list[str]] = {
        "optimizer": [str(s) for s in table["series"]],
        "runs": [str(s) for s in table["statuses"]],
    }
    wanted = [
        ("train loss", "final_train_loss", 1.0),
        ("gap to optimum", "final_train_gap", 1.0),
        ("val loss", "final_val_loss", 1.0),
        ("best val loss", "best_val_loss", 1.0),
        ("test accuracy %", "final_test_accuracy", 100.0),
        ("test loss", "final_test_loss", 1.0),
        ("step ms", "step_ms", 1.0),
        ("training s", "train_s", 1.0),
        ("latency ms", "latency_ms", 1.0),
        ("latency of a batch ms", "latency_batch_ms", 1.0),
        ("peak MiB", "peak_rss_mib", 1.0),
        ("GPU peak MiB", "peak_allocated_mib", 1.0),
    ]
    for title, name, scale in wanted:
        if table[name].notna().any() and not (title == "test loss" and "test accuracy %" in columns):
            columns[title] = [cell(row, name, scale) for _, row in table.iterrows()]
    evaluations = table["num_evaluations"]
    if (evaluations.notna() & (evaluations != table["num_steps"])).any():
        columns["gradients computed"] = [f"{value:,.0f}" if pd.notna(value) else "—" for value in evaluations]
    return pd.DataFrame(columns)


def summary_text(runs: pd.DataFrame, memory: pd.DataFrame) -> str:
    """The summary of a study for a terminal.

    Args:
        runs: The table `runs`.
        memory: The side table `memory`.
    """
    parts = []
    for section in sections(runs):
        if section.predicted:
            body = "\n".join(_aligned(readable_memory(memory_of(section.runs, memory, leaders(section.runs)))))
            parts.append(f"{section.title}\n{body}\n{textwrap.fill(verdict(section), 100)}")
            continue
        tables = [readable_summary(summary(section.runs))] if len(section.runs) else []
        said = [verdict(section)]
        if section.tuned:
            tables += [readable_tuned(section)] if len(section.runs) else []
            said += budget_words(section)
        bodies = ["\n".join(_aligned(table)) for table in tables]
        parts.append("\n".join([section.title, *bodies, *(textwrap.fill(sentence, 100) for sentence in said)]))
    return "\n\n".join(parts)


SEARCHED_COLUMN = {"beta1": "betas", "beta2": "betas"}
"""Hyperparameters that hold what is searched, where that is an element of a list."""


def readable_tuned(section: Section) -> pd.DataFrame:
    """The best setting of each optimizer of a tuned section, and what tuning bought, as people read it: one text a cell."""
    table, budget = tuned_table(section.runs), tuning_budget(section).set_index("optimizer")
    against = defaults_against_tuned(section).set_index("optimizer")
    columns = {
        "optimizer": [str(name) for name in table["series"]],
        "trials": [f"{budget['num_trials'].get(name, 0):,}" for name in table["optimizer"]],
        "steps of trials": [f"{budget['steps'].get(name, 0):,}" for name in table["optimizer"]],
    }
    searched = {name for text in section.runs["search"].dropna().unique() for name in json.loads(text)} or {"lr"}
    for name in dict.fromkeys(SEARCHED_COLUMN.get(name, name) for name in ("lr", *sorted(searched - {"lr"}))):
        name = name if name == "lr" else f"hp_{name}"
        if name in table:
            columns[f"best {name.removeprefix('hp_')}"] = [_setting(value) for value in table[name]]
    columns["tuned val loss"] = [
        with_interval(*row)
        for row in table[["final_val_loss", "final_val_loss_low", "final_val_loss_high"]].to_numpy(float)
    ]
    if len(against):
        columns["default val loss"] = [
            with_interval(*against.loc[name, ["default", "default_low", "default_high"]].astype(float))
            if name in against.index
            else "—"
            for name in table["optimizer"]
        ]
        columns["tuned / default"] = [
            _bought(against.loc[name]) if name in against.index else "—" for name in table["optimizer"]
        ]
    return pd.DataFrame(columns)


def _setting(value: object) -> str:
    return "—" if pd.isna(value) else f"{value:.3g}" if isinstance(value, float) else str(value)


def _bought(row: pd.Series) -> str:
    if pd.isna(row["ratio"]):
        lost = int(row["num_default_lost"])
        return f"default lost {lost} run{'s' * (lost != 1)}" if lost else "—"
    interval = f"{row['ratio']:.3g} [{row['ratio_low']:.3g}, {row['ratio_high']:.3g}]"
    return interval if row["told_apart"] else f"{interval} not told apart"


NOT_REPEATED = "Nothing was repeated on fresh seeds yet: there are only trials, and trials rank nothing."


def budget_words(section: Section) -> list[str]:
    """What a tuned section was given and what to mind about it, a sentence each; none for others."""
    if not section.tuned:
        return []
    budget = tuning_budget(section)
    trials, seeds = sorted(set(budget["num_trials"])), sorted(set(budget["num_seeds"]))
    ways = [text for text in dict.fromkeys(budget["tuning"]) if text]
    said = []
    if ways:
        said.append(f"Tuned by {'; '.join(ways)}.")
    given = ", ".join(f"{row.optimizer} {row.num_trials} ({row.steps:,} steps)" for row in budget.itertuples())
    if len(trials) > 1:
        said.append(f"The optimizers had unlike numbers of trials: {given}. The one with more had more chances.")
    elif len(section.trials):
        said.append(f"Trials: {given}.")
    if len(ways) > 1:
        said.append("They were not all tuned in the same way: what is told apart may be the tuning.")
    pruned, lost = int(budget["num_pruned"].sum()), int(budget["num_lost"].sum())
    if pruned:
        said.append(f"Trials given up early: {pruned}; the steps they made are counted.")
    if lost:
        said.append(f"Trials that did not end ok: {lost}; they count as worse than any that did.")
    if len(section.runs):
        spread = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
        said.append(
            f"What ranks is the best trial of each optimizer, repeated on {spread} seeds that no trial was chosen on."
        )
    settings = section.runs.drop_duplicates("series")["optimizer"].value_counts()
    said += [
        f"{name} has {count} tuned settings here, of several sweeps or schedules; what is shown is the one that ends lowest on the"
        " seeds that rank, which flatters it."
        for name, count in settings[settings > 1].items()
    ]
    said += [
        f"The best trial of {row.optimizer} lies at the edge of what was tried ({row.edge}): a better one may lie beyond;"
        " sweep.extend=true widens the range, for every optimizer."
        for row in edges(section.runs).itertuples()
    ]
    return said


def verdict(section: Section) -> str:
    """In a sentence or three: who ends lowest, and from whom that can be told apart."""
    runs = section.runs
    if section.predicted:
        return "Memory predicted from shapes: nothing was run, nothing is ranked."
    if runs.empty:
        return NOT_REPEATED
    shown = leaders(runs)
    ok = runs[runs["status"] == "ok"]
    if ok.empty:
        return "No run ended ok: there is nothing to compare."
    if is_same_for_every_seed(runs):
        ends = ok[ok["series"].isin(shown)].groupby("series")["final_val_loss"].first().astype(float).sort_values()
        listed = ", ".join(f"{name} ({value:.3g})" for name, value in ends.items())
        return f"Nothing is random here, so one run of each says all. Final values, lowest first: {listed}."
    if ok.groupby("series")["seed"].nunique().max() < 2:
        return "One seed cannot rank anything: run several, for example seeds=[0,1,2]."
    if len(shown) < 2:
        return f"{shown[0]} stands alone: there is nothing to compare it with yet."
    pairs = paired_ratios(runs, shown)
    if pairs.empty:
        return "There is nothing to compare: no two optimizers finished two seeds in common."
    best = shown[0]
    apart: list[str] = []
    together: list[str] = []
    for pair in pairs[(pairs["a"] == best) | (pairs["b"] == best)].itertuples():
        other, flip = (pair.b, False) if pair.a == best else (pair.a, True)
        ratio, low, high = (pair.ratio, pair.ratio_low, pair.ratio_high)
        if not flip:
            ratio, low, high = 1 / ratio, 1 / high, 1 / low
        words = f"{other} ({ratio:.3g} times its loss, 95% interval {low:.3g} to {high:.3g})"
        (apart if pair.told_apart else together).append(words)
    numbers = sorted(set(pairs["num_pairs"]))
    seeds = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    table = summary(runs).set_index("series").loc[shown]
    of_whom = ""
    if table.loc[best, "num_ok"] < table.loc[best, "num_runs"]:
        of_whom = ", over the runs that ended ok"
    elif (table["final_val_loss"] < table.loc[best, "final_val_loss"]).any():
        of_whom = " of those whose runs all ended ok"
    sentences = [f"Lowest final validation loss{of_whom}: {best}."]
    if apart:
        sentences.append(f"Told apart from it over {seeds} paired seeds: {'; '.join(apart)}.")
    if together:
        corrected = f" once {len(pairs)} comparisons are allowed for" if len(pairs) > 1 else ""
        sentences.append(f"Cannot be told apart from it over {seeds} paired seeds{corrected}: {'; '.join(together)}.")
    met = {best, *pairs.loc[pairs["b"] == best, "a"], *pairs.loc[pairs["a"] == best, "b"]}
    if unmet := [name for name in shown if name not in met]:
        sentences.append(f"Not compared with it, for want of two paired seeds: {', '.join(unmet)}.")
    return " ".join(sentences)


def path_words(table: pd.DataFrame) -> str:
    """Where each path of `paths` ends, in a sentence."""
    ends = table.groupby("series", sort=False).last()
    return "; ".join(
        f"{name} {'ends' if row['status'] == 'ok' else str(row['status'])} at ({row['x']:.3g}, {row['y']:.3g})"
        + (f", value {row['value']:.3g}" if pd.notna(row["value"]) else "")
        for name, row in ends.iterrows()
    )


# --- step costs -----------------------------------------------------------------------------------


def readable_step_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """`step_costs` of one session as people read it: one text a cell, what was measured only."""
    ok = costs[costs["status"] == "ok"]
    columns: dict[str, list[str]] = {
        "optimizer": [str(name) for name in ok["optimizer"]],
        "implementation": [str(name) for name in ok["implementation"]],
        "step µs": [
            f"{_digits(m)} ({_digits(a)} to {_digits(b)})"
            for m, a, b in ok[["step_us", "step_us_q1", "step_us_q3"]].to_numpy()
        ],
    }
    baseline = str(costs["baseline"].dropna().iloc[0]).replace("/", " ") if ok["baseline"].notna().any() else ""
    columns[f"× {baseline}"] = [_ratio(row) for row in ok.itertuples()]
    columns["training step µs"] = [_digits(value) for value in ok["train_step_us"]]
    columns["of it step %"] = [f"{100 * value:.0f}" for value in ok["optimizer_us"] / ok["train_step_us"]]
    optional = [
        ("step by host clock µs", ok["step_host_us"].where(ok["device"] != "cpu"), _digits),
        ("state bytes/parameter", ok["state_mib"] * 2**20 / ok["num_parameters"].astype(float), lambda v: f"{v:.1f}"),
        ("share of the memory limit %", 100 * ok["limit_share"], lambda v: f"{v:.0f}"),
        ("first step ms", ok["first_step_ms"].where(ok["compile_s"].isna()), _digits),
        ("compile s", ok["compile_s"], lambda v: f"{v:.1f}"),
    ]
    for title, values, form in optional:
        if values.notna().any():
            columns[title] = [form(value) if pd.notna(value) else "" for value in values]
    columns["timing"] = [
        f"{row.quality}, {row.num_processes} processes, {row.num_replicates} builds" for row in ok.itertuples()
    ]
    return pd.DataFrame(columns)


def _digits(value: float) -> str:
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else f"{value:g}"


def _ratio(row: Any) -> str:
    if row.is_baseline:
        return "1"
    if not row.ranked:
        return "contended" if math.isnan(row.ratio) else f"{row.ratio:.3g} (not ranked)"
    return f"{row.ratio:.3g} [{row.ratio_low:.3g}, {row.ratio_high:.3g}]{'' if row.told_apart else ' not told apart'}"


def readable_parts(parts: pd.DataFrame, kind: str) -> pd.DataFrame:
    """`rule_and_implementation` of one kind as people read it: a row an optimizer, a column an implementation."""
    made: dict[str, dict[str, str]] = {}
    for row in parts[parts["kind"] == kind].itertuples():
        text = f"{row.ratio:.3g} [{row.ratio_low:.3g}, {row.ratio_high:.3g}]"
        made.setdefault(str(row.optimizer), {})[str(row.implementation)] = text
    columns = [name for name in IMPLEMENTATIONS if any(name in row for row in made.values())]
    return pd.DataFrame(
        [{"optimizer": optimizer, **{name: row.get(name, "") for name in columns}} for optimizer, row in made.items()]
    )


def smallest_difference_words(costs: pd.DataFrame) -> str:
    """The smallest difference that a session of step costs sees, in a sentence; empty where there is none."""
    smallest = smallest_difference(costs)
    if math.isnan(smallest):
        return ""
    return (
        "The smallest difference between two steps that this measurement sees with 80 % power, one comparison"
        f" taken alone: {100 * smallest:.1f} %."
    )


def absent_words(costs: pd.DataFrame) -> list[str]:
    """What was not measured, and why, a sentence each."""
    absent = costs[costs["status"] != "ok"]
    words = []
    for (implementation, status), group in absent.groupby(["implementation", "status"], sort=False):
        names, reasons = sorted(group["optimizer"]), list(dict.fromkeys(group["reason"].dropna()))
        words.append(
            f"{', '.join(names)} {implementation}: {', '.join([status, *reasons[:1]])}"
            + ("; the others alike." if len(reasons) > 1 else ".")
        )
    contended = int(costs["num_contended"].sum())
    if contended:
        words.append(
            f"{contended} timings were contended and left out; what keeps fewer than {MIN_PROCESSES} processes is not"
            " ranked: repeat on a quiet machine, or with more replicates."
        )
    return words


def step_cost_text(rows: pd.DataFrame) -> str:
    """Step costs of one session for a terminal.

    Args:
        rows: Rows of the side table `step_costs`, of one session.
    """
    costs = step_costs(rows)
    lines = [f"One optimizer step: {rows['workload'].iloc[0]}, {rows['device'].iloc[0]}"]
    if (costs["status"] == "ok").any():
        lines += _aligned(readable_step_costs(costs))
    parts = rule_and_implementation(rows)
    for kind, title in (
        ("rule", f"The update rule: a step over {baseline_of(rows)}'s in the same implementation"),
        ("implementation", "The implementation: a step by for-loop over the same optimizer's in"),
    ):
        table = readable_parts(parts, kind)
        if len(table):
            lines += ["", title, *_aligned(table)]
    words = [smallest_difference_words(costs), *absent_words(costs)]
    return "\n".join([*lines, "", *(textwrap.fill(sentence, 110) for sentence in words if sentence)])


def _aligned(table: pd.DataFrame) -> list[str]:
    """A table of texts in columns of equal width."""
    widths = [max(len(name), *(len(v) for v in table[name])) for name in table]
    lines = [list(table), *table.to_numpy().tolist()]
    return ["  ".join(v.ljust(w) for v, w in zip(line, widths, strict=True)).rstrip() for line in lines]


# --- time to target, memory -----------------------------------------------------------------------


def readable_targets(table: pd.DataFrame) -> pd.DataFrame:
    """`time_to_target` as people read it: one text a cell."""
    columns: dict[str, list[str]] = {
        "optimizer": [str(name) for name in table["series"]],
        "reached by": [f"{row.num_reached} of {row.num_runs}" for row in table.itertuples()],
        "steps": [f"{v:,.0f}" if math.isfinite(v) else "not reached" for v in table["steps_to_target"]],
    }
    if table["time_to_target_s"].notna().any():
        columns["steps × step time, s"] = [
            "" if math.isnan(mean) else f"{mean:.3g}" + (f" [{low:.3g}, {high:.3g}]" if math.isfinite(low) else "")
            for mean, low, high in table[
                ["time_to_target_s", "time_to_target_s_low", "time_to_target_s_high"]
            ].to_numpy()
        ]
    columns["end to end, s"] = [f"{v:.3g}" if math.isfinite(v) else "" for v in table["end_to_end_s"]]
    return pd.DataFrame(columns)


def readable_memory(memory: pd.DataFrame) -> pd.DataFrame:
    """Rows of the side table `memory`, with `series`, as people read them: one text a cell."""
    scale, unit = memory_unit(memory)

    def texts(column: str) -> list[str]:
        return ["0" if v == 0 else f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in scale * memory[column]]

    return pd.DataFrame(
        {
            "optimizer": [str(name) for name in memory["series"]],
            f"peak {unit}": texts("peak_mib"),
            "at its": [str(phase) for phase in memory["peak_phase"]],
            **{part.replace("_", " "): texts(f"{part}_mib") for part in MEMORY_PARTS},
            "extra in step": texts("step_temporaries_mib"),
            "state bytes/parameter": [f"{value:.1f}" for value in memory["state_bytes_per_parameter"]],
            **({"process": texts("rss_increase_mib")} if memory["rss_increase_mib"].notna().all() else {}),
        }
    )
