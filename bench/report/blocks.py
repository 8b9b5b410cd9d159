"""Blocks: a table of the report, its figures and how to read them, under one heading."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from bench.report import plots, profiles, stats, tuning, words
from bench.report.sections import Section

MORE_METRICS = {
    "gap": "Mean loss over the training set less the lowest possible one",
    "grad_norm": "Norm of the gradients that the step used",
    "grad_norm_first": "Norm of the gradient of the first layer's weights that the step used",
    "grad_norm_last": "Norm of the gradient of the last layer's weights that the step used",
    "update_ratio": "Norm of what a step changed, over the norm of the weights before it,",
    "distance": "Distance of the weights from where they started",
}
"""Metrics of `curves` that only some runs have, each with what its figure shows."""

MAX_NARROW_INCHES = 9.0
"""Wider figures do not stand two in a row."""

STATUS_ORDER = ("ok", "diverged", "oom", "timeout", "failed", "interrupted", "skipped", "pruned")

MISSING = ("", "—", "contended", "not measured")
"""Texts of cells that hold no number: they sort last either way."""

NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")

PIXELS_PER_INCH = 96


@dataclass(frozen=True)
class Picture:
    """A figure of the report, its SVG as a data URI; a wide one takes the whole width of the page."""

    name: str
    alt: str
    caption: str
    uri: str
    width: int
    height: int
    wide: bool


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, the number it sorts by (None: by its text), and its class in the page."""

    text: str
    sort: str | None
    kind: str


@dataclass(frozen=True)
class Block:
    """A table, its figures and how to read them, under one heading.

    Attributes:
        key: What answers name it by.
        heading: In words.
        table: Texts, a row each; None where there are only figures.
        notes: How to read them, a paragraph each.
        pictures: Its figures.
        folded: What the closed table is called; empty: it stands open.
        anchor: Its place in the page.
    """

    key: str
    heading: str
    table: pd.DataFrame | None = None
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    folded: str = ""
    anchor: str = ""

    @property
    def rows(self) -> Iterator[list[Cell]]:
        """The cells of its table."""
        if self.table is None:
            return
        columns = []
        for name in self.table:
            texts = [str(value) for value in self.table[name]]
            sorts = sort_numbers(texts)
            kind = {"command": "code", "reason": "text"}.get(str(name), "")
            if not kind and sorts is not None and not any(re.search("[a-df-z]", text) for text in texts):
                kind = "number"
            columns.append([Cell(text, sorts[i] if sorts else None, kind) for i, text in enumerate(texts)])
        yield from (list(row) for row in zip(*columns, strict=True))


def sort_numbers(texts: Sequence[str]) -> list[str] | None:
    """The numbers that cells begin with, as JavaScript reads them, where every cell has one or is missing.

    What was not reached is longer than any number; a missing one is empty.
    """
    numbers = []
    for text in texts:
        if text in MISSING:
            numbers.append("")
        elif text.startswith("not reached"):
            numbers.append("Infinity")
        elif match := NUMBER.match(text):
            numbers.append(match.group().replace(",", ""))
        else:
            return None
    return numbers if any(numbers) else None


@dataclass(frozen=True)
class Sheet:
    """Where the figures and tables of one section go, and in which colours.

    Attributes:
        folder: Of the report, with figures/ and tables/.
        prefix: Of the names of files, "2-" for the second section.
        palette: A colour for each optimizer.
        setting: What stands beside every figure: default or tuned, trials, seeds.
    """

    folder: Path
    prefix: str
    palette: dict[str, plots.Color]
    setting: str = ""

    def pictures(self, *figures: tuple[str, str, Figure | None]) -> list[Picture]:
        """Save figures, each with its name and caption; leave out those that are None."""
        made = []
        for name, caption, figure in figures:
            if figure is None:
                continue
            path = self.folder / "figures" / f"{self.prefix}{name}"
            buffer = io.BytesIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None})
            figure.savefig(path.with_suffix(".png"), dpi=110)
            width, height = figure.get_size_inches()
            plt.close(figure)
            path.with_suffix(".svg").write_bytes(buffer.getvalue())
            made.append(
                Picture(
                    name=path.name,
                    alt=re.split(r"[.:](?:\s|$)", caption, maxsplit=1)[0],
                    caption=" ".join(text for text in (caption, self.setting) if text),
                    uri="data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode(),
                    width=round(PIXELS_PER_INCH * width),
                    height=round(PIXELS_PER_INCH * height),
                    wide=bool(width > MAX_NARROW_INCHES),
                )
            )
        return made

    def write(self, name: str, table: pd.DataFrame) -> pd.DataFrame:
        """Write a table as CSV; return it."""
        table.to_csv(self.folder / "tables" / f"{self.prefix}{name}.csv", index=False)
        return table

    def anchor(self, title: str) -> str:
        """A title as it may stand in a link."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.prefix}{title}".lower()).strip("-")

    def anchored(self, blocks: list[Block]) -> list[Block]:
        """The blocks that show anything, each with its place in the page."""
        return [replace(b, anchor=f"{self.prefix}table-{b.key}") for b in blocks if b.table is not None or b.pictures]


FINAL = ("final_val_loss", "final val loss", "Final validation loss")
BEST = ("best_val_loss", "best val loss", "Best validation loss")
"""A column of `runs`, its name on an axis and in a sentence."""

SUMMARY_NOTES = (
    "Mean ± half-width of its 95% interval (Student's t over seeds), runs that ended ok, after the last step. Times are"
    " end to end, not interleaved: they describe these runs and rank nothing.",
)


def summary_block(
    section: Section,
    table: pd.DataFrame,
    shown: list[str],
    curves: pd.DataFrame,
    times: pd.DataFrame | None,
    path: pd.DataFrame,
    grid: pd.DataFrame | None,
    sheet: Sheet,
) -> Block:
    """Metrics of the series shown, their curves and, over a plane, their paths."""
    if section.runs.empty:
        return Block("summary", "Where each ends")
    figures = [
        *_trajectory(section.runs, path, grid, sheet.palette),
        *_curves(section.runs, curves, shown, times, sheet.palette),
    ]
    readable = None if section.predicted else words.readable_summary(table[table["series"].isin(shown)])
    return Block(
        "summary", "Where each ends", readable, SUMMARY_NOTES if readable is not None else (), sheet.pictures(*figures)
    )


SMALL_DIFFERENCE = 1.05
"""Ratio of losses for which the number of seeds that would show it is given."""

MOST_SEEDS = 1_000


def readable_pairs(pairs: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """`stats.paired_ratios` as people read it, with the probability that one run ends lower: one text a cell."""
    ended = {
        name: group["final_val_loss"].where(group["status"] == "ok").astype(float).fillna(math.inf)
        for name, group in runs.groupby("series")
    }
    better = [stats.probability_better(ended[row.a], ended[row.b]) for row in pairs.itertuples()]
    return pd.DataFrame(
        {
            "final validation loss of": pairs["a"].astype(str),
            "to that of": pairs["b"].astype(str),
            "ratio": [f"{value:.3g}" for value in pairs["ratio"]],
            "95% interval": [f"{row.ratio_low:.3g} to {row.ratio_high:.3g}" for row in pairs.itertuples()],
            "pairs": pairs["num_pairs"].astype(str),
            "adjusted p": [f"{value:.2g}" for value in pairs["p_holm"]],
            "told apart": ["yes" if apart else "no" for apart in pairs["told_apart"]],
            "a run ends lower with probability": [f"{p:.2f} [{low:.2f}, {high:.2f}]" for p, low, high in better],
            f"seeds to see {100 * (SMALL_DIFFERENCE - 1):.0f} %": [_seeds_needed(value) for value in pairs["log_sd"]],
        }
    )


def _seeds_needed(log_sd: float) -> str:
    if not log_sd > 0:
        return "—"
    if stats.detectable_ratio(log_sd, MOST_SEEDS) > SMALL_DIFFERENCE:
        return f"{MOST_SEEDS:,} or more"
    return f"{stats.seeds_needed(log_sd, SMALL_DIFFERENCE):,}"


def pair_notes(pairs: pd.DataFrame, shown: list[str]) -> list[str]:
    """How to read the comparisons, and the groups within which nothing can be told apart."""
    interval = (
        "Student's t" if (pairs["method"] == "t").all() else "Student's t, from 20 pairs on a stratified bootstrap"
    )
    compared = [name for name in shown if name in {*pairs["a"], *pairs["b"]}]
    groups = stats.not_told_apart_groups(pairs, compared)
    alike = "; ".join(", ".join(group) for group in groups)
    return [
        f"Paired log-ratios over seeds, {interval}; p adjusted by Holm's method over this table, intervals not. The"
        " probability that a run of the first ends lower than one of the second counts runs that did not end ok as highest."
        f" The last column: paired seeds that show a true difference of {100 * (SMALL_DIFFERENCE - 1):.0f} % with 80 % power, one"
        " comparison taken alone.",
        f"Groups within which nothing can be told apart, lowest loss first: {alike}.",
    ]


class Targets:
    """Steps and time to the target of one section."""

    def __init__(
        self,
        runs: pd.DataFrame,
        curves: pd.DataFrame,
        shown: list[str],
        target: stats.Target,
        times: pd.DataFrame | None,
        sheet: Sheet,
    ) -> None:
        self.target, self.measured = target, times is not None
        self.each = stats.steps_to_target(runs[runs["series"].isin(shown)], curves, target.value)
        self.targets = sheet.write("targets", stats.time_to_target(runs, curves, shown, target.value, times))
        self.pairs = sheet.write("target-comparisons", stats.target_pairs(runs, curves, shown, target.value, times))

    @property
    def timed(self) -> bool:
        """Whether some series has a time of steps × measured step time."""
        return bool(self.targets["time_to_target_s"].notna().any())

    def block(self, sheet: Sheet) -> Block:
        """What steps and time each series needs."""
        resolution = self.targets["resolution"].dropna()
        spacing = f" Evaluated every {resolution.median():,.0f} steps: no finer than that." if len(resolution) else ""
        faint = (
            f" At most {plots.MAX_FAINT_RUNS} of each are drawn." if len(self.each) > 2 * plots.MAX_FAINT_RUNS else ""
        )
        caption = (
            f"Steps, and time, until the validation loss is at most {self.target.value:.4g}. A dot: a run; an open arrow: a run that"
            f" did not get there in the steps it had; diamond and bar: geometric mean and 95% interval where all got there.{faint}{spacing}"
        )
        figure = plots.targets_figure(self.each, self.targets, sheet.palette, self.timed)
        return Block(
            "targets",
            "How fast does it get there?",
            words.readable_targets(self.targets),
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
        "told apart": ["yes" if apart else "no" for apart in pairs["told_apart"]],
    }
    if pairs["time_ratio"].notna().any():
        columns |= {
            "ratio of time": ratios("time_"),
            "adjusted p of time": [f"{value:.2g}" for value in pairs["time_p_holm"]],
            "time told apart": ["yes" if apart else "no" for apart in pairs["time_told_apart"]],
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


def _curves(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    shown: list[str],
    times: pd.DataFrame | None,
    palette: dict[str, plots.Color],
) -> Iterator[tuple[str, str, Figure | None]]:
    clock = (
        "training time, end to end, evaluation excluded; step times measured apart are missing (python -m bench.step_cost)"
        if times is None
        else f"time: steps x separately measured, interleaved step time ({_times(times)})"
    )
    many = runs.groupby("series")["run_id"].size().max() > plots.MAX_FAINT_RUNS
    seeds = (
        f"Thin lines: {f'{plots.MAX_FAINT_RUNS} seeds of each' if many else 'single seeds'}. Thick line and band: median and"
        f" range over {'all ' if many else ''}seeds."
    )
    for x, axis in (("step", "step"), ("epoch", "epoch"), ("train_time_s", clock)):
        name = {"train_time_s": "time"}.get(x, x)
        figure = plots.curves_figure(runs, curves, shown, "loss", x, palette, times)
        yield f"loss-{name}", f"Loss against {axis}. {seeds}", figure
    figure = plots.curves_figure(runs, curves, shown, "accuracy", "epoch", palette)
    yield "accuracy", f"Accuracy against epoch. {seeds}", figure
    for metric, meaning in MORE_METRICS.items():
        figure = plots.curves_figure(runs, curves, shown, metric, "step", palette)
        yield metric.replace("_", "-"), f"{meaning} against step. {seeds}", figure


def peaks_of(runs: pd.DataFrame, by_part: pd.DataFrame, predicted: bool) -> tuple[pd.DataFrame, str]:
    """Peak memory of each series, series and peak_mib, and what it is of: that of tensors, else of the GPU."""
    if len(by_part):
        return by_part[["series", "peak_mib"]], "Peak memory in tensors" + (", predicted" if predicted else "")
    medians = runs.astype({"peak_allocated_mib": float}).groupby("series")["peak_allocated_mib"].median()
    return medians.rename("peak_mib").reset_index(), "Peak memory allocated on the GPU"


def memory_block(
    section: Section,
    shown: list[str],
    by_part: pd.DataFrame,
    to_target: Targets | None,
    peaks: pd.DataFrame,
    kind: str,
    sheet: Sheet,
) -> Block:
    """What a run costs: peak memory by what it holds, times, and memory against the cost to the target."""
    runs = section.runs
    times = [("step_ms", "time per step (ms)"), ("train_s", "training time (s)")]
    dots = (
        "a dot a run" if len(runs) <= plots.MAX_FAINT_RUNS else f"a dot a run, at most {plots.MAX_FAINT_RUNS} of each"
    )
    figures: list[tuple[str, str, Figure | None]] = [
        (
            "time",
            f"Time per step and in total, {dots}, bar: median. End to end, one run after the other: it describes these"
            " runs and ranks nothing.",
            plots.bars_figure(runs, shown, times, sheet.palette),
        )
    ]
    table, table_notes = None, []
    if by_part.empty:
        wanted = [("peak_rss_mib", "peak memory of the process (MiB)"), ("peak_allocated_mib", "peak GPU memory (MiB)")]
        caption = f"Peak memory during training, {dots}, bar: median. The process includes Python and torch."
        figures.append(("memory", caption, plots.bars_figure(runs, shown, wanted, sheet.palette)))
    else:
        caption = (
            "Peak memory in tensors, by what it holds at that moment. Measured in a pass of its own, or predicted on"
            " device=fake."
        )
        figures.append(("memory", caption, plots.memory_figure(by_part)))
        table = words.readable_memory(by_part)
        source = "predicted from shapes, not measured" if section.predicted else "measured in a pass of its own"
        process = (
            " Process: how far its resident memory rose, libraries' workspaces and heap included."
            if "process" in table
            else ""
        )
        table_notes = [
            f"All tensors at the highest moment of a step, by what they hold, {source}. Extra in step: temporaries while the"
            f" optimizer steps.{process}"
        ]
    if to_target is not None:
        figures.append(_pareto(runs, to_target, peaks, kind, sheet.palette))
    return Block("memory", "Memory and time", table, table_notes, sheet.pictures(*figures))


def _pareto(
    runs: pd.DataFrame, to_target: Targets, peaks: pd.DataFrame, kind: str, palette: dict[str, plots.Color]
) -> tuple[str, str, Figure | None]:
    """Time to target, or steps where no step times were measured, against peak memory."""
    column, label = (
        ("time_to_target_s", "steps × measured step time to the target (s)")
        if to_target.timed
        else ("steps_to_target", "steps to the target")
    )
    optimizers = runs.drop_duplicates("series")[["series", "optimizer"]]
    points = to_target.targets[["series", column]].merge(peaks, on="series").merge(optimizers, on="series")
    points = points.rename(columns={column: "x", "peak_mib": "y"})
    points["front"] = profiles.pareto_front(points, "x", "y")
    missing = sorted(set(to_target.targets["series"]) - set(points.dropna(subset=["x", "y"])["series"]))
    left_out = f" Not shown, as one of the two is missing: {', '.join(missing)}." if missing else ""
    caption = (
        f"{label[0].upper()}{label[1:]} against memory. Filled: on the Pareto front, no other is lower in both; intervals stand in"
        f" the table of targets.{left_out}"
    )
    return "pareto", caption, plots.pareto_figure(points, label, f"{kind[0].lower()}{kind[1:]} (MiB)", palette)


def sensitivity_block(runs: pd.DataFrame, metric: tuple[str, str, str], sheet: Sheet) -> Block:
    """Loss against learning rate; how much a rate off the best costs, and how wide the basin is."""
    column, label, name = metric
    heading = "How sensitive is it to the learning rate?"
    table = tuning.sensitivity(runs, column)
    if table.empty:
        return Block("sensitivity", heading)
    # what is lost counts as no better than the start, which only newer runs know
    rates = tuning.learning_rate_sensitivity(runs if runs["first_train_loss"].notna().any() else runs.iloc[:0], column)
    score, basin = tuning.sensitivity_score(rates), tuning.basin_width(rates)
    if len(score):
        sheet.write("sensitivity", score)
    caption = (
        f"{name} against learning rate: median and range over seeds. A cross: a run did not end ok. Bars under the curve: rates"
        " within which the loss is at most 1.1 times the lowest; an arrow: nothing beyond was tried."
    )
    keys = ["optimizer", "setting"]
    both = basin.merge(score[[*keys, "score", "decades"]], on=keys, suffixes=("", "_covered"), how="left")
    readable = pd.DataFrame(
        {
            "optimizer": both["setting"].astype(str),
            "best rate tried": [f"{value:.3g}" for value in both["best_lr"]],
            f"{label} there": [f"{value:.4g}" for value in both["best"]],
            "basin, decades": [f"{row.decades:.2f}{' or more' if row.open else ''}" for row in both.itertuples()],
            "basin": [f"{row.low_lr:.2g} to {row.high_lr:.2g}" for row in both.itertuples()],
            "sensitivity": ["—" if pd.isna(value) else f"{value:.3g}" for value in both["score"]],
            "over decades": ["—" if pd.isna(value) else f"{value:.2g}" for value in both["decades_covered"]],
        }
    )
    note = (
        "Basin: learning rates around the best within which the loss is at most 1.1 times the lowest. Sensitivity: mean excess"
        " over the lowest loss within 1.5 decades on either side of the best rate, as far as that was tried (Wortsman et al. 2023);"
        " it compares only over the same decades."
    )
    return Block(
        "sensitivity",
        heading,
        readable if len(readable) else None,
        [note] if len(readable) else (),
        sheet.pictures(("sensitivity", caption, plots.sensitivity_figure(table, basin, label, sheet.palette))),
    )


def tuning_blocks(section: Section, against: pd.DataFrame, sheet: Sheet) -> list[Block]:
    """What tuning buys, how it was done, and what the trials say."""
    trials = section.trials
    metric = _chosen_by(trials)
    curves = sheet.write("best-of-k", tuning.budget_curves(trials, metric[0])) if len(trials) else pd.DataFrame()
    sheet.write("tuning", tuning.tuning_budget(section))
    sheet.write("defaults", against)
    if len(curves):
        budget_figure = plots.budget_figure(curves, f"{metric[1]}, lowest of k trials", sheet.palette)
        caption = (
            f"{metric[2]}, the lowest that k of the trials come to: expected, and the middle 95 %, over all choices of k of them"
            " (Dodge et al. 2019, without replacement). A cross: all k can be trials that did not end ok."
        )
        pictures = sheet.pictures(("best-of-k", caption, budget_figure))
    else:
        pictures = []
    dumbbell = (
        "What tuning buys. Left: mean final validation loss at default settings (open) and tuned (filled). Right: their ratio, paired"
        " over the same seeds, with its 95% interval."
    )
    return [
        Block(
            "defaults",
            "What does tuning buy?",
            words.readable_tuned(section) if len(section.runs) else None,
            ["Tuned / default: paired over the same fresh seeds; told apart by Holm's method over the optimizers."]
            if len(against)
            else (),
            sheet.pictures(("defaults", dumbbell, plots.defaults_figure(against, sheet.palette))),
        ),
        Block("tuning", "How were they tuned?", readable_budget(section), words.budget_words(section), pictures),
        sensitivity_block(trials, metric, sheet) if len(trials) else Block("sensitivity", ""),
    ]


def _chosen_by(trials: pd.DataFrame) -> tuple[str, str, str]:
    """What the best trial was chosen by: BEST, or FINAL where the sweep's words say so."""
    said = trials["tuning"].dropna() if len(trials) else pd.Series(dtype=str)
    return FINAL if len(said) and said.str.contains(f"chosen by {FINAL[0]}").all() else BEST


def readable_budget(section: Section) -> pd.DataFrame:
    """`tuning.tuning_budget` as people read it: one text a cell."""
    budget = tuning.tuning_budget(section)
    return pd.DataFrame(
        {
            "optimizer": budget["optimizer"].astype(str),
            "trials": budget["num_trials"].astype(str),
            "ended ok": budget["num_ok"].astype(str),
            "given up early": budget["num_pruned"].astype(str),
            "did not end ok": budget["num_lost"].astype(str),
            "steps": [f"{value:,}" for value in budget["steps"]],
            "fresh seeds": budget["num_seeds"].astype(str),
        }
    )


def status_block(section: Section, sheet: Sheet) -> Block:
    """A grid of how runs ended: trials of a tuned section, learning rates of others."""
    if section.predicted:
        return Block("status", "")
    runs, column, name = (
        (section.trials, "trial", "trial") if len(section.trials) else (section.runs, "lr", "learning rate")
    )
    caption = (
        f"How runs ended, a cell a {name}: a tick where all ended ok, a letter for each other end, with the number of runs where"
        " there are several."
    )
    pictures = sheet.pictures(("status", caption, plots.status_figure(runs, column, name)))
    return Block("status", "How did runs end?", pictures=pictures)


def lists(section: Section, table: pd.DataFrame, shown: list[str]) -> list[Block]:
    """Every setting, every run."""
    blocks = []
    if len(table) > len(shown):
        settings = words.readable_summary(table)
        blocks.append(Block("settings", "Every setting", settings, folded=f"{len(settings)} settings"))
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
            "command": runs["command"].fillna("").astype(str),
        }
    )
    blocks.append(Block("runs", "Every run", listed, folded=f"{len(listed)} runs, with the command that repeats each"))
    return blocks


def _trajectory(
    runs: pd.DataFrame, paths: pd.DataFrame, grid: pd.DataFrame | None, palette: dict[str, plots.Color]
) -> Iterator[tuple[str, str, Figure | None]]:
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
        f"The path of each optimizer from its start: {words.path_words(paths)}.{below}{several}",
        plots.trajectory_figure(runs, paths, grid, palette),
    )


def _times(times: pd.DataFrame) -> str:
    """Step times with their uncertainty, in words."""
    return ", ".join(
        f"{row.series} {1e3 * row.step_s:.3g} ms \u00b1 {100 * stats.half_width(row.df) * row.log_se:.1f} %"
        for row in times.itertuples()
    )
