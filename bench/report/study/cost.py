"""Blocks about memory and the price of a result."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from bench.analysis.profiles import pareto_front
from bench.plots.comparisons import bars_figure, pareto_figure
from bench.plots.costs import memory_figure
from bench.plots.style import MAX_FAINT_RUNS
from bench.report.charts import memory_chart, pareto_chart
from bench.report.document import Block
from bench.report.study.speed import is_timed
from bench.report.study.tables import readable_memory
from bench.report.study.view import SectionView


def memory_block(view: SectionView) -> Iterator[Block]:
    """Yield what a run costs: peak memory by what it holds, times, and memory against the cost to the target."""
    found, section, sheet = view.found, view.section, view.sheet
    shown, by_part = found.leaders, found.memory_by_part
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
    if found.target is not None:
        figures.append(_pareto(view))
    interactive: dict[str, str] = {} if by_part.empty else {"memory": memory_chart(by_part, _optimizers(view))}
    if found.target is not None:
        interactive["pareto"] = _tradeoffs(view)
    yield Block("memory", "Memory and time", table, table_notes, sheet.pictures(*figures, charts=interactive))


def _optimizers(view: SectionView) -> dict[str, str]:
    """Return the optimizer of each series."""
    runs = view.section.runs.drop_duplicates("series")
    return dict(zip(runs["series"].astype(str), runs["optimizer"].astype(str), strict=True))


def _tradeoffs(view: SectionView) -> str:
    """Return the chart of final loss, steps and time to the target, time of a step and memory of each leader against each other."""
    found, (peaks, kind) = view.found, view.peaks
    runs = view.section.runs
    ok = runs[(runs["status"] == "ok") & runs["series"].isin(found.leaders)]
    means = ok.groupby("series")[["final_val_loss", "step_ms", "train_s"]].median().astype(float).reset_index()
    table = found.time_to_target[["series", "steps_to_target", "time_to_target_s"]].merge(
        peaks, on="series", how="outer"
    )
    table = table.merge(means, on="series", how="outer")
    table = table[table["series"].isin(found.leaders)].assign(optimizer=lambda t: t["series"].map(_optimizers(view)))
    axes = {
        "time_to_target_s": "steps × measured step time to the target (s)",
        "steps_to_target": "steps to the target",
        "peak_mib": f"{kind[0].lower()}{kind[1:]} (MiB)",
        "final_val_loss": "final validation loss, median",
        "step_ms": "time per step (ms), median",
        "train_s": "training time (s), median",
    }
    x = "time_to_target_s" if is_timed(found.time_to_target) else "steps_to_target"
    return pareto_chart(table, axes, view.sheet.palette, (x, "peak_mib"))


def _pareto(view: SectionView) -> tuple[str, str, Figure | None]:
    """Time to target, or steps where no step times were measured, against peak memory."""
    targets, (peaks, kind) = view.found.time_to_target, view.peaks
    column, label = (
        ("time_to_target_s", "steps × measured step time to the target (s)")
        if is_timed(targets)
        else ("steps_to_target", "steps to the target")
    )
    optimizers = view.section.runs.drop_duplicates("series")[["series", "optimizer"]]
    points = targets[["series", column]].merge(peaks, on="series").merge(optimizers, on="series")
    points = points.rename(columns={column: "x", "peak_mib": "y"})
    points["front"] = pareto_front(points, "x", "y")
    missing = sorted(set(targets["series"]) - set(points.dropna(subset=["x", "y"])["series"]))
    left_out = f" Not shown, because one of the two is missing: {', '.join(missing)}." if missing else ""
    caption = (
        f"{label[0].upper()}{label[1:]} against memory. Filled: on the Pareto front, that is, no other optimizer is lower in both; the intervals are"
        f" in the table of targets.{left_out}"
    )
    return (
        "pareto",
        caption,
        pareto_figure(points, label, f"{kind[0].lower()}{kind[1:]} (MiB)", view.sheet.palette),
    )
