"""Blocks about learning rates and tuning."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bench.analysis.section import SectionAnalysis
from bench.analysis.tuning import (
    basin_width,
    budget_curves,
    chosen_by,
    learning_rate_sensitivity,
    sensitivity,
    sensitivity_score,
)
from bench.plots import tuning as plots_tuning
from bench.report import charts
from bench.report.document import Block
from bench.report.sheet import Sheet
from bench.report.study.outcome import BEST, FINAL
from bench.report.study.sentences import budget_words
from bench.report.study.tables import readable_tuned
from bench.report.study.view import SectionView


def tuning_blocks(view: SectionView) -> Iterator[Block]:
    """Yield what tuning buys and how it was done, where something was tuned, and what the learning rate matters."""
    if not view.section.tuned:
        yield from _sensitivity_block(view.section.runs, FINAL, view.sheet)
        return
    yield from _tuned_blocks(view.found, view.sheet)
    trials = view.section.trials
    if len(trials):
        yield from _sensitivity_block(trials, _chosen_by(trials), view.sheet)


def _sensitivity_block(runs: pd.DataFrame, metric: tuple[str, str, str], sheet: Sheet) -> Iterator[Block]:
    """Yield loss against learning rate; how much a rate off the best costs, and how wide the basin is."""
    column, label, name = metric
    table = sensitivity(runs, column)
    if table.empty:
        return
    # what is lost counts as no better than the start, which only newer runs know
    rates = learning_rate_sensitivity(runs if runs["first_train_loss"].notna().any() else runs.iloc[:0], column)
    score, basin = sensitivity_score(rates), basin_width(rates)
    if len(score):
        sheet.write("sensitivity", score)
    caption = (
        f"{name} against learning rate: median and range over seeds. Cross: a run did not end ok. Bars below the curve:"
        " rates at which the loss is at most 1.1 times the lowest; an arrow means that nothing beyond was tried."
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
        " values are comparable only over the same decades."
    )
    yield Block(
        "sensitivity",
        "Sensitivity to the learning rate",
        readable if len(readable) else None,
        [note] if len(readable) else (),
        sheet.pictures(
            ("sensitivity", caption, plots_tuning.sensitivity_figure(table, basin, label, sheet.palette)),
            charts={"sensitivity": charts.sensitivity_chart(table, basin, label, sheet.palette)},
        ),
    )


def _tuned_blocks(found: SectionAnalysis, sheet: Sheet) -> list[Block]:
    """Return what tuning buys, and how it was done."""
    section, against = found.section, found.against_defaults
    trials = section.trials
    metric = _chosen_by(trials)
    curves = sheet.write("best-of-k", budget_curves(trials, metric[0])) if len(trials) else pd.DataFrame()
    sheet.write("tuning", found.budget)
    sheet.write("defaults", against)
    if len(curves):
        label = f"{metric[1]}, lowest of k trials"
        budget_figure = plots_tuning.budget_figure(curves, label, sheet.palette)
        caption = (
            f"{metric[2]}, lowest of k trials: expected value and middle 95 % over all choices of k trials"
            " (Dodge et al. 2019, without replacement). Cross: all k may be trials that did not end ok."
        )
        chart = charts.curves_chart(curves, label, sheet.palette)
        pictures = sheet.pictures(("best-of-k", caption, budget_figure), charts={"best-of-k": chart})
    else:
        pictures = []
    dumbbell = (
        "Effect of tuning. Left: mean final validation loss at default settings (open) and tuned (filled). Right: their ratio, paired"
        " over the same seeds, with its 95% interval."
    )
    return [
        Block(
            "defaults",
            "Effect of tuning",
            readable_tuned(found) if len(section.runs) else None,
            [
                "Tuned / default: paired over the same fresh seeds; significance is after Holm's correction over the optimizers."
            ]
            if len(against)
            else (),
            sheet.pictures(
                ("defaults", dumbbell, plots_tuning.defaults_figure(against, sheet.palette)),
                charts={"defaults": charts.defaults_chart(against, sheet.palette)},
            ),
        ),
        Block("tuning", "Tuning", readable_budget(found.budget), budget_words(found), pictures),
    ]


TRAIN = ("final_train_loss", "final train loss", "Final training loss")


def _chosen_by(trials: pd.DataFrame) -> tuple[str, str, str]:
    """Return the loss that figures of trials show: the one they were chosen by, the lowest validation loss where by none."""
    return {"final_val_loss": FINAL, "train_loss": TRAIN}.get(chosen_by(trials)[0], BEST)


def readable_budget(budget: pd.DataFrame) -> pd.DataFrame:
    """Return `tuning.tuning_budget` as people read it: one text a cell."""
    return pd.DataFrame(
        {
            "optimizer": budget["optimizer"].astype(str),
            "trials": budget["num_trials"].astype(str),
            "ended ok": budget["num_ok"].astype(str),
            "pruned": budget["num_pruned"].astype(str),
            "did not end ok": budget["num_lost"].astype(str),
            "steps": [f"{value:,}" for value in budget["steps"]],
            "fresh seeds": budget["num_seeds"].astype(str),
        }
    )
