"""Blocks about steps and time to a target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from bench.analysis.goals import Target
from bench.analysis.section import SectionAnalysis
from bench.plots.comparisons import targets_figure
from bench.plots.style import MAX_FAINT_RUNS
from bench.report.charts import targets_chart
from bench.report.document import Block
from bench.report.formatting import interval_text, p_text
from bench.report.study.tables import readable_targets
from bench.report.study.view import SectionView


def target_blocks(view: SectionView) -> Iterator[Block]:
    """Yield what each series needs to the target and to looser and tighter ones, and how they compare."""
    found = view.found
    if found.target is None:
        return
    table = view.sheet.write("targets", found.time_to_target)
    pairs = view.sheet.write("target-comparisons", found.target_pairs)
    timed = is_timed(table)
    figure = targets_figure(found.steps_to_target, table, view.sheet.palette, timed)
    notes = [_target_notes(f"{found.target.value:.4g}, {found.target.words}", timed)]
    caption = _caption(found.target, table, len(found.steps_to_target))
    chart = targets_chart(found.steps_to_target, list(table["series"].astype(str)), view.sheet.palette)
    pictures = view.sheet.pictures(("targets", caption, figure), charts={"targets": chart})
    yield Block("targets", "Steps and time to target", readable_targets(table), notes, pictures)
    if len(found.target_levels) > 1:
        yield _levels_block(found)
    if len(pairs):
        yield _pairs_block(pairs)


def is_timed(table: pd.DataFrame) -> bool:
    """Return whether some series of `targets.time_to_target` has a time of steps × measured step time."""
    return bool(table["time_to_target_s"].notna().any())


def _caption(target: Target, table: pd.DataFrame, num_runs: int) -> str:
    resolution = table["resolution"].dropna()
    spacing = f" Resolution: evaluated every {resolution.median():,.0f} steps." if len(resolution) else ""
    faint = f" At most {MAX_FAINT_RUNS} runs of each are drawn." if num_runs > 2 * MAX_FAINT_RUNS else ""
    return (
        f"Steps and time until the validation loss is at most {target.value:.4g}. Dot: a run; open arrow: a run that did"
        f" not reach it within its budget; diamond and bar: geometric mean and 95% interval, if all runs reached it.{faint}{spacing}"
    )


def _levels_block(found: SectionAnalysis) -> Block:
    """Return the block of what each series needs to three targets."""
    table = found.steps_to_levels
    columns: dict[str, list[str]] = {"optimizer": list(dict.fromkeys(table["series"].astype(str)))}
    for level in found.target_levels:
        rows = table[table["target"] == level.value].set_index("series")
        columns[f"steps to {level.value:.4g}"] = [_reached(rows.loc[name]) for name in columns["optimizer"]]
    words = "; ".join(f"{level.value:.4g}, {level.words}" for level in found.target_levels)
    return Block(
        "target-levels",
        "Steps to looser and tighter targets",
        pd.DataFrame(columns),
        [f"Median over seeds, and how many runs reached it. Targets: {words}."],
    )


def _pairs_block(pairs: pd.DataFrame) -> Block:
    """Return the block that compares speeds pair by pair."""
    return Block(
        "target-comparisons",
        "Which differences in speed are significant?",
        readable_target_pairs(pairs),
        [
            "Steps at which the loss, interpolated between evaluations, is at the target, paired over seeds. A run that does not reach"
            " it needs more steps than it was given, so the ratio is then a bound. p-values and intervals are adjusted by Holm's"
            " method, separately for steps and time: an interval leaves out 1 just where the difference is significant."
        ],
        folded=f"{len(pairs)} comparisons",
    )


def _reached(row: pd.Series) -> str:
    steps = f"{row['steps_to_target']:,.0f}" if math.isfinite(row["steps_to_target"]) else "not reached"
    return f"{steps} ({int(row['num_reached'])} of {int(row['num_runs'])})"


def readable_target_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons by the target as people read them: one text a cell."""

    def ratios(prefix: str) -> list[str]:
        texts = []
        for ratio, low, high, bound in pairs[
            [f"{prefix}ratio", f"{prefix}adjusted_low", f"{prefix}adjusted_high", "bound"]
        ].to_numpy():
            interval = interval_text(low, high)
            texts.append(f"{bound} {ratio:.3g}{interval}".strip() if math.isfinite(ratio) else interval.strip() or "—")
        return texts

    columns: dict[str, Sequence[str]] = {
        "steps of": list(pairs["a"].astype(str)),
        "relative to": list(pairs["b"].astype(str)),
        "ratio": ratios(""),
        "pairs": list(pairs["num_pairs"].astype(str)),
        "wins": [f"{row.wins_a} to {row.wins_b}" for row in pairs.itertuples()],
        "neither reached it": list(pairs["num_both_censored"].astype(str)),
        "adjusted p": [p_text(value) for value in pairs["p_holm"]],
        "significant": ["yes" if apart else "no" for apart in pairs["significant"]],
    }
    if pairs["time_ratio"].notna().any():
        columns |= {
            "ratio of time": ratios("time_"),
            "adjusted p of time": [p_text(value) for value in pairs["time_p_holm"]],
            "time significant": ["yes" if apart else "no" for apart in pairs["time_significant"]],
        }
    return pd.DataFrame(columns)


def _target_notes(target: str, measured: bool) -> str:
    carried = (
        " Steps × step time: the step time was measured separately, paired and interleaved; geometric mean with a 95%"
        " interval that includes both uncertainties."
        if measured
        else ""
    )
    return (
        f"Until the validation loss is at most {target}; median over seeds, at the resolution of the evaluations; runs that"
        f" never reach it count as longer than all others.{carried} End to end: training time of these runs, one after the other,"
        " without contended ones; it is not ranked."
    )
