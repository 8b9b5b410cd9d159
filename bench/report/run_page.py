"""The page of one run, or of two beside each other: what stands out, its course, its layers, the loss around its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench import tables
from bench.analysis.diagnosis import diagnose, with_override
from bench.analysis.findings import Finding
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import Section, series_names
from bench.base.diagnostics import DIAGNOSTICS
from bench.base.errors import UserError
from bench.base.version import __version__
from bench.config.keys import leaves
from bench.plots.diagnostics import layers_figure
from bench.plots.palette import colors, line_styles
from bench.plots.runs import course_figure, planes_figure, slices_figure
from bench.plots.style import style
from bench.report.document import Block
from bench.report.explorer import chart_library, explorer_data
from bench.report.folder import report_folder
from bench.report.formatting import setting_text
from bench.report.run_charts import course_chart, layers_chart, planes_chart, slices_chart
from bench.report.sheet import Sheet
from bench.report.study.diagnosis import found_where, why
from bench.report.study.render import templates
from bench.tables.frames import Study

FACTS = (
    "run_id", "optimizer", "lr", "model", "data", "batch_size", "schedule", "seed", "status", "reason", "num_steps",
    "first_train_loss", "final_train_loss", "final_val_loss", "best_val_loss", "best_val_step", "final_test_loss",
    "final_test_accuracy", "train_s", "step_ms", "peak_tensors_mib", "num_parameters", "timing_quality", "load_1min", "cpu_share", "num_involuntary_switches", "cpu",
)  # fmt: skip
"""Columns of `runs` that the page shows."""


MOST_RUNS = 2


@style()
def write_run_page(study: Study, study_dir: Path, run_ids: Sequence[str], page_dir: Path, command: str) -> Path:
    """Write the page of one run, or of two side by side, with its figures and tables; return the page.

    Args:
        study: Its tables.
        study_dir: Where it lies.
        run_ids: Of the runs.
        page_dir: Folder to write into.
        command: What writes it again.

    Raises:
        UserError: There are more than two runs, or the folder cannot hold a page.
        OSError: The folder cannot be written.
    """
    if len(run_ids) > MOST_RUNS:
        raise UserError(
            f"--run must be one run, or two to see side by side, got {len(run_ids)}; name at most {MOST_RUNS}"
        )
    runs = study.runs.assign(series=series_names(study.runs))
    runs["series"] = runs["series"] + ", seed " + runs["seed"].astype(str)
    runs = runs.set_index("run_id", drop=False).loc[list(run_ids)].reset_index(drop=True)
    with report_folder(page_dir) as folder:
        sheet = Sheet(folder, "", colors(runs["optimizer"]))
        view = _RunView(study, study_dir, runs, sheet)
        curves = explorer_data(view.section, sheet.palette)
        context = {
            "title": " beside ".join(runs["series"]),
            "subject": f"{'A run' if len(runs) == 1 else 'Two runs'} of the study {study_dir.resolve().name}",
            "lines": [outcome(row) for _, row in runs.iterrows()],
            "files": "Figures are in figures/, tables in tables/.",
            "blocks": sheet.anchored(list(view.blocks())),
            "curves": curves,
            "library": chart_library() if curves else "",
            "command": command,
            "version": __version__,
        }
        (folder / "index.html").write_text(templates().get_template("plain.html.j2").render(context), encoding="utf-8")
    return page_dir / "index.html"


class _RunView:
    """The tables of the runs, and the blocks made of them."""

    def __init__(self, study: Study, study_dir: Path, runs: pd.DataFrame, sheet: Sheet) -> None:
        self._study_dir, self._runs, self._sheet = study_dir, runs, sheet
        self._names = list(runs["series"])
        self._series = dict(zip(runs["run_id"], self._names, strict=True))
        self._styles = line_styles(runs, self._names, sheet.palette)
        self._curves = self._of_runs(study.curves)
        self._recorded = self._of_runs(tables.load_side(study_dir, "diagnostics"))
        self._landscapes = self._of_runs(tables.load_side(study_dir, "landscapes"))
        self.section = SectionAnalysis(
            Section(", ".join(self._names), runs, False), self._curves.drop(columns=["series", "seed"]),
            diagnostics=self._recorded.drop(columns=["series", "seed"]),
        )  # fmt: skip
        self._findings: list[Finding] = diagnose(runs, self._curves, self._recorded)

    def _of_runs(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the runs, with their series."""
        columns = ["run_id", "series", "seed"]
        return table.merge(self._runs[columns], on="run_id")

    def blocks(self) -> Iterator[Block]:
        """Yield what the page shows, in order."""
        yield self._what_stands_out()
        yield self._course()
        if len(self._recorded):
            yield self._layers()
        if len(self._landscapes):
            yield self._landscape()
        yield Block("facts", "Settings and results", self._facts())
        yield Block("configuration", "Configuration", self._configuration(), folded="every key")

    def _facts(self) -> pd.DataFrame:
        known = [name for name in FACTS if self._runs[name].notna().any()]
        return self._side_by_side("column", {name: [_text(value) for value in self._runs[name]] for name in known})

    def _configuration(self) -> pd.DataFrame:
        """Return every key of the runs' configurations."""
        nodes = []
        for run in self._runs["run_id"]:
            record = tables.read_record(tables.run_folder(self._study_dir, run))
            nodes.append(dict(leaves(record.get("config", {}))))
        keys = dict.fromkeys(key for node in nodes for key in node if not key.startswith("overrides"))
        return self._side_by_side("key", {key: [_text(node.get(key)) for node in nodes] for key in keys})

    def _side_by_side(self, what: str, rows: dict[str, list[str]]) -> pd.DataFrame:
        columns = {name: [values[i] for values in rows.values()] for i, name in enumerate(self._names)}
        return pd.DataFrame({what: list(rows), **columns})

    def _what_stands_out(self) -> Block:
        found = self._findings
        if not found:
            return Block("findings", "What stands out", pd.DataFrame({"finding": ["Nothing stands out."]}))
        commands = dict(zip(self._runs["run_id"], self._runs["command"].fillna("").astype(str), strict=True))
        table = pd.DataFrame(
            {
                "mark": [str(i) for i in range(1, len(found) + 1)],
                "run": [self._series[each.run_id] for each in found],
                "finding": [found_where(each) for each in found],
                "reason": [why(each, with_override(commands[each.run_id], each.override)) for each in found],
            }
        )
        marked = any(each.since is not None for each in found)
        note = ["A dotted line with its mark stands below where it begins."] if marked else []
        return Block("findings", "What stands out", table, note)

    def _course(self) -> Block:
        marks = [
            (self._series[each.run_id], each.since, str(i))
            for i, each in enumerate(self._findings, 1)
            if each.since is not None
        ]
        figure = course_figure(self._curves, self._recorded, self._styles, marks)
        caption = "Losses, accuracy, and diagnostics of the whole model against step."
        if self._recorded.empty:
            caption += " No diagnostics were recorded; diagnostics=light or full records them."
        chart = course_chart(self._curves, self._recorded, self._styles, marks, caption)
        pictures = self._sheet.pictures(("course", caption, figure), charts={"course": chart})
        return Block("course", "Its course", pictures=pictures)

    def _layers(self) -> Block:
        formulas = {each.name: each.formula for each in DIAGNOSTICS}
        figures = [
            (f"layers-{name.replace('_', '-')}", f"{name.replace('_', ' ').capitalize()} of each layer, {formula}, against step.",
             layers_figure(self._recorded, name, self._names))
            for name, formula in formulas.items()
        ]  # fmt: skip
        first = next((name for name, _, figure in figures if figure is not None), "")
        chart = layers_chart(self._recorded, self._names)
        return Block("layers", "Its layers", pictures=self._sheet.pictures(*figures, charts={first: chart}))

    def _landscape(self) -> Block:
        rows, names, styles = self._landscapes, self._names, self._styles
        self._sheet.write("landscapes", rows)
        source = "(Li et al. 2018); loss of at most 256 training examples, shades logarithmic above the lowest value."
        captions = {
            "path": f"The path of the weights over the plane of its two main directions, with the share of its variance {source}",
            "slices": "Slices of the loss through the weights: along the last recorded update, and along a random direction.",
            "plane": f"The loss around the weights at the end, along two filter-normalized random directions {source}",
        }
        figures = {
            "path": planes_figure(rows, names, "path_plane", styles),
            "slices": slices_figure(rows, styles),
            "plane": planes_figure(rows, names, "plane", styles),
        }
        charts = {
            "path": planes_chart(rows, "path_plane", styles, captions["path"]),
            "slices": slices_chart(rows, styles, captions["slices"]),
            "plane": planes_chart(rows, "plane", styles, captions["plane"]),
        }
        pictures = self._sheet.pictures(*((name, captions[name], figures[name]) for name in figures), charts=charts)
        return Block("landscape", "The loss around its weights", pictures=pictures)


def outcome(row: pd.Series) -> str:
    """Return in a line what a run is and how it ended."""
    loss = "" if pd.isna(row["final_val_loss"]) else f", final validation loss {row['final_val_loss']:.4g}"
    why = "" if pd.isna(row["reason"]) else f": {row['reason']}"
    steps = "" if pd.isna(row["num_steps"]) else f" after {row['num_steps']:,} steps"
    return f"{row['series']}, {row['workload']}: {row['status']}{steps}{loss}{why}"


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, list | dict) else setting_text(value)
