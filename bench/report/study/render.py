"""A report: one HTML file that opens offline, Markdown, figures and tables of a study."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import jinja2
import pandas as pd

from bench.analysis import step_costs
from bench.analysis.comparisons import paths, surface
from bench.analysis.goals import Goal
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import leaders
from bench.analysis.study import Sides, StudyAnalysis
from bench.base.version import __version__
from bench.plots.palette import colors
from bench.plots.style import style
from bench.report.explorer import chart_library
from bench.report.export import STYLES, Export
from bench.report.folder import report_folder
from bench.report.markdown import markdown_table, markdown_text
from bench.report.sheet import Sheet
from bench.report.study.overall import overall_page
from bench.report.study.page import CostPage, Page, cost_page, counted, section_page
from bench.tables.csv import write_csv
from bench.tables.frames import Study


@style()
def write_report(
    found: StudyAnalysis, report_dir: Path, export_dir: Path | None = None, export_style: str = "paper"
) -> list[str]:
    """Write index.html, report.md, figures/ and tables/ of a study; the report that was there stays until all is written.

    Args:
        found: The study.
        report_dir: Folder to write into.
        export_dir: Folder for figures and tables as a paper needs them; None: there are none.
        export_style: What they are for, a key of `bench.report.export.STYLES`.

    Returns:
        What could not be read of the study, a sentence each.

    Raises:
        UserError: As `StudyAnalysis.analyses`; or the folder cannot hold a report, see `report_folder`.
        OSError: The folder cannot be written.
    """
    analyses, shown, sides = found.analyses, found.shown, found.sides
    palette = colors([*found.study.runs["optimizer"], *sides.step_costs["optimizer"]])
    problems = [*found.study.problems, *sides.problems]
    with report_folder(report_dir) as folder, ExitStack() as stack:
        export = None
        if export_dir is not None:
            export = Export(stack.enter_context(report_folder(export_dir)), STYLES[export_style])
        names = [*shown.runs["study"], *sides.step_costs["study"], found.study_dir.name]
        sheet = Sheet(folder, "", palette, export=export)
        pages = _pages(analyses, sides, sheet)
        costs = _cost_pages(sides.step_costs, sheet)
        context = {
            "study": str(names[0]),
            "pages": pages,
            "library": chart_library() if _has_charts(pages, costs) else "",
            "overall": overall_page(analyses, sheet),
            "cost_pages": costs,
            "problems": problems,
            "where": found.where,
            "num_runs": len(shown.runs),
            "statuses": counted(shown.runs["status"]),
            "command": _command(found.study_dir, found.where, found.goal, found.mix_environments),
            "version": __version__,
        }
        _write_tables(shown, sides, folder / "tables")
        environment = templates()
        for template, name in (("index.html.j2", "index.html"), ("report.md.j2", "report.md")):
            (folder / name).write_text(environment.get_template(template).render(context), encoding="utf-8")
    return problems


def _pages(analyses: Sequence[SectionAnalysis], sides: Sides, sheet: Sheet) -> list[Page]:
    """Return the page of each section, with what stands of it on the first screen."""
    pages = []
    for number, found in enumerate(analyses, 1):
        own = found.section.runs if len(found.section.runs) else found.section.trials
        path = paths(own, sides.trajectories, found.leaders or leaders(own))
        grid = surface(sides.surfaces, own["workload_id"].iloc[0])
        pages.append(section_page(found, path, grid, replace(sheet, prefix=_prefix(number))))
    # what was tuned says more than its own defaults
    parts = [found.section for found in analyses]
    tuned = {part.title.removesuffix(", tuned") for part in parts if part.tuned}
    leads = [part.tuned or part.title.removesuffix(", not tuned") not in tuned for part in parts]
    return [replace(page, leads=lead) for page, lead in zip(pages, leads, strict=True)]


def _cost_pages(rows: pd.DataFrame, sheet: Sheet) -> list[CostPage]:
    """Return the page of the newest session of step costs of each workload."""
    costs = step_costs.step_costs(rows)
    if costs.empty:
        return []
    newest = step_costs.latest_session(costs)
    num_older = int(costs["session_id"].nunique() - newest["session_id"].nunique())
    return [
        cost_page(rows[rows["session_id"] == session], num_older, replace(sheet, prefix=_prefix(number)))
        for number, (session, _) in enumerate(newest.groupby("session_id", sort=False), 1)
    ]


def _has_charts(pages: Sequence[Page], costs: Sequence[CostPage]) -> bool:
    """Return whether anything on the page is drawn by the library."""
    blocks = [block for page in pages for block in page.blocks] + [block for page in costs for block in page.blocks]
    pictures = (picture for block in blocks for picture in block.pictures)
    return any(page.curves for page in pages) or any(picture.chart for picture in pictures)


def _prefix(number: int) -> str:
    return f"{number}-" if number > 1 else ""


def _write_tables(shown: Study, sides: Sides, folder: Path) -> None:
    """Write the tables that a report stands on, as CSV."""
    of_runs = {"curves": shown.curves, "trajectories": sides.trajectories}
    chosen = {name: table[table["run_id"].isin(shown.runs["run_id"])] for name, table in of_runs.items()}
    for name, table in {"runs": shown.runs, "memory": sides.memory, **chosen}.items():
        if len(table) or name in ("runs", "curves"):
            write_csv(table, folder / f"{name}.csv")


def _command(study_dir: Path, where: str | None, goal: Goal, mix_environments: bool) -> str:
    """Return what is typed to make the report again."""
    command = ["python", "-m", "bench.report", str(study_dir), *(["--where", where] if where else [])]
    command += [] if goal.value is None else ["--target", f"{goal.value:g}"]
    command += [] if goal.baseline is None else ["--baseline", goal.baseline]
    return shlex.join([*command, *(["--mix-environments"] if mix_environments else [])])


def templates() -> jinja2.Environment:
    """Return the templates of reports; what HTML shows is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parents[1] / "templates"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"markdown_table": markdown_table, "text": markdown_text}
    return environment
