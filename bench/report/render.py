"""Pages: one HTML file that opens offline, Markdown, figures and tables of a study."""

from __future__ import annotations

import base64
import io
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

import bench
from bench.report import plots, stats
from bench.tables import Study, load_side

OUR_FILES = re.compile(
    r"figures/(\d+-)?(loss-step|loss-epoch|loss-time|accuracy|gap|trajectory|grad-norm|update-ratio|distance|time|memory|sensitivity"
    r"|step-cost|training-step)\.(svg|png)"
    r"|tables/((\d+-)?(summary|comparisons|targets|step-costs|rule-and-implementation)|runs|curves|memory|trajectories)\.csv"
)
"""What a report writes, and a later one of fewer runs takes away."""

MORE_METRICS = {
    "gap": "Mean loss over the training set less the lowest possible one",
    "grad_norm": "Norm of the gradients that the step used",
    "update_ratio": "Norm of what a step changed, over the norm of the weights before it,",
    "distance": "Distance of the weights from where they started",
}
"""Metrics of `curves` that only some runs have, each with what its figure shows."""

MAX_NARROW_INCHES = 9.0
"""Wider figures do not stand two in a row."""

STATUS_ORDER = ("ok", "diverged", "oom", "timeout", "failed", "interrupted", "skipped", "pruned")


@dataclass(frozen=True)
class Picture:
    """A figure of the report, its SVG as a data URI; a wide one takes the whole width of the page."""

    name: str
    caption: str
    uri: str
    wide: bool = False


@dataclass(frozen=True)
class Page:
    """What the templates show of one section."""

    title: str
    anchor: str
    facts: list[str]
    notes: list[str]
    verdict: str
    summary: pd.DataFrame
    all_settings: pd.DataFrame | None
    pairs: pd.DataFrame
    target: str | None
    targets: pd.DataFrame | None
    memory: pd.DataFrame | None
    pictures: list[Picture]
    runs: pd.DataFrame
    predicted: bool


@dataclass(frozen=True)
class CostPage:
    """What the templates show of one measurement of step costs."""

    title: str
    anchor: str
    method: list[str]
    absent: list[str]
    costs: pd.DataFrame
    rule: pd.DataFrame
    implementation: pd.DataFrame
    pictures: list[Picture]
    command: str


def write_report(
    study: Study, study_dir: Path, report_dir: Path, where: str | None = None, mix_environments: bool = False
) -> None:
    """Write index.html, report.md, figures/ and tables/ of a study.

    Args:
        study: What `bench.tables.load` gave.
        study_dir: Where it lies, for the command that rebuilds the report.
        report_dir: Folder to write into.
        where: A pandas query over the columns of `runs` that chooses which runs to show.
        mix_environments: Put runs of different machines or versions into one section.

    Raises:
        ValueError: `where` is no such query, or leaves no run.
        OSError: The folder cannot be written.
    """
    runs = _chosen(study.runs, where)
    step_cost_rows, memory, trajectories, surfaces = (
        load_side(study_dir, name) for name in ("step_costs", "memory", "trajectories", "surfaces")
    )
    problems = [p for side in (step_cost_rows, memory, trajectories, surfaces) for p in side.attrs["problems"]]
    for folder in ("figures", "tables"):
        (report_dir / folder).mkdir(parents=True, exist_ok=True)
        for path in (report_dir / folder).iterdir():
            if OUR_FILES.fullmatch(f"{folder}/{path.name}"):
                path.unlink(missing_ok=True)
    palette = plots.colors([*study.runs["optimizer"], *step_cost_rows["optimizer"]])
    pages = []
    for number, section in enumerate(stats.sections(runs, mix_environments), 1):
        prefix = f"{number}-" if number > 1 else ""
        path = stats.paths(section.runs, trajectories, stats.leaders(section.runs))
        grid = stats.surface(surfaces, section.runs["workload_id"].iloc[0])
        drawn = _trajectory(section.runs, path, grid, palette)
        pages.append(_page(section, study.curves, step_cost_rows, memory, report_dir, prefix, palette, drawn))
    cost_pages = []
    costs = stats.step_costs(step_cost_rows)
    if len(costs):
        newest = stats.latest_session(costs)
        for number, (session, _) in enumerate(newest.groupby("session_id", sort=False), 1):
            rows = step_cost_rows[step_cost_rows["session_id"] == session]
            older = int(costs["session_id"].nunique() - newest["session_id"].nunique())
            cost_pages.append(_cost_page(rows, older, report_dir, f"{number}-" if number > 1 else "", palette))
    if len(memory):
        memory.to_csv(report_dir / "tables" / "memory.csv", index=False)
    trajectories = trajectories[trajectories["run_id"].isin(runs["run_id"])]
    if len(trajectories):
        trajectories.to_csv(report_dir / "tables" / "trajectories.csv", index=False)
    study_curves = study.curves[study.curves["run_id"].isin(runs["run_id"])]
    runs.to_csv(report_dir / "tables" / "runs.csv", index=False)
    study_curves.to_csv(report_dir / "tables" / "curves.csv", index=False)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown_table": markdown_table, "cell": markdown_cell, "known": known}
    command = ["python", "-m", "bench.report", str(study_dir), *(["--where", where] if where else [])]
    context = {
        "study": str(next(iter([*runs["study"], *step_cost_rows["study"], study_dir.name]))),
        "pages": pages,
        "cost_pages": cost_pages,
        "problems": [*study.problems, *problems],
        "where": where,
        "num_runs": len(runs),
        "statuses": _counted(runs["status"]),
        "command": shlex.join([*command, *(["--mix-environments"] if mix_environments else [])]),
        "version": bench.__version__,
    }
    for template, name in (("index.html.j2", "index.html"), ("report.md.j2", "report.md")):
        (report_dir / name).write_text(environment.get_template(template).render(context), encoding="utf-8")


def _chosen(runs: pd.DataFrame, where: str | None) -> pd.DataFrame:
    if where is None or runs.empty:
        return runs
    try:
        kept = runs.eval(where, engine="python")
        if not isinstance(kept, pd.Series) or not pd.api.types.is_bool_dtype(kept):
            raise TypeError("it is true or false of no run")
        chosen = runs[kept.fillna(False).astype(bool)]
    except Exception as error:
        raise ValueError(
            f"--where must be a query over the columns of runs, got {where!r} ({type(error).__name__}: {error});"
            " for example --where \"optimizer != 'sgd'\""
        ) from None
    if chosen.empty:
        raise ValueError(f"--where must leave at least one run, got {where!r}, which leaves none; loosen it")
    return chosen


def _page(
    section: stats.Section,
    curves: pd.DataFrame,
    step_cost_rows: pd.DataFrame,
    memory: pd.DataFrame,
    report_dir: Path,
    prefix: str,
    palette: dict[str, plots.Color],
    more: Iterable[tuple[str, str, Figure | None]] = (),
) -> Page:
    runs = section.runs
    shown = stats.leaders(runs)
    table, pairs = stats.summary(runs), stats.paired_ratios(runs, shown)
    drawn = [s for s in shown if (runs.loc[runs["series"] == s, "num_steps"] > 0).any()]
    times = stats.step_times(runs, drawn, step_cost_rows)
    target, targets = stats.target_loss(runs[runs["series"].isin(shown)]), None
    if target is not None:
        targets = stats.time_to_target(runs, curves, shown, target[0], times)
        targets.to_csv(report_dir / "tables" / f"{prefix}targets.csv", index=False)
    by_part = stats.memory_of(runs, memory, shown)
    table.to_csv(report_dir / "tables" / f"{prefix}summary.csv", index=False)
    pairs.to_csv(report_dir / "tables" / f"{prefix}comparisons.csv", index=False)
    pictures = []
    for name, caption, figure in (*more, *_figures(runs, curves, shown, palette, times, by_part)):
        if figure is not None:
            wide = bool(figure.get_figwidth() > MAX_NARROW_INCHES)
            path = report_dir / "figures" / f"{prefix}{name}"
            pictures.append(Picture(f"{prefix}{name}", caption, _saved(figure, path), wide))
    order = runs["status"].map({status: i for i, status in enumerate(STATUS_ORDER)})
    listed = runs.assign(_order=order).sort_values(["_order", "series", "seed"], ascending=[False, True, True])
    return Page(
        title=section.title,
        anchor=re.sub(r"[^a-z0-9]+", "-", f"{prefix}{section.title}".lower()).strip("-"),
        facts=_facts(section),
        notes=_notes(section, shown),
        verdict=stats.verdict(section),
        summary=stats.readable_summary(table[table["series"].isin(shown)]),
        all_settings=stats.readable_summary(table) if len(table) > len(shown) else None,
        pairs=pairs,
        target=None if target is None else f"{target[0]:.4g}, the median final one of {target[1]}",
        targets=None if targets is None else stats.readable_targets(targets),
        memory=stats.readable_memory(by_part) if len(by_part) else None,
        pictures=pictures,
        runs=listed,
        predicted=section.predicted,
    )


def _cost_page(
    rows: pd.DataFrame, num_older: int, report_dir: Path, prefix: str, palette: dict[str, plots.Color]
) -> CostPage:
    """The page of one session of step costs."""
    costs = stats.step_costs(rows)
    costs.to_csv(report_dir / "tables" / f"{prefix}step-costs.csv", index=False)
    parts = stats.rule_and_implementation(rows)
    parts.to_csv(report_dir / "tables" / f"{prefix}rule-and-implementation.csv", index=False)
    first = costs.iloc[0]
    ok = costs[costs["status"] == "ok"]
    pictures = []
    figure = plots.step_cost_figure(costs, palette)
    if figure is not None:
        caption = "One optimizer step: median and quartiles over builds, and its ratio to the baseline with the 95% interval over processes."
        path = report_dir / "figures" / f"{prefix}step-cost"
        pictures.append(Picture(f"{prefix}step-cost", caption, _saved(figure, path)))
        phases = [
            ("data_us", "data"), ("zero_grad_us", "zero_grad"), ("forward_us", "forward"), ("backward_us", "backward"),
            ("optimizer_us", "step"),
        ]  # fmt: skip
        bars = [f"{row.optimizer} {row.implementation}" for row in ok.itertuples()]
        caption = "A whole training step by its phases: medians."
        path = report_dir / "figures" / f"{prefix}training-step"
        figure = plots.stacked_figure(ok, bars, phases, "one training step (µs)")
        pictures.append(Picture(f"{prefix}training-step", caption, _saved(figure, path)))
    machine = f"{first['gpu']}, " if pd.notna(first["gpu"]) else ""
    facts = [
        f"{first['num_parameters']:,} parameters. Paired and interleaved: {rows['process'].nunique()} fresh processes,"
        f" {len(rows.drop_duplicates(['process', 'build']))} builds in all; medians and quartiles over builds, intervals over processes"
        f" (Student's t), told apart by Holm's method over the first table; the intervals are not adjusted.",
        f"Environment: {machine}{first['cpu']}; torch {first['torch_version']}; {first['device']}, {first['precision']},"
        f" {first['num_threads']} thread{'s' if first['num_threads'] != 1 else ''}.",
    ]
    cache, speed = (costs[name].dropna() for name in ("last_cache_mib", "bandwidth_gib_per_s"))
    if len(speed) and len(cache):
        share = (
            ""
            if costs["limit_share"].notna().any()
            else "; parameters, gradients and state fit in four times that, so no share of the limit is given"
        )
        facts.append(
            f"Memory bandwidth, in place: {speed.iloc[0]:.1f} GiB/s; last cache {cache.iloc[0]:,.0f} MiB{share}."
        )
    if num_older:
        facts.append(f"Older measurements of this study, not shown: {num_older}.")
    title = f"What one step costs: {first['workload']}, {first['device']}"
    return CostPage(
        title=title,
        anchor=re.sub(r"[^a-z0-9]+", "-", f"{prefix}{title}".lower()).strip("-"),
        method=facts + [s for s in (stats.smallest_difference_words(costs),) if s],
        absent=stats.absent_words(costs),
        rule=stats.readable_parts(parts, "rule"),
        implementation=stats.readable_parts(parts, "implementation"),
        costs=stats.readable_step_costs(costs) if len(ok) else pd.DataFrame(),
        pictures=pictures,
        command=str(first["command"]),
    )


def _trajectory(
    runs: pd.DataFrame, paths: pd.DataFrame, grid: pd.DataFrame | None, palette: dict[str, plots.Color]
) -> Iterable[tuple[str, str, Figure | None]]:
    if paths.empty:
        return
    below = ""
    if grid is not None:
        x, y, value = stats.lowest_point(grid)
        below = (
            f" Contours: the function, logarithmic above its lowest value on the grid, {value:.3g} at ({x:.3g}, {y:.3g});"
            " a path may leave what is drawn."
        )
    several = " First seed of each." if runs["seed"].nunique() > 1 else ""
    yield (
        "trajectory",
        f"The path of each optimizer from its start: {stats.path_words(paths)}.{below}{several}",
        plots.trajectory_figure(runs, paths, grid, palette),
    )


def _figures(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    shown: list[str],
    palette: dict[str, plots.Color],
    times: pd.DataFrame | None,
    memory: pd.DataFrame,
) -> Iterable[tuple[str, str, Figure | None]]:
    seeds = "Thin lines: single seeds. Thick line and band: median and range over seeds."
    clock = (
        "training time, end to end, evaluation excluded; step times measured apart are missing (python -m bench.step_cost)"
        if times is None
        else f"time: steps x separately measured, interleaved step time ({_times(times)})"
    )
    for x, words in (("step", "step"), ("epoch", "epoch"), ("train_time_s", clock)):
        name = {"train_time_s": "time"}.get(x, x)
        yield (
            f"loss-{name}",
            f"Loss against {words}. {seeds}",
            plots.curves_figure(runs, curves, shown, "loss", x, palette, times),
        )
    yield (
        "accuracy",
        f"Accuracy against epoch. {seeds}",
        plots.curves_figure(runs, curves, shown, "accuracy", "epoch", palette),
    )
    for metric, words in MORE_METRICS.items():
        yield (
            metric.replace("_", "-"),
            f"{words} against step. {seeds}",
            plots.curves_figure(runs, curves, shown, metric, "step", palette),
        )
    times = [("step_ms", "time per step (ms)"), ("train_s", "training time (s)")]
    yield (
        "time",
        "Time per step and in total, a dot a run, bar: median. End to end, one run after the other: it describes these runs and ranks nothing.",
        plots.bars_figure(runs, shown, times, palette),
    )
    if len(memory):
        yield (
            "memory",
            "Peak memory in tensors, by what it holds at that moment. Measured in a pass of its own, or predicted on device=fake.",
            plots.memory_figure(memory),
        )
    else:
        peaks = [("peak_rss_mib", "peak memory of the process (MiB)"), ("peak_allocated_mib", "peak GPU memory (MiB)")]
        yield (
            "memory",
            "Peak memory during training, a dot a run, bar: median. The process includes Python and torch.",
            plots.bars_figure(runs, shown, peaks, palette),
        )
    yield (
        "sensitivity",
        "Final validation loss against learning rate: median and range over seeds. A cross: a run did not end ok.",
        plots.sensitivity_figure(runs, palette),
    )


def _times(times: pd.DataFrame) -> str:
    """Step times with their uncertainty, in words."""
    return ", ".join(
        f"{row.series} {1e3 * row.step_s:.3g} ms \u00b1 {100 * stats.half_width(row.df) * row.log_se:.1f} %"
        for row in times.itertuples()
    )


def _saved(figure: Figure, path: Path) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    plt.close(figure)
    path.with_suffix(".svg").write_bytes(buffer.getvalue())
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def _facts(section: stats.Section) -> list[str]:
    """What was compared and how fairly, a sentence each."""
    runs = section.runs
    first = (
        runs.loc[runs["num_steps_budget"].notna()].iloc[0] if runs["num_steps_budget"].notna().any() else runs.iloc[0]
    )
    optimizers = sorted(set(runs["optimizer"]))
    seeds = sorted({int(seed) for seed in runs["seed"]})
    sizes = ""
    if pd.notna(first["num_train"]):
        sizes = f" ({first['num_train']:,} train, {first['num_val']:,} val, {first['num_test']:,} test examples; data {first['data_fingerprint']})"
    steps = (
        f", {first['num_steps_budget']:,} steps"
        if pd.notna(first["num_steps_budget"]) and "steps" not in first["budget"]
        else ""
    )
    parameters = f", {first['num_parameters']:,} parameters" if pd.notna(first["num_parameters"]) else ""
    per_series = runs.groupby("series")["seed"].nunique()
    each = f"{per_series.min()}" if per_series.nunique() == 1 else f"{per_series.min()} to {per_series.max()}"
    if section.predicted:
        budget = f"Batch {first['batch_size']}; predicted from shapes (FakeTensorMode), not allocated and not run."
    else:
        budget = (
            f"Budget: {first['budget']}{steps} of batch {first['batch_size']} for every run, no early stopping; seeds"
            f" {', '.join(map(str, seeds))} ({each} a setting). The same seed gives every optimizer the same initial weights and batches."
        )
    facts = [
        f"Compared: {', '.join(optimizers)}; model {first['model']}{parameters}, data {first['data']}{sizes}.",
        budget,
    ]
    cells = runs.groupby("optimizer")["cell_id"].nunique()
    if section.predicted:
        pass
    elif (runs["settings"] == "default").all():
        facts.append(
            "Default settings, untuned: each optimizer ran at its library's defaults. That compares defaults; tuned, the order can be another."
        )
    elif (cells > 1).any():
        counts = ", ".join(f"{name} {count}" for name, count in cells.items())
        facts.append(f"Settings given by hand, not tuned at equal budget; settings tried: {counts}.")
    else:
        defaults = sorted(set(runs.loc[runs["settings"] == "default", "optimizer"]))
        rest = f" ({', '.join(defaults)}: default settings)" if defaults else ""
        facts.append(f"Settings given by hand, untuned{rest}.")
    places = runs.drop_duplicates("environment_id")
    for row in places.itertuples():
        machine = f"{row.gpu}, " if pd.notna(row.gpu) else ""
        facts.append(
            f"Environment: {machine}{row.cpu}, {row.num_cores} cores, {row.num_threads} thread{'s' if row.num_threads != 1 else ''}"
            f" used; {row.os}; torch {row.torch_version}, Python {row.python_version}; {row.device}, {row.precision}."
        )
    if section.mixed:
        facts.append(
            "Runs of several environments are mixed here, because that was asked for: times and memory do not compare."
        )
    return facts


def _notes(section: stats.Section, shown: list[str]) -> list[str]:
    runs = section.runs
    notes = []
    if runs["series"].nunique() > len(shown) and not section.predicted:
        notes.append(
            f"Tables and figures show, for each optimizer, the setting with the lowest mean final validation loss ({', '.join(shown)});"
            " it was chosen on the seeds it is shown on, which flatters it a little."
        )
    contended = int((runs["timing_quality"] == "contended").sum())
    if contended:
        notes.append(
            f"Times of {contended} of {len(runs)} runs are contended: something else took the processor. They rank nothing."
        )
    not_ok = runs[runs["status"] != "ok"]
    if len(not_ok):
        each = (f"{series} ({_counted(group['status'])})" for series, group in not_ok.groupby("series", sort=False))
        notes.append(f"Not every run ended ok: {', '.join(each)}.")
    return notes


def _counted(statuses: pd.Series) -> str:
    counts = statuses.value_counts()
    return ", ".join(f"{counts[status]} {status}" for status in STATUS_ORDER if status in counts)


def known(value: object, otherwise: str = "") -> object:
    """A value, or what stands where it is missing."""
    return otherwise if pd.isna(value) else value


def markdown_cell(value: object) -> str:
    """A value as it may stand in a Markdown table."""
    return str(value).replace("|", "\\|")


def markdown_table(table: pd.DataFrame) -> str:
    """A DataFrame of texts as a Markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(markdown_cell, line)) + " |" for line in lines)
