"""Blocks about memory and the price of a result."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.profiles import pareto_front
from bench.analysis.sections import Section
from bench.plots.comparisons import bars_figure, pareto_figure
from bench.plots.costs import memory_figure
from bench.plots.palette import Color
from bench.plots.style import MAX_FAINT_RUNS
from bench.report.document import Block, Sheet
from bench.report.study.speed import Targets
from bench.report.study.tables import readable_memory


def peaks_of(runs: pd.DataFrame, by_part: pd.DataFrame, predicted: bool) -> tuple[pd.DataFrame, str]:
    """Peak memory of each series, series and peak_mib, and what it is of: that of tensors, else of the GPU."""
    if len(by_part):
        return by_part[["series", "peak_mib"]], "Peak memory in tensors" + (", predicted" if predicted else "")
    medians = runs.astype({"peak_allocated_mib": float}).groupby("series")["peak_allocated_mib"].median()
    return medians.rename("peak_mib").reset_index(), "Peak memory allocated on the GPU"


def memory_block(
    section: Section,
    shown: list[str],
    by_part: pd.DataFrame,
    to_target: Targets | None,
    peaks: pd.DataFrame,
    kind: str,
    sheet: Sheet,
) -> Block:
    """Return what a run costs: peak memory by what it holds, times, and memory against the cost to the target."""
    runs = section.runs
    times = [("step_ms", "time per step (ms)"), ("train_s", "training time (s)")]
    dots = (
        "one dot for each run"
        if len(runs) <= MAX_FAINT_RUNS
        else f"one dot for each run, at most {MAX_FAINT_RUNS} of each optimizer"
    )
    figures: list[tuple[str, str, Figure | None]] = [
        (
            "time",
            f"Time per step and in total, {dots}, bar: median. End to end, one run after the other: this describes these"
            " runs and does not rank optimizers.",
            bars_figure(runs, shown, times, sheet.palette),
        )
    ]
    table, table_notes = None, []
    if by_part.empty:
        wanted = [("peak_rss_mib", "peak memory of the process (MiB)"), ("peak_allocated_mib", "peak GPU memory (MiB)")]
        caption = f"Peak memory during training, {dots}, bar: median. The process includes Python and torch."
        figures.append(("memory", caption, bars_figure(runs, shown, wanted, sheet.palette)))
    else:
        caption = (
            "Peak memory in tensors, by what they hold at that moment. Measured in a separate pass, or predicted with"
            " device=fake."
        )
        figures.append(("memory", caption, memory_figure(by_part)))
        table = readable_memory(by_part)
        source = "predicted from shapes, not measured" if section.predicted else "measured in a separate pass"
        process = (
            " Process: the increase of its resident memory, including workspaces of libraries and the heap."
            if "process" in table
            else ""
        )
        table_notes = [
            f"All tensors at the peak of a step, by what they hold, {source}. Extra in step: temporary tensors of the"
            f" optimizer's step.{process}"
        ]
    if to_target is not None:
        figures.append(_pareto(runs, to_target, peaks, kind, sheet.palette))
    return Block("memory", "Memory and time", table, table_notes, sheet.pictures(*figures))


def _pareto(
    runs: pd.DataFrame, to_target: Targets, peaks: pd.DataFrame, kind: str, palette: dict[str, Color]
) -> tuple[str, str, Figure | None]:
    """Time to target, or steps where no step times were measured, against peak memory."""
    column, label = (
        ("time_to_target_s", "steps × measured step time to the target (s)")
        if to_target.timed
        else ("steps_to_target", "steps to the target")
    )
    optimizers = runs.drop_duplicates("series")[["series", "optimizer"]]
    points = to_target.targets[["series", column]].merge(peaks, on="series").merge(optimizers, on="series")
    points = points.rename(columns={column: "x", "peak_mib": "y"})
    points["front"] = pareto_front(points, "x", "y")
    missing = sorted(set(to_target.targets["series"]) - set(points.dropna(subset=["x", "y"])["series"]))
    left_out = f" Not shown, because one of the two is missing: {', '.join(missing)}." if missing else ""
    caption = (
        f"{label[0].upper()}{label[1:]} against memory. Filled: on the Pareto front, that is, no other optimizer is lower in both; the intervals are"
        f" in the table of targets.{left_out}"
    )
    return (
        "pareto",
        caption,
        pareto_figure(points, label, f"{kind[0].lower()}{kind[1:]} (MiB)", palette),
    )
