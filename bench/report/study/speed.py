"""Blocks about steps and time to a target."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.analysis.section import SectionAnalysis
from bench.analysis.targets import Target
from bench.plots.comparisons import targets_figure
from bench.plots.style import MAX_FAINT_RUNS
from bench.report.document import Block, Sheet
from bench.report.study.tables import readable_targets


class Targets:
    """Steps and time to the target of one section."""

    def __init__(self, target: Target, found: SectionAnalysis, sheet: Sheet) -> None:
        self.target, self.measured = target, found.step_times is not None
        self.each = found.steps_to_target
        self.targets = sheet.write("targets", found.time_to_target)
        self.pairs = sheet.write("target-comparisons", found.target_pairs)

    @property
    def timed(self) -> bool:
        """Whether some series has a time of steps × measured step time."""
        return bool(self.targets["time_to_target_s"].notna().any())

    def block(self, sheet: Sheet) -> Block:
        """What steps and time each series needs."""
        resolution = self.targets["resolution"].dropna()
        spacing = f" Evaluated every {resolution.median():,.0f} steps: no finer than that." if len(resolution) else ""
        faint = f" At most {MAX_FAINT_RUNS} of each are drawn." if len(self.each) > 2 * MAX_FAINT_RUNS else ""
        caption = (
            f"Steps, and time, until the validation loss is at most {self.target.value:.4g}. A dot: a run; an open arrow: a run that"
            f" did not get there in the steps it had; diamond and bar: geometric mean and 95% interval where all got there.{faint}{spacing}"
        )
        figure = targets_figure(self.each, self.targets, sheet.palette, self.timed)
        return Block(
            "targets",
            "How fast does it get there?",
            readable_targets(self.targets),
            [_target_notes(f"{self.target.value:.4g}, {self.target.words}", self.timed)],
            sheet.pictures(("targets", caption, figure)),
        )

    def pairs_block(self) -> Block:
        """Which of those can be told apart."""
        readable = readable_target_pairs(self.pairs) if len(self.pairs) else None
        return Block(
            "target-comparisons",
            "Can the speeds be told apart?",
            readable,
            [
                "Steps to the target, paired over seeds. Where a run of a pair did not get there, the one that did wins, and an exact"
                " sign test over the pairs takes the place of the interval; the ratio is then a bound, or none. p adjusted by Holm's"
                " method, steps and time apart; intervals not."
            ]
            if readable is not None
            else (),
            folded=f"{len(self.pairs)} comparisons",
        )


def readable_target_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """`stats.target_pairs` as people read it: one text a cell."""

    def ratios(prefix: str) -> list[str]:
        texts = []
        for ratio, low, high, bound in pairs[
            [f"{prefix}ratio", f"{prefix}ratio_low", f"{prefix}ratio_high", "bound"]
        ].to_numpy():
            interval = f" [{low:.3g}, {high:.3g}]" if math.isfinite(low) else ""
            texts.append(f"{ratio:.3g}{interval}{' ' + bound if bound else ''}" if math.isfinite(ratio) else "—")
        return texts

    columns: dict[str, Sequence[str]] = {
        "steps of": list(pairs["a"].astype(str)),
        "to those of": list(pairs["b"].astype(str)),
        "ratio": ratios(""),
        "pairs": list(pairs["num_pairs"].astype(str)),
        "first won": [f"{row.wins_a} to {row.wins_b}" for row in pairs.itertuples()],
        "neither got there": list(pairs["num_both_censored"].astype(str)),
        "adjusted p": [f"{value:.2g}" for value in pairs["p_holm"]],
        "told apart": ["yes" if apart else "no" for apart in pairs["significant"]],
    }
    if pairs["time_ratio"].notna().any():
        columns |= {
            "ratio of time": ratios("time_"),
            "adjusted p of time": [f"{value:.2g}" for value in pairs["time_p_holm"]],
            "time told apart": ["yes" if apart else "no" for apart in pairs["time_significant"]],
        }
    return pd.DataFrame(columns)


def _target_notes(target: str, measured: bool) -> str:
    carried = (
        " Steps × step time: the step time was measured apart, paired and interleaved; geometric mean, the 95% interval"
        " carries both uncertainties."
        if measured
        else ""
    )
    return (
        f"Until the validation loss is at most {target}; median over seeds, to the spacing of evaluations; runs that never"
        f" get there count as longer than any.{carried} End to end: training time of these runs, one after the other,"
        " contended ones left out; it ranks nothing."
    )
