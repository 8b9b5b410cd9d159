"""Blocks about what came out: final results, comparisons, curves, statuses."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from bench.analysis.comparisons import lowest_point
from bench.analysis.inference import half_width, probability_better
from bench.analysis.power import detectable_ratio, seeds_needed
from bench.analysis.section import SectionAnalysis
from bench.base.metrics import CURVES
from bench.plots.comparisons import status_figure
from bench.plots.curves import curves_figure
from bench.plots.palette import Color
from bench.plots.style import MAX_FAINT_RUNS
from bench.plots.trajectories import trajectory_figure
from bench.report.document import Block
from bench.report.formatting import interval_text, p_text
from bench.report.study.sentences import path_words
from bench.report.study.tables import readable_summary
from bench.report.study.view import SectionView

MORE_METRICS = {
    "gap": "Mean loss over the training set minus the lowest possible loss",
    **{curve.name: curve.caption for curve in CURVES},
}
"""Metrics of `curves` that only some runs have, each with what its figure shows."""


PLAIN_METRICS = ("loss", "accuracy", "gradients")
"""Metrics of `curves` that have figures of their own, or none."""


STATUS_ORDER = ("ok", "diverged", "oom", "timeout", "failed", "interrupted", "skipped", "pruned")


FINAL = ("final_val_loss", "final val loss", "Final validation loss")


BEST = ("best_val_loss", "best val loss", "Best validation loss")
"""A column of `runs`, its name on an axis and in a sentence."""


SUMMARY_NOTES = (
    "Mean ± half the width of its 95% interval (Student's t over seeds) after the last step, over runs that ended ok. Times are"
    " end to end and not interleaved: they describe these runs and do not rank optimizers.",
)


def summary_block(view: SectionView) -> Iterator[Block]:
    """Yield metrics of the series shown, their curves and, over a plane, their paths."""
    found, section, sheet = view.found, view.section, view.sheet
    if section.runs.empty:
        return
    table = sheet.write("summary", found.summary)
    figures = [
        *_trajectory(section.runs, view.path, view.grid, sheet.palette),
        *_curves(section.runs, view.curves, found.leaders, found.step_times, sheet.palette),
    ]
    readable = None if section.predicted else readable_summary(table[table["series"].isin(found.leaders)])
    notes = SUMMARY_NOTES if readable is not None else ()
    yield Block("summary", "Final results", readable, notes, sheet.pictures(*figures))


SMALL_DIFFERENCE = 1.05
"""Ratio of losses for which the number of seeds that would show it is given."""


MOST_SEEDS = 1_000


def comparisons_block(view: SectionView) -> Iterator[Block]:
    """Yield the comparisons of final losses, pair by pair."""
    pairs = view.sheet.write("comparisons", view.found.pairs)
    if len(pairs):
        table = readable_pairs(pairs, view.section.runs)
        yield Block("comparisons", "Which differences are significant?", table, pair_notes(view.found))


def readable_pairs(pairs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons of final losses as people read them, with the probability that one run ends lower."""
    ended = {
        name: group["final_val_loss"].where(group["status"] == "ok").astype(float).fillna(math.inf)
        for name, group in runs.groupby("series")
    }
    better = [probability_better(ended[row.a], ended[row.b]) for row in pairs.itertuples()]
    return pd.DataFrame(
        {
            "final validation loss of": pairs["a"].astype(str),
            "relative to": pairs["b"].astype(str),
            "ratio": [
                f"{row.bound} {row.ratio:.3g}".strip() if math.isfinite(row.ratio) else "—"
                for row in pairs.itertuples()
            ],
            "adjusted 95% interval": [
                interval_text(row.adjusted_low, row.adjusted_high).strip() or "—" for row in pairs.itertuples()
            ],
            "pairs": pairs["num_pairs"].astype(str),
            "adjusted p": [p_text(value) for value in pairs["p_holm"]],
            "significant": ["yes" if apart else "no" for apart in pairs["significant"]],
            "probability that a run ends lower": [f"{p:.2f} [{low:.2f}, {high:.2f}]" for p, low, high in better],
            f"seeds to detect {100 * (SMALL_DIFFERENCE - 1):.0f} %": [
                _seeds_needed(value) for value in pairs["log_sd"]
            ],
        }
    )


def _seeds_needed(log_sd: float) -> str:
    if not log_sd > 0:
        return "—"
    if detectable_ratio(log_sd, MOST_SEEDS) > SMALL_DIFFERENCE:
        return f"{MOST_SEEDS:,} or more"
    return f"{seeds_needed(log_sd, SMALL_DIFFERENCE):,}"


def pair_notes(found: SectionAnalysis) -> list[str]:
    """Return how to read the comparisons, and the groups within which no difference is significant."""
    alike = "; ".join(", ".join(group) for group in found.groups)
    return [
        f"Paired log-ratios over seeds, Student's t; p-values and intervals are adjusted by Holm's method over this table, so that"
        f" an interval leaves out 1 just where the difference is significant.{_choice_words(found)}{_look_words(found)}{_skew_words(found)} For the probability that a run of the first ends lower than one of the second, runs that did not end ok count as"
        f" highest. The last column is the number of paired seeds that detect a true difference of {100 * (SMALL_DIFFERENCE - 1):.0f} % with"
        " 80 % power in a single comparison.",
        f"Groups within which no difference is significant, lowest loss first: {alike}.",
    ]


MUCH_SKEW = 1.0
"""Sample skewness of paired differences from which Student's t is warned of; see benchmarks/skewed_seeds.py."""


def _choice_words(found: SectionAnalysis) -> str:
    """Return how settings that were chosen by these very runs are corrected for; empty where none was."""
    counts = {name: count for name, count in found.num_settings.items() if count > 1}
    if not counts:
        return ""
    listed = ", ".join(f"{name} is the best of {count}" for name, count in counts.items())
    return (
        f" Settings were chosen by the runs that are compared ({listed}): p counts every pair of settings that could have been"
        " chosen (Bonferroni)."
    )


def _look_words(found: SectionAnalysis) -> str:
    """Return how it is corrected for that seeds were added until comparisons were decided; empty where they were not."""
    num = max(found.num_looks.values(), default=1)
    if num == 1:
        return ""
    return (
        f" Seeds were added until comparisons were decided (seeds=auto), with at most {num} looks, set beforehand: p counts them"
        f" all (union bound), and each look's interval is at the level 1 - 0.05/{num}."
    )


def _skew_words(found: SectionAnalysis) -> str:
    """Return a warning where the differences of a comparison are skewed; empty where none are."""
    skewed = found.pairs[found.pairs["skew"].abs() > MUCH_SKEW]
    if skewed.empty:
        return ""
    listed = ", ".join(f"{row.a} and {row.b}" for row in skewed.itertuples())
    return (
        f" The differences of {listed} are skewed over seeds, one or a few seeds weigh much: Student's t then errs in up to one"
        " case in four instead of one in twenty; more seeds help."
    )


def _curves(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    shown: list[str],
    times: pd.DataFrame | None,
    palette: dict[str, Color],
) -> Iterator[tuple[str, str, Figure | None]]:
    clock = (
        "training time, end to end, evaluation excluded; step times were not measured separately (python -m bench.step_cost)"
        if times is None
        else f"time: steps × separately measured, interleaved step time ({_times(times)})"
    )
    many = runs.groupby("series")["run_id"].size().max() > MAX_FAINT_RUNS
    seeds = (
        f"Thin lines: {f'{MAX_FAINT_RUNS} seeds of each' if many else 'single seeds'}. Thick line and band: median and"
        f" range over {'all ' if many else ''}seeds."
    )
    for x, axis in (("step", "step"), ("train_time_s", clock)):
        name = {"train_time_s": "time"}.get(x, x)
        figure = curves_figure(runs, curves, shown, "loss", x, palette, times)
        yield f"loss-{name}", f"Loss against {axis}. {seeds}", figure
    figure = curves_figure(runs, curves, shown, "accuracy", "step", palette)
    yield "accuracy", f"Accuracy against step. {seeds}", figure
    own = {str(name): f"Metric {name}" for name in curves["metric"].unique() if name not in PLAIN_METRICS}
    for metric, meaning in {**own, **MORE_METRICS}.items():
        figure = curves_figure(runs, curves, shown, metric, "step", palette)
        yield metric.replace("_", "-"), f"{meaning} against step. {seeds}", figure


def status_block(view: SectionView) -> Iterator[Block]:
    """Yield a grid of how runs ended: trials of a tuned section, learning rates of others."""
    section = view.section
    if section.predicted:
        return
    runs, column, name = (
        (section.trials, "trial", "trial") if len(section.trials) else (section.runs, "lr", "learning rate")
    )
    caption = (
        f"How runs ended, one cell for each {name}: a tick if all ended ok, otherwise a letter for each status, with the number of"
        " runs if there are several."
    )
    pictures = view.sheet.pictures(("status", caption, status_figure(runs, column, name)))
    yield Block("status", "How the runs ended", pictures=pictures)


def list_blocks(view: SectionView) -> Iterator[Block]:
    """Yield every setting, every run."""
    section = view.section
    if len(section.runs) and len(view.found.summary) > len(view.found.leaders):
        settings = readable_summary(view.found.summary)
        yield Block("settings", "All settings", settings, folded=f"{len(settings)} settings")
    runs = pd.concat([part for part in (section.runs, section.trials) if len(part)])
    order = runs["status"].map({status: i for i, status in enumerate(STATUS_ORDER)})
    runs = runs.assign(_order=order).sort_values(["_order", "series", "seed"], ascending=[False, True, True])
    listed = pd.DataFrame(
        {
            "optimizer": runs["series"].astype(str),
            **({"stage": runs["stage"].astype(str)} if section.tuned else {}),
            "seed": runs["seed"].astype(str),
            "status": runs["status"].astype(str),
            "steps": ["—" if pd.isna(n) else f"{n:,}" for n in runs["num_steps"]],
            "reason": runs["reason"].fillna("").astype(str),
            "run": runs["run_id"].astype(str),
            "command": runs["command"].fillna("").astype(str),
        }
    )
    note = "A page of one run, or of two side by side: python -m bench.diagnose STUDY --run RUN --page."
    yield Block("runs", "All runs", listed, [note], folded=f"{len(listed)} runs, with the command that repeats each")


def _trajectory(
    runs: pd.DataFrame, paths: pd.DataFrame, grid: pd.DataFrame | None, palette: dict[str, Color]
) -> Iterator[tuple[str, str, Figure | None]]:
    if paths.empty:
        return
    below = ""
    if grid is not None:
        x, y, value = lowest_point(grid)
        below = (
            f" Contours: the function, logarithmic above its lowest value on the grid, {value:.3g} at ({x:.3g}, {y:.3g});"
            " a path may leave the area shown."
        )
    several = " First seed of each optimizer." if runs["seed"].nunique() > 1 else ""
    yield (
        "trajectory",
        f"The path of each optimizer from its start: {path_words(paths)}.{below}{several}",
        trajectory_figure(runs, paths, grid, palette),
    )


def _times(times: pd.DataFrame) -> str:
    """Step times with their uncertainty, in words."""
    return ", ".join(
        f"{row.series} {1e3 * row.step_s:.3g} ms \u00b1 {100 * half_width(row.df) * row.log_se:.1f} %"
        for row in times.itertuples()
    )
