"""Pages: what the report shows of a section, of a measurement of step costs, and of all workloads together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from bench.analysis import step_costs
from bench.analysis.leaderboard import board_of
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import Section, is_same_for_every_seed
from bench.plots.costs import stacked_figure, step_cost_figure
from bench.report.charts import phases_chart, step_cost_chart
from bench.report.document import Block, Picture
from bench.report.explorer import explorer_data
from bench.report.sheet import Sheet
from bench.report.study import findings
from bench.report.study.blocks import BLOCKS
from bench.report.study.board_view import BoardView, board_view
from bench.report.study.findings import Answer
from bench.report.study.leaderboard import headline
from bench.report.study.outcome import STATUS_ORDER
from bench.report.study.sentences import absent_words, smallest_difference_words
from bench.report.study.tables import readable_parts, readable_step_costs
from bench.report.study.view import SectionView


@dataclass(frozen=True)
class Page:
    """What the templates show of one section.

    Attributes:
        title: Of the section.
        anchor: Its place in the page.
        headline: The answer in one sentence.
        board: Its leaderboard; None where nothing was run.
        answers: What else can be said of it in short.
        facts: What was compared, a sentence each.
        notes: What limits that, a sentence each.
        blocks: Its tables and figures.
        setting: Default or tuned, trials, seeds.
        leads: Whether its leaderboard stands on the first screen.
        curves: What the interactive chart draws, as JSON; empty where there is none.
    """

    title: str
    anchor: str
    headline: str
    board: BoardView | None
    answers: list[Answer]
    facts: list[str]
    notes: list[str]
    blocks: list[Block]
    setting: str = ""
    leads: bool = False
    curves: str = ""

    def block(self, key: str) -> Block | None:
        """Return the block that an answer names, if it is there."""
        return next((block for block in self.blocks if block.key == key), None)


@dataclass(frozen=True)
class CostPage:
    """What the templates show of one measurement of step costs."""

    title: str
    anchor: str
    method: list[str]
    absent: list[str]
    blocks: list[Block]
    command: str


def section_page(found: SectionAnalysis, path: pd.DataFrame, grid: pd.DataFrame | None, sheet: Sheet) -> Page:
    """Return the page of one section; write its figures and tables.

    Args:
        found: The numbers of the section.
        path: What `comparisons.paths` gave.
        grid: What `comparisons.surface` gave.
        sheet: Where figures and tables go.

    Raises:
        OSError: A file cannot be written.
    """
    sheet = replace(sheet, setting=findings.setting(found))
    view, board = SectionView(found, sheet, path, grid), board_of(found)
    blocks = [block for make in BLOCKS for block in make(view)]
    shown = board_view(found, board, sheet.palette) if board is not None else None
    if sheet.export is not None and shown is not None:
        sheet.export.tables(sheet.prefix, [shown.block])
    return Page(
        title=found.section.title,
        anchor=sheet.anchor(found.section.title),
        headline=headline(found, board),
        board=shown,
        answers=list(_answers(view)),
        facts=facts(found),
        notes=notes(found.section, found.leaders),
        blocks=sheet.anchored(blocks),
        setting=sheet.setting,
        curves=explorer_data(found, sheet.palette),
    )


def _answers(view: SectionView) -> Iterator[Answer]:
    """Yield what can be said of a section in short."""
    found, (peaks, kind) = view.found, view.peaks
    said = [
        findings.memory(peaks[peaks["series"].isin(found.leaders)], kind),
        findings.what_tuning_buys(found.against_defaults),
        findings.how_fair(found),
        findings.limits(found),
    ]
    if found.target is not None and not is_same_for_every_seed(found.section.runs):
        measured = found.step_times is not None
        said.insert(0, findings.how_fast(found.target, found.time_to_target, found.target_pairs, measured))
    yield from filter(None, said)


def cost_page(rows: pd.DataFrame, num_older: int, sheet: Sheet) -> CostPage:
    """Return the page of one session of step costs; write its figures and tables.

    Args:
        rows: Rows of the side table `step_costs`, of one session.
        num_older: Sessions of the study that are not shown.
        sheet: Where figures and tables go.

    Raises:
        OSError: A file cannot be written.
    """
    costs = sheet.write("step-costs", step_costs.step_costs(rows))
    parts = sheet.write("rule-and-implementation", step_costs.rule_and_implementation(rows))
    first = costs.iloc[0]
    title = f"What one step costs: {first['workload']}, {first['device']}"
    return CostPage(
        title=title,
        anchor=sheet.anchor(title),
        method=[*_cost_method(rows, costs, num_older), *filter(None, [smallest_difference_words(costs)])],
        absent=absent_words(costs),
        blocks=sheet.anchored(_cost_blocks(costs, parts, sheet)),
        command=str(first["command"]),
    )


def _cost_method(rows: pd.DataFrame, costs: pd.DataFrame, num_older: int) -> list[str]:
    """Return how steps were timed, a sentence each."""
    first = costs.iloc[0]
    machine = f"{first['gpu']}, " if pd.notna(first["gpu"]) else ""
    method = [
        f"{first['num_parameters']:,} parameters. Paired and interleaved: {rows['process'].nunique()} fresh processes,"
        f" {len(rows.drop_duplicates(['process', 'build']))} builds in all; medians and quartiles over builds, intervals over processes"
        f" (Student's t). Significance is after Holm's correction over the first table; the intervals are not adjusted.",
        f"Environment: {machine}{first['cpu']}; torch {first['torch_version']}; {first['device']}, {first['precision']},"
        f" {first['num_threads']} thread{'s' if first['num_threads'] != 1 else ''}.",
    ]
    if costs["limit_share"].notna().any():
        cache, speed = costs["last_cache_mib"].dropna(), costs["bandwidth_gib_per_s"].max()
        beside = f"; last cache {cache.iloc[0]:,.0f} MiB" if len(cache) else ""
        method.append(
            "Share of the memory limit: the time of plain additions that move as many bytes as the step must, over arrays of"
            f" the same sizes and in the same rounds, over the step's own time. They reached {speed:,.1f} GiB/s{beside}."
        )
    return method + ([f"Older measurements of this study, not shown: {num_older}."] if num_older else [])


def _cost_blocks(costs: pd.DataFrame, parts: pd.DataFrame, sheet: Sheet) -> list[Block]:
    """Return the tables and figures of step costs, and what tells rule from implementation."""
    ok = costs[costs["status"] == "ok"]
    unadjusted = "95% intervals over processes, not adjusted for their number."
    asked = (
        (
            "training",
            "A training step",
            f"Time of a training step relative to one with the baseline in the same implementation. {unadjusted}",
        ),
        (
            "rule",
            "The update rule alone",
            "Time of the optimizer's step relative to the baseline's in the same implementation: the limit of the ratio of"
            f" training steps for models whose forward and backward passes cost nothing. {unadjusted}",
        ),
        (
            "implementation",
            "The implementation",
            f"Step time of the for-loop relative to the same optimizer in another implementation. {unadjusted}",
        ),
    )
    one_step = readable_step_costs(ok) if len(ok) else None
    blocks = [Block("step-costs", "One step", one_step, pictures=_cost_pictures(costs, sheet) if len(ok) else ())]
    for kind, heading, note in asked:
        table = readable_parts(parts, kind)
        blocks.append(Block(kind, heading, table if len(table) else None, [note]))
    return blocks


def _cost_pictures(costs: pd.DataFrame, sheet: Sheet) -> list[Picture]:
    """Draw the time of one step of each optimizer, and of the phases of a training step."""
    ok = costs[costs["status"] == "ok"]
    phases = [
        ("data_us", "data"), ("zero_grad_us", "zero_grad"), ("forward_us", "forward"), ("backward_us", "backward"),
        ("optimizer_us", "step"),
    ]  # fmt: skip
    bars = [f"{row.optimizer} {row.implementation}" for row in ok.itertuples()]
    return sheet.pictures(
        (
            "step-cost",
            "One optimizer step: median and quartiles over builds, and its ratio to the baseline with the 95% interval"
            " over processes.",
            step_cost_figure(costs, sheet.palette),
        ),
        (
            "training-step",
            "A whole training step by its phases: medians.",
            stacked_figure(ok, bars, phases, "one training step (µs)"),
        ),
        charts={
            "step-cost": step_cost_chart(costs, sheet.palette),
            "training-step": phases_chart(ok, bars, phases, "one training step (µs)"),
        },
    )


def facts(found: SectionAnalysis) -> list[str]:
    """Return what was compared and how fairly, a sentence each."""
    section = found.section
    runs = section.runs if len(section.runs) else section.trials
    known = runs["num_steps_budget"].notna()
    first = (runs[known] if known.any() else runs).iloc[0]
    sizes = ""
    if pd.notna(first["num_train"]):
        sizes = (
            f" ({first['num_train']:,} train, {first['num_val']:,} val, {first['num_test']:,} test examples; data"
            f" {first['data_fingerprint']})"
        )
    parameters = f", {first['num_parameters']:,} parameters" if pd.notna(first["num_parameters"]) else ""
    said = [
        f"Compared: {', '.join(sorted(set(runs['optimizer'])))}; model {first['model']}{parameters}, data {first['data']}{sizes}.",
        _budget(section, runs, first),
        *([] if section.predicted else [_choice(found, runs)]),
        *_environments(runs),
    ]
    if section.mixed:
        said.append(
            "Runs of several environments are mixed here, as requested: their times and memory are not comparable."
        )
    return said


def _budget(section: Section, runs: pd.DataFrame, first: pd.Series) -> str:
    """Return the budget of each run and the seeds, a sentence."""
    if section.predicted:
        return f"Batch {first['batch_size']}; predicted from shapes (FakeTensorMode), not allocated and not run."
    steps = ""
    if pd.notna(first["num_steps_budget"]) and "steps" not in first["budget"]:
        steps = f", {first['num_steps_budget']:,} steps"
    per_series = runs.groupby("series")["seed"].nunique()
    each = f"{per_series.min()}" if per_series.nunique() == 1 else f"{per_series.min()} to {per_series.max()}"
    return (
        f"Budget: {first['budget']}{steps} of batch {first['batch_size']} for every run, no early stopping; seeds"
        f" {_seeds(sorted({int(seed) for seed in runs['seed']}))} ({each} for each setting). The same seed gives every optimizer"
        " the same initial weights and batches."
    )


def _choice(found: SectionAnalysis, runs: pd.DataFrame) -> str:
    """Return how settings were chosen, a sentence."""
    cells = runs.groupby("optimizer")["cell_id"].nunique()
    if found.section.tuned:
        return findings.setting(found)
    if (runs["settings"] == "default").all():
        return (
            "Default settings, untuned: each optimizer ran at its library's defaults. This compares defaults; after tuning, the"
            " order may differ."
        )
    if (cells > 1).any():
        counts = ", ".join(f"{name} {count}" for name, count in cells.items())
        return f"Settings given by hand, not tuned with equal budgets; settings tried: {counts}."
    defaults = sorted(set(runs.loc[runs["settings"] == "default", "optimizer"]))
    rest = f" ({', '.join(defaults)}: default settings)" if defaults else ""
    return f"Settings given by hand, untuned{rest}."


def _environments(runs: pd.DataFrame) -> Iterator[str]:
    """Yield the machines and versions of some runs, a sentence each."""
    for row in runs.drop_duplicates("environment_id").itertuples():
        machine = f"{row.gpu}, " if pd.notna(row.gpu) else ""
        threads = f"{row.num_threads} thread{'s' if row.num_threads != 1 else ''}"
        yield (
            f"Environment: {machine}{row.cpu}, {row.num_cores} cores, {threads} used; {row.os}; torch {row.torch_version}, Python"
            f" {row.python_version}; {row.device}, {row.precision}."
        )


def _seeds(seeds: list[int]) -> str:
    """Seeds in words: "0, 1, 2", and more than ten in a row "0 to 19"."""
    if len(seeds) > 10 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds))


def notes(section: Section, shown: list[str]) -> list[str]:
    """Return what limits the comparison, a sentence each."""
    runs = section.runs
    notes = []
    if runs["series"].nunique() > len(shown) and not section.predicted:
        notes.append(
            f"Tables and figures show, for each optimizer, the setting with the lowest mean final validation loss ({', '.join(shown)});"
            " it was chosen on the same seeds as it is shown on, which favours it slightly."
        )
    contended = int((runs["timing_quality"] == "contended").sum())
    if contended:
        notes.append(
            f"Times of {contended} of {len(runs)} runs are contended (another process used the processor) and are not ranked."
        )
    not_ok = runs[runs["status"] != "ok"]
    if len(not_ok):
        each = (f"{series} ({counted(group['status'])})" for series, group in not_ok.groupby("series", sort=False))
        notes.append(f"Not every run ended ok: {', '.join(each)}.")
    return notes


def counted(statuses: pd.Series) -> str:
    """Return how runs ended: "3 ok, 1 diverged"."""
    counts = statuses.value_counts()
    return ", ".join(f"{counts[status]} {status}" for status in STATUS_ORDER if status in counts)
