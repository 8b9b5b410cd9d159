"""A report: one HTML file that opens offline, Markdown, figures and tables of a study."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import jinja2
import pandas as pd

from bench.analysis import step_costs
from bench.analysis.comparisons import paths, surface
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import leaders, sections
from bench.analysis.targets import SECOND_LOWEST, Goal
from bench.base.errors import UserError
from bench.base.metrics import CURVES
from bench.base.version import __version__
from bench.plots.palette import colors
from bench.plots.style import style
from bench.report.document import Sheet
from bench.report.study.page import cost_page, counted, overall_page, section_page
from bench.tables.frames import Study
from bench.tables.query import condition
from bench.tables.read import load_side

OUR_FILES = re.compile(
    r"figures/(\d+-)?(loss-step|loss-epoch|loss-time|accuracy|gap|trajectory|targets|time|memory"
    rf"|{'|'.join(curve.name.replace('_', '-') for curve in CURVES)}"
    r"|pareto|defaults|best-of-k|sensitivity|status|profile|step-cost|training-step)\.(svg|png)"
    r"|tables/((\d+-)?(summary|comparisons|targets|target-comparisons|defaults|tuning|best-of-k|sensitivity|profile|leave-one-out"
    r"|step-costs|rule-and-implementation)|runs|curves|memory|trajectories)\.csv"
)
"""What a report writes, and a later one of fewer runs takes away."""


MOST_LEADING = 2
"""Sections that the first screen says all about; of more it says one thing each."""


@style()
def write_report(
    study: Study,
    study_dir: Path,
    report_dir: Path,
    where: str | None = None,
    mix_environments: bool = False,
    goal: Goal = SECOND_LOWEST,
) -> None:
    """Write index.html, report.md, figures/ and tables/ of a study.

    Args:
        study: What `bench.tables.load` gave.
        study_dir: Where it lies, for the command that rebuilds the report.
        report_dir: Folder to write into.
        where: A condition on the columns of `runs` that chooses which runs to show, see `bench.tables.query`.
        mix_environments: Put runs of different machines or versions into one section.
        goal: How the target of steps and time to target is chosen.

    Raises:
        UserError: `where` is no such condition or leaves no run, or nothing of the study is the baseline.
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
    parts = list(sections(runs, mix_environments))
    known = sorted({str(name) for part in parts for key in ("optimizer", "series") for name in part.runs[key]})
    if goal.baseline is not None and goal.baseline not in known:
        raise UserError(f"--baseline must be one of {', '.join(known)}, got {goal.baseline}; choose one of these")
    palette = colors([*study.runs["optimizer"], *step_cost_rows["optimizer"]])
    pages = []
    analyses = [SectionAnalysis(section, study.curves, step_cost_rows, memory, goal) for section in parts]
    for number, found in enumerate(analyses, 1):
        own = found.section.runs if len(found.section.runs) else found.section.trials
        path = paths(own, trajectories, found.leaders or leaders(own))
        grid = surface(surfaces, own["workload_id"].iloc[0])
        sheet = Sheet(report_dir, f"{number}-" if number > 1 else "", palette)
        pages.append(section_page(found, path, grid, sheet))
    # what was tuned says more than its own defaults; of many sections the first screen says one thing each
    tuned = {part.title.removesuffix(", tuned") for part in parts if part.tuned}
    leads = [part.tuned or part.title.removesuffix(", not tuned") not in tuned for part in parts]
    few = sum(leads) <= MOST_LEADING
    pages = [
        replace(
            page, first=page.answers if first and few else page.brief if first else page.brief[: int(sum(leads) == 1)]
        )
        for page, first in zip(pages, leads, strict=True)
    ]
    overall = overall_page(analyses, Sheet(report_dir, "", palette))
    cost_pages = []
    costs = step_costs.step_costs(step_cost_rows)
    if len(costs):
        newest = step_costs.latest_session(costs)
        num_older = int(costs["session_id"].nunique() - newest["session_id"].nunique())
        for number, (session, _) in enumerate(newest.groupby("session_id", sort=False), 1):
            rows = step_cost_rows[step_cost_rows["session_id"] == session]
            cost_pages.append(
                cost_page(rows, num_older, Sheet(report_dir, f"{number}-" if number > 1 else "", palette))
            )
    if len(memory):
        memory.to_csv(report_dir / "tables" / "memory.csv", index=False)
    trajectories = trajectories[trajectories["run_id"].isin(runs["run_id"])]
    if len(trajectories):
        trajectories.to_csv(report_dir / "tables" / "trajectories.csv", index=False)
    study_curves = study.curves[study.curves["run_id"].isin(runs["run_id"])]
    runs.to_csv(report_dir / "tables" / "runs.csv", index=False)
    study_curves.to_csv(report_dir / "tables" / "curves.csv", index=False)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown_table": markdown_table}
    command = ["python", "-m", "bench.report", str(study_dir), *(["--where", where] if where else [])]
    command += [] if goal.value is None else ["--target", f"{goal.value:g}"]
    command += [] if goal.baseline is None else ["--baseline", goal.baseline]
    context = {
        "study": str(next(iter([*runs["study"], *step_cost_rows["study"], study_dir.name]))),
        "overall": overall,
        "pages": pages,
        "cost_pages": cost_pages,
        "problems": [*study.problems, *problems],
        "where": where,
        "num_runs": len(runs),
        "statuses": counted(runs["status"]),
        "command": shlex.join([*command, *(["--mix-environments"] if mix_environments else [])]),
        "version": __version__,
    }
    for template, name in (("index.html.j2", "index.html"), ("report.md.j2", "report.md")):
        (report_dir / name).write_text(environment.get_template(template).render(context), encoding="utf-8")


def _chosen(runs: pd.DataFrame, where: str | None) -> pd.DataFrame:
    if where is None or runs.empty:
        return runs
    try:
        chosen = runs[condition(where, runs)]
    except ValueError as error:
        raise UserError(
            f"--where must be a condition on the columns of runs, got {where!r:.200}: {error};"
            " for example --where \"optimizer != 'sgd' and lr > 0.01\""
        ) from None
    if chosen.empty:
        raise UserError(f"--where must leave at least one run, got {where!r}, which leaves none; loosen it")
    return chosen


def markdown_cell(value: object) -> str:
    """A value as it may stand in a Markdown table."""
    return str(value).replace("|", "\\|")


def markdown_table(table: pd.DataFrame) -> str:
    """A DataFrame of texts as a Markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(markdown_cell, line)) + " |" for line in lines)
