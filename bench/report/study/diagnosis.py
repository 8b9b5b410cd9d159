"""The block that says what is wrong with runs and what to try, with what they recorded."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.diagnosis import Group, grouped
from bench.analysis.findings import NOTE, Finding
from bench.analysis.section import SectionAnalysis
from bench.base.diagnostics import DIAGNOSTICS
from bench.plots.diagnostics import layers_figure, whole_figure
from bench.report.document import Block, Picture
from bench.report.study.view import SectionView


def found_where(found: Finding) -> str:
    """Return a rule with the layer and the step from which on it holds."""
    since = f", since step {found.since:,}" if found.since is not None else ""
    where = f" in {found.layer}" if found.layer and found.layer not in found.seen else ""
    return f"{found.rule}{where}{since}"


def why(found: Finding, command: str) -> str:
    """Return what was seen and what to try, with the command that tries it where there is one."""
    note = " (To be known, not mended.)" if found.kind == NOTE else ""
    return f"{found.seen}. Try: {found.advice}{f': {command}' if command else '.'}{note}"


def finding_sentence(group: Group) -> str:
    """Return a finding as a sentence: which setting, in how many runs, what was seen, since which step."""
    found = group.first
    runs = f"{group.num} of {group.num_runs} runs" if group.num_runs > 1 else "its run"
    note = " (to be known, not mended)" if found.kind == NOTE else ""
    return f"{group.series}, {runs}: {found_where(found)}{note}: {found.seen}."


def diagnosis_block(view: SectionView) -> Iterator[Block]:
    """Yield what stands out in the runs, and figures of the diagnostics that the leaders recorded."""
    found = view.found
    if view.section.predicted or view.section.runs.empty:
        return
    groups = grouped(found.findings, view.section.runs)
    table = pd.DataFrame(
        {
            "optimizer": [group.series for group in groups],
            "runs": [f"{group.num} of {group.num_runs}" for group in groups],
            "finding": [found_where(group.first) for group in groups],
            "reason": [why(group.first, group.command) for group in groups],
        }
    )
    said = "Seen in the settings shown." if groups else "Nothing stands out in the settings shown."
    notes = [f"{said} python -m bench.diagnose looks at all runs."]
    if not found.is_recorded:
        notes.append(
            "By the curves alone: runs with diagnostics=light or diagnostics=full also say which layer, and why."
        )
    if len(table) or found.is_recorded:
        figures = _figures(view) if found.is_recorded else []
        yield Block("diagnosis", "What stands out, and what to try", table if len(table) else None, notes, figures)


MOST_NAMED = 3
"""Settings of which the terminal says at once what stands out."""


def stands_out(found: SectionAnalysis, study: str) -> str:
    """Return in a sentence or two what most runs of a leader suffer from; empty where there is no such problem.

    Args:
        found: The numbers of the section.
        study: Its folder, for the command that says more.
    """
    groups = [each for each in grouped(found.findings, found.section.runs) if each.first.kind != NOTE]
    most = {group.series: group.first.rule for group in groups if 2 * group.num > group.num_runs}
    if not most:
        return ""
    shown = list(most.items())[:MOST_NAMED]
    listed = "; ".join(f"{series}: {rule}" for series, rule in shown)
    listed += f"; and {len(most) - len(shown)} more" if len(most) > len(shown) else ""
    return f"What stands out: {listed}. python -m bench.diagnose {study} says why, and what to try."


def _figures(view: SectionView) -> list[Picture]:
    """Draw the diagnostics of the whole model, and some of each layer."""
    recorded, runs = view.found.recorded, view.section.runs
    shown = runs[runs["series"].isin(view.found.leaders)]
    table = recorded.merge(shown[["run_id", "series", "seed"]], on="run_id")
    view.sheet.write("diagnostics", table)
    formulas = {diagnostic.name: diagnostic.formula for diagnostic in DIAGNOSTICS}
    layers = [
        (
            f"layers-{name.replace('_', '-')}",
            f"{name.replace('_', ' ').capitalize()} of each layer, {formulas[name]}, against step: first seed of each optimizer.",
            layers_figure(table, name, view.found.leaders),
        )
        for name in ("gradient_norm", "update_to_weight", "dead_units")
    ]
    whole = (
        "diagnostics",
        "Diagnostics of the whole model against step: median over seeds.",
        whole_figure(table, runs, view.found.leaders, view.sheet.palette),
    )
    return view.sheet.pictures(whole, *layers)
