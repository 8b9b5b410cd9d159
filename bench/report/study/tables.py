"""Tables of a study with readable headings and cells."""

from __future__ import annotations

import json
import math

import pandas as pd

from bench.analysis.memory import MEMORY_PARTS, memory_unit
from bench.analysis.section import SectionAnalysis
from bench.analysis.step_costs import IMPLEMENTATIONS
from bench.base.metrics import SUMMARIZED
from bench.report.formatting import bought_text, digits_text, ratio_text, setting_text, with_interval


def readable_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return `summary` as people read it: one text a cell."""

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
        *((title, name, 1.0) for name, title in SUMMARIZED.items()),
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


SEARCHED_COLUMN = {"beta1": "betas", "beta2": "betas"}
"""Hyperparameters that hold what is searched, where that is an element of a list."""


def readable_tuned(found: SectionAnalysis) -> pd.DataFrame:
    """Return the best setting of each optimizer of a tuned section, and what tuning bought, as people read it: one text a cell."""
    table, budget = found.best_settings, found.budget.set_index("optimizer")
    against = found.against_defaults.set_index("optimizer")
    columns = {
        "optimizer": [str(name) for name in table["series"]],
        "trials": [f"{budget['num_trials'].get(name, 0):,}" for name in table["optimizer"]],
        "steps of trials": [f"{budget['steps'].get(name, 0):,}" for name in table["optimizer"]],
    }
    searched = {name for text in found.section.runs["search"].dropna().unique() for name in json.loads(text)} or {"lr"}
    for name in dict.fromkeys(SEARCHED_COLUMN.get(name, name) for name in ("lr", *sorted(searched - {"lr"}))):
        name = name if name == "lr" else f"hp_{name}"
        if name in table:
            columns[f"best {name.removeprefix('hp_')}"] = [setting_text(value) for value in table[name]]
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
            bought_text(against.loc[name]) if name in against.index else "—" for name in table["optimizer"]
        ]
    return pd.DataFrame(columns)


def readable_step_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Return `step_costs` of one session as people read it: one text a cell, what was measured only."""
    ok = costs[costs["status"] == "ok"]
    columns: dict[str, list[str]] = {
        "optimizer": [str(name) for name in ok["optimizer"]],
        "implementation": [str(name) for name in ok["implementation"]],
        "step µs": [
            f"{digits_text(m)} ({digits_text(a)} to {digits_text(b)})"
            for m, a, b in ok[["step_us", "step_us_q1", "step_us_q3"]].to_numpy()
        ],
    }
    baseline = str(costs["baseline"].dropna().iloc[0]).replace("/", " ") if ok["baseline"].notna().any() else ""
    columns[f"× {baseline}"] = [ratio_text(row) for row in ok.itertuples()]
    columns["training step µs"] = [digits_text(value) for value in ok["train_step_us"]]
    columns["of it step %"] = [f"{100 * value:.0f}" for value in ok["optimizer_us"] / ok["train_step_us"]]
    optional = [
        ("step by host clock µs", ok["step_host_us"].where(ok["device"] != "cpu"), digits_text),
        ("state bytes/parameter", ok["state_mib"] * 2**20 / ok["num_parameters"].astype(float), lambda v: f"{v:.1f}"),
        ("share of the memory limit %", 100 * ok["limit_share"], lambda v: f"{v:.0f}"),
        ("first step ms", ok["first_step_ms"].where(ok["compile_s"].isna()), digits_text),
        ("compile s", ok["compile_s"], lambda v: f"{v:.1f}"),
    ]
    for title, values, form in optional:
        if values.notna().any():
            columns[title] = [form(value) if pd.notna(value) else "" for value in values]
    columns["timing"] = [
        f"{row.quality}, {row.num_processes} processes, {row.num_replicates} builds" for row in ok.itertuples()
    ]
    return pd.DataFrame(columns)


def readable_parts(parts: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return `rule_and_implementation` of one kind as people read it: a row an optimizer, a column an implementation."""
    made: dict[str, dict[str, str]] = {}
    for row in parts[parts["kind"] == kind].itertuples():
        text = f"{row.ratio:.3g} [{row.ratio_low:.3g}, {row.ratio_high:.3g}]"
        made.setdefault(str(row.optimizer), {})[str(row.implementation)] = text
    columns = [name for name in IMPLEMENTATIONS if any(name in row for row in made.values())]
    return pd.DataFrame(
        [{"optimizer": optimizer, **{name: row.get(name, "") for name in columns}} for optimizer, row in made.items()]
    )


def readable_targets(table: pd.DataFrame) -> pd.DataFrame:
    """Return `time_to_target` as people read it: one text a cell."""
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
    """Return rows of the side table `memory`, with `series`, as people read them: one text a cell."""
    scale, unit = memory_unit(memory)

    def texts(column: str) -> list[str]:
        return ["0" if v == 0 else f"{v:,.0f}" if v >= 100 else f"{v:.3g}" for v in scale * memory[column]]

    return pd.DataFrame(
        {
            "optimizer": [str(name) for name in memory["series"]],
            f"peak {unit}": texts("peak_mib"),
            "phase": [str(phase) for phase in memory["peak_phase"]],
            **{part.replace("_", " "): texts(f"{part}_mib") for part in MEMORY_PARTS},
            "extra in step": texts("step_temporaries_mib"),
            "state bytes/parameter": [f"{value:.1f}" for value in memory["state_bytes_per_parameter"]],
            **({"process": texts("rss_increase_mib")} if memory["rss_increase_mib"].notna().all() else {}),
        }
    )
