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
from bench.tables import Study

OUR_FILES = re.compile(
    r"figures/(\d+-)?(loss-step|loss-epoch|loss-time|accuracy|time|memory|sensitivity)\.(svg|png)"
    r"|tables/((\d+-)?(summary|comparisons)|runs|curves)\.csv"
)
"""What a report writes, and a later one of fewer runs takes away."""

STATUS_ORDER = ("ok", "diverged", "oom", "timeout", "failed", "interrupted", "skipped", "pruned")


@dataclass(frozen=True)
class Picture:
    """A figure of the report: its file name without suffix, what it shows, and its SVG as a data URI."""

    name: str
    caption: str
    uri: str


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
    pictures: list[Picture]
    runs: pd.DataFrame


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
    for folder in ("figures", "tables"):
        (report_dir / folder).mkdir(parents=True, exist_ok=True)
        for path in (report_dir / folder).iterdir():
            if OUR_FILES.fullmatch(f"{folder}/{path.name}"):
                path.unlink(missing_ok=True)
    palette = plots.colors(study.runs["optimizer"])
    pages = []
    for number, section in enumerate(stats.sections(runs, mix_environments), 1):
        pages.append(_page(section, study.curves, report_dir, f"{number}-" if number > 1 else "", palette))
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
        "study": str(runs["study"].iloc[0]),
        "pages": pages,
        "problems": list(study.problems),
        "where": where,
        "num_runs": len(runs),
        "statuses": _counted(runs["status"]),
        "command": shlex.join([*command, *(["--mix-environments"] if mix_environments else [])]),
        "version": bench.__version__,
    }
    for template, name in (("index.html.j2", "index.html"), ("report.md.j2", "report.md")):
        (report_dir / name).write_text(environment.get_template(template).render(context), encoding="utf-8")


def _chosen(runs: pd.DataFrame, where: str | None) -> pd.DataFrame:
    if where is None:
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
    section: stats.Section, curves: pd.DataFrame, report_dir: Path, prefix: str, palette: dict[str, plots.Color]
) -> Page:
    runs = section.runs
    shown = stats.leaders(runs)
    table, pairs = stats.summary(runs), stats.paired_ratios(runs, shown)
    table.to_csv(report_dir / "tables" / f"{prefix}summary.csv", index=False)
    pairs.to_csv(report_dir / "tables" / f"{prefix}comparisons.csv", index=False)
    pictures = []
    for name, caption, figure in _figures(runs, curves, shown, palette):
        if figure is not None:
            pictures.append(
                Picture(f"{prefix}{name}", caption, _saved(figure, report_dir / "figures" / f"{prefix}{name}"))
            )
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
        pictures=pictures,
        runs=listed,
    )


def _figures(
    runs: pd.DataFrame, curves: pd.DataFrame, shown: list[str], palette: dict[str, plots.Color]
) -> Iterable[tuple[str, str, Figure | None]]:
    seeds = "Thin lines: single seeds. Thick line and band: median and range over seeds."
    for x, words in (("step", "step"), ("epoch", "epoch"), ("train_time_s", "training time, evaluation excluded")):
        name = {"train_time_s": "time"}.get(x, x)
        yield (
            f"loss-{name}",
            f"Loss against {words}. {seeds}",
            plots.curves_figure(runs, curves, shown, "loss", x, palette),
        )
    yield (
        "accuracy",
        f"Accuracy against epoch. {seeds}",
        plots.curves_figure(runs, curves, shown, "accuracy", "epoch", palette),
    )
    times = [("step_ms", "time per step (ms)"), ("train_s", "training time (s)")]
    yield (
        "time",
        "Time per step and in total, a dot a run, bar: median. End to end, one run after the other: it describes these runs and ranks nothing.",
        plots.bars_figure(runs, shown, times, palette),
    )
    memory = [("peak_rss_mib", "peak memory of the process (MiB)"), ("peak_allocated_mib", "peak GPU memory (MiB)")]
    yield (
        "memory",
        "Peak memory during training, a dot a run, bar: median. The process includes Python and torch.",
        plots.bars_figure(runs, shown, memory, palette),
    )
    yield (
        "sensitivity",
        "Final validation loss against learning rate: median and range over seeds. A cross: a run did not end ok.",
        plots.sensitivity_figure(runs, palette),
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
    facts = [
        f"Compared: {', '.join(optimizers)}; model {first['model']}{parameters}, data {first['data']}{sizes}.",
        f"Budget: {first['budget']}{steps} of batch {first['batch_size']} for every run, no early stopping; seeds {', '.join(map(str, seeds))} ({each} a setting). The same seed gives every optimizer the same initial weights and batches.",
    ]
    cells = runs.groupby("optimizer")["cell_id"].nunique()
    if (runs["settings"] == "default").all():
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
    if runs["series"].nunique() > len(shown):
        notes.append(
            f"Tables and figures show, for each optimizer, the setting with the lowest mean final validation loss ({', '.join(shown)});"
            " it was chosen on the seeds it is shown on, which flatters it a little."
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
