"""Blocks about steps and time to a target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.analysis.goals import Target
from bench.analysis.section import SectionAnalysis
from bench.plots.comparisons import targets_figure
from bench.plots.style import MAX_FAINT_RUNS
from bench.report.document import Block, Sheet
from bench.report.formatting import interval_text, p_text
from bench.report.study.tables import readable_targets


class Targets:
    """Steps and time to the target of one section."""

    def __init__(self, target: Target, found: SectionAnalysis, sheet: Sheet) -> None:
        self.target, self.measured, self._found = target, found.step_times is not None, found
        self.each = found.steps_to_target
        self.targets = sheet.write("targets", found.time_to_target)
        self.pairs = sheet.write("target-comparisons", found.target_pairs)

    @property
    def timed(self) -> bool:
        """Whether some series has a time of steps × measured step time."""
        return bool(self.targets["time_to_target_s"].notna().any())

    def block(self, sheet: Sheet) -> Block:
        """Return what steps and time each series needs."""
        resolution = self.targets["resolution"].dropna()
        spacing = f" Resolution: evaluated every {resolution.median():,.0f} steps." if len(resolution) else ""
        faint = f" At most {MAX_FAINT_RUNS} runs of each are drawn." if len(self.each) > 2 * MAX_FAINT_RUNS else ""
        caption = (
            f"Steps and time until the validation loss is at most {self.target.value:.4g}. Dot: a run; open arrow: a run that did"
            f" not reach it within its budget; diamond and bar: geometric mean and 95% interval, if all runs reached it.{faint}{spacing}"
        )
        figure = targets_figure(self.each, self.targets, sheet.palette, self.timed)
        return Block(
            "targets",
            "Steps and time to target",
            readable_targets(self.targets),
            [_target_notes(f"{self.target.value:.4g}, {self.target.words}", self.timed)],
            sheet.pictures(("targets", caption, figure)),
        )

    def levels_block(self) -> Block:
        """Return the block of what each series needs to three targets."""
        table = self._found.steps_to_levels
        columns: dict[str, list[str]] = (
            {"optimizer": list(dict.fromkeys(table["series"].astype(str)))} if len(table) else {}
        )
        for level in self._found.target_levels:
            rows = table[table["target"] == level.value].set_index("series")
            columns[f"steps to {level.value:.4g}"] = [_reached(rows.loc[name]) for name in columns["optimizer"]]
        words = "; ".join(f"{level.value:.4g}, {level.words}" for level in self._found.target_levels)
        return Block(
            "target-levels",
            "Steps to looser and tighter targets",
            pd.DataFrame(columns) if len(self._found.target_levels) > 1 else None,
            [f"Median over seeds, and how many runs reached it. Targets: {words}."],
        )

    def pairs_block(self) -> Block:
        """Return the block that compares speeds pair by pair."""
        readable = readable_target_pairs(self.pairs) if len(self.pairs) else None
        return Block(
            "target-comparisons",
            "Which differences in speed are significant?",
            readable,
            [
                "Steps at which the loss, interpolated between evaluations, is at the target, paired over seeds. A run that does not reach"
                " it needs more steps than it was given, so the ratio is then a bound. p-values and intervals are adjusted by Holm's"
                " method, separately for steps and time: an interval leaves out 1 just where the difference is significant."
            ]
            if readable is not None
            else (),
            folded=f"{len(self.pairs)} comparisons",
        )


def _reached(row: pd.Series) -> str:
    steps = f"{row['steps_to_target']:,.0f}" if math.isfinite(row["steps_to_target"]) else "not reached"
    return f"{steps} ({row['num_reached']} of {row['num_runs']})"


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
