"""What to doubt of a leaderboard, and the next command to type, by rule."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
import yaml

from bench.analysis.leaderboard import Leaderboard
from bench.analysis.power import seeds_needed
from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import Section, is_same_for_every_seed
from bench.analysis.tuning import chosen_by
from bench.base.paths import CONF_DIR
from bench.base.text import duration
from bench.report.study.leaderboard import higher, listed_names

LEAST_RATIO = 1.02
"""Ratio of losses below which no more seeds are suggested: hardly anyone would choose by it."""


MOST_SEEDS = 200
"""Seeds above which they are not suggested."""


FEW_SEEDS = 5


class Suggestion(NamedTuple):
    """The next command, with why.

    Attributes:
        reason: A clause without a full stop.
        command: What is typed; empty where the command cannot be told from the tables.
        seconds: About how long it takes; NaN where that is unknown.
    """

    reason: str
    command: str
    seconds: float

    @property
    def about(self) -> str:
        """Its time in brackets, led by spaces; empty where it is unknown."""
        return f"  (about {duration(max(self.seconds, 1))})" if math.isfinite(self.seconds) else ""


def doubts(found: SectionAnalysis, board: Leaderboard) -> list[str]:
    """Return what limits the leaderboard, a sentence each: no tuning, few seeds, ends of ranges, unequal chances."""
    section, runs, said = found.section, found.section.runs, []
    if section.predicted or is_same_for_every_seed(runs):
        return []
    num_tried = board.rows["num_tried"]
    if not section.tuned and (runs["settings"] == "default").all():
        said.append("Untuned: every optimizer ran at its default settings, so this compares defaults.")
    elif not section.tuned:
        said.append(
            f"Settings were given by hand, {num_tried.min()} each, and the best was chosen by the runs that are compared."
            if num_tried.nunique() == 1 and num_tried.max() > 1
            else "Settings were given by hand, not tuned."
            if num_tried.max() == 1
            else f"Unequal chances: {', '.join(f'{name} {num}' for name, num in zip(board.rows['name'], num_tried, strict=True))} settings were tried."
        )  # fmt: skip
    else:
        said += _tuned_for(section)
    if section.tuned and num_tried.nunique() > 1:
        listed = ", ".join(f"{name} {num}" for name, num in zip(board.rows["name"], num_tried, strict=True))
        said.append(f"Unequal tuning, numbers of trials: {listed}.")
    edges = board.rows[board.rows["edge"] != ""]
    if len(edges):
        listed = listed_names([f"{row.optimizer} ({row.edge})" for row in edges.itertuples()])
        said.append(f"At the end of the range that was tried (‹ ›): {listed}; a better setting may lie outside.")
    num_seeds = runs.groupby("series")["seed"].nunique().max()
    if num_seeds < FEW_SEEDS and board.best is not None:
        said.append(f"{num_seeds} seed{'s show' if num_seeds > 1 else ' shows'} large differences only.")
    return said


SELECTED = {
    "final_val_loss": "final validation loss",
    "best_val_loss": "lowest validation loss",
    "val_error": "final validation error",
    "train_loss": "final training loss",
    "steps_to_target": "steps to a validation loss of {}",
    "time_to_target": "time to a validation loss of {}",
}
"""What trials are chosen by, in words."""


def _tuned_for(section: Section) -> list[str]:
    """Return what the settings were chosen by, and that anything else is not what they are best at."""
    select, target = chosen_by(section.runs)
    if select not in SELECTED:
        return []
    rest = "end at a lower loss" if target else "need fewer steps or less time"
    return [f"Settings were chosen by {SELECTED[select].format(target)}; others may {rest}."]


def next_command(found: SectionAnalysis, board: Leaderboard) -> Suggestion | None:
    """Return the most useful next command, or None where nothing is open.

    In this order: several seeds, where one was run; tuning, where an optimizer did not learn or diverged; a wider range,
    where a best setting lies at its end; tuning, where only defaults were run; more seeds, where that would show a
    difference that counts; step costs, where time is not ranked.
    """
    if (
        found.section.predicted
        or is_same_for_every_seed(found.section.runs)
        or board.best is None
        or len(board.rows) < 2
    ):
        return None
    return next(_suggestions(found, board), None)


def _suggestions(found: SectionAnalysis, board: Leaderboard) -> Iterator[Suggestion]:
    section, rows, runs = found.section, board.rows, found.section.runs
    common, names = _common(found, rows)
    optimizers = f"optimizer={','.join(names)}"
    one_run = float(runs["total_s"].astype(float).median()) if "total_s" in runs else math.nan
    sweep = yaml.safe_load((CONF_DIR / "sweep" / "tuned.yaml").read_text())
    tuning_s = one_run * len(rows) * (sweep["trials"] + 2 * sweep["seeds"])

    def suggest(reason: str, *words: str, seconds: float = math.nan) -> Suggestion:
        return Suggestion(
            reason, shlex.join(["python", "-m", "bench", *words, *common, "-m"]) if names else "", seconds
        )

    if runs.groupby("series")["seed"].nunique().max() < 2:
        rates = sorted({f"{rate:g}" for rate in runs["lr"].dropna()}, key=float)
        lr = [f"optimizer.lr={','.join(rates)}"] if rates and (runs["settings"] != "default").any() else []
        yield suggest(
            "One seed ranks nothing", optimizers, *lr, "seeds=5", seconds=5 * one_run * runs["cell_id"].nunique()
        )
    lost = board.badged("did not learn", "diverged")
    if len(lost) and not section.tuned:
        row = lost.iloc[0]
        what = "diverged" if row["badge"] == "diverged" else "did not learn"
        at = row["setting"] + (", its default" if row["settings"] == "default" and row["num_tried"] == 1 else "")
        yield suggest(f"{row['name']} {what} at {at}", "sweep=tuned", optimizers, seconds=tuning_s)
    edges = rows[rows["edge"] != ""]
    if len(edges):
        names_there = listed_names(list(edges["name"]))
        reason = f"The best setting of {names_there} lies at the end of the range"
        extend = ["sweep=tuned", "sweep.extend=true"] if section.tuned else ["sweep=tuned"]
        yield suggest(reason, *extend, optimizers, seconds=tuning_s)
    if not section.tuned and (runs["settings"] == "default").all():
        yield suggest("Only default settings were compared", "sweep=tuned", optimizers, seconds=tuning_s)
    more = _more_seeds(found, board)
    if more is not None and section.tuned:
        reason, num = more
        yield suggest(reason, "sweep=tuned", f"sweep.seeds={num}", optimizers, seconds=one_run * 2 * num * len(rows))
    elif more is not None:
        rates = sorted({f"{rate:g}" for rate in runs["lr"].dropna()}, key=float)
        given = [f"optimizer.lr={','.join(rates)}"] if (runs["settings"] != "default").any() and rates else []
        seconds = one_run * more[1] * runs["cell_id"].nunique()
        yield suggest(more[0], optimizers, *given, f"seeds={more[1]}", seconds=seconds)
    if board.baseline is not None and found.step_times is None and (rows["num_reached"] > 0).any() and names:
        study = str(runs["study"].iloc[0])
        kept = [word for word in common if word.split("=")[0].split(".")[0] in ("model", "data", "device")]
        words = ["python", "-m", "bench.step_cost", f"optimizers=[{','.join(names)}]", *kept, f"study={study}"]
        yield Suggestion("Time to the target is not ranked, because step times were not measured", shlex.join(words), math.nan)  # fmt: skip


def _more_seeds(found: SectionAnalysis, board: Leaderboard) -> tuple[str, int] | None:
    """Return for which tied optimizer the fewest seeds would show the difference seen, in words, and how many."""
    needed: list[tuple[int, str, float]] = []
    for _, row in board.badged("tied").iterrows():
        ratio = row["comparison"].ratio
        if math.isfinite(ratio) and row["log_sd"] > 0 and max(ratio, 1 / ratio) >= LEAST_RATIO:
            num = seeds_needed(float(row["log_sd"]), ratio, level=1 - 0.05 / max(1, len(found.pairs)))
            needed.append((num, str(row["name"]), ratio))
    needed = [each for each in needed if each[0] <= MOST_SEEDS]
    if not needed:
        return None
    num, name, ratio = min(needed)
    seen = higher(ratio) if ratio > 1 else f"{100 * (1 - ratio):.2g}% lower"
    return f"{name} ends {seen} on average; if that is the true difference, about {num} seeds would show it", num


def _common(found: SectionAnalysis, rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the words of the command that all runs share, and the optimizers as they are typed; nothing where unknown."""
    first = found.section.runs.drop_duplicates("series").set_index("series")
    names: list[str] = []
    words: list[str] = []
    for series in rows["series"]:
        command = first.loc[series].get("command")
        typed = shlex.split(command)[3:] if isinstance(command, str) and command.startswith("python -m bench ") else []
        chosen = [word.partition("=")[2] for word in typed if word.startswith("optimizer=")]
        if not chosen or chosen[0] != first.loc[series, "optimizer"]:
            return [], []  # a class of one's own, or a workload with settings of its own: what to type is not known
        names.append(chosen[0])
        other = (
            "seeds",
            "force",
            "optimizer",
            "+optimizer",
            "trial",
            "+trial",
            "study",
            "sweep",
            "launcher",
            "memory",
            "report",
        )
        words = [word for word in typed if word.partition("=")[0].partition(".")[0] not in other]
    return words, list(dict.fromkeys(names))
