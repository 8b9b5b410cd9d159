"""Judge claims again under choices that could as well have been made otherwise, from the same runs.

The target, the budget, and what learning rates are chosen by are conventions. A verdict that hangs on one of them is a
verdict on the convention too, so the report says how many of the variants come to the same answer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.claims.effects.evidence import STEPS_TO_TARGET, TRAIN_LOSS, TUNED_FOR, VAL_LOSS, Evidence
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import at_key, comparisons, verdicts
from bench.claims.ledger import Ledger

TARGET_FACTOR = 1.25
"""By which targets are loosened and tightened."""


Changed = tuple[Ledger, Evidence]


def with_targets(factor: float, ledger: Ledger, evidence: Evidence) -> Changed:
    """Return a ledger whose targets are so many times as high."""
    changed = {
        name: workload.model_copy(update={"target": workload.target and factor * workload.target})
        for name, workload in ledger.workloads.items()
    }
    return ledger._replace(workloads=changed), evidence


def with_half_the_budget(ledger: Ledger, evidence: Evidence) -> Changed:
    """Return the tables as they would be had every run ended after half its steps.

    Runs without an evaluation in the second quarter of their steps are left out.
    """
    runs, curves = halved(evidence.runs, evidence.curves)
    budget = curves["run_id"].map(runs.set_index("run_id")["num_steps_budget"].astype(float))
    late = (curves["split"] == "val") & (curves["metric"] == "loss") & (curves["step"] >= budget / 2)
    lost = runs.loc[runs["status"] != "ok", "run_id"]
    kept = evidence.claim_runs["run_id"].isin([*curves.loc[late, "run_id"], *lost])
    claim_runs = evidence.claim_runs[kept].reset_index(drop=True)
    return ledger, replace(evidence, runs=runs, curves=curves, claim_runs=claim_runs)


def chosen_by_val_loss(ledger: Ledger, evidence: Evidence) -> Changed:
    """Return the tables without the runs of tuned sides whose learning rate was chosen by what is judged."""
    return ledger, evidence.without([TUNED_FOR[select] for select in (STEPS_TO_TARGET, TRAIN_LOSS)])


class Variant(NamedTuple):
    """A choice that could have been made otherwise.

    Attributes:
        change: Returns ledger and tables under the other choice.
        touches: Tells which comparisons it may change, of what `comparisons` gave.
    """

    change: Callable[[Ledger, Evidence], Changed]
    touches: Callable[[pd.DataFrame], pd.Series]


def _of_speed(judged: pd.DataFrame) -> pd.Series:
    return judged["quantity"].isin([name for name, each in QUANTITIES.items() if each.select == STEPS_TO_TARGET])


def _of_training(judged: pd.DataFrame) -> pd.Series:
    return judged["quantity"].isin([name for name, each in QUANTITIES.items() if each.tuned])


def _chosen_by_what_is_judged(judged: pd.DataFrame) -> pd.Series:
    return judged["tuned_for"].notna() & (judged["tuned_for"] != VAL_LOSS)


VARIANTS: dict[str, Variant] = {
    "looser": Variant(functools.partial(with_targets, TARGET_FACTOR), _of_speed),
    "tighter": Variant(functools.partial(with_targets, 1 / TARGET_FACTOR), _of_speed),
    "half": Variant(with_half_the_budget, _of_training),
    "by loss": Variant(chosen_by_val_loss, _chosen_by_what_is_judged),
}
"""By the key of their words in the catalogue."""


def variants(ledger: Ledger, evidence: Evidence, judged: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Judge every claim under each variant that changes a number of it.

    Args:
        ledger: The claims.
        evidence: The tables.
        judged: What `comparisons` gave.
        facts: Side table `facts`.

    Returns:
        One row a claim, `at` and variant: verdict and holds as `verdicts` gives them, and same: whether holds is that of the
        claim. A variant is left out where it changes nothing, or where runs that it needs were not made.
    """
    found = verdicts(ledger, judged, facts)
    rows = [found.iloc[:0].assign(variant="", same=False)]
    for name, variant in VARIANTS.items():
        own = ledger._replace(
            claims={claim: ledger.claims[claim] for claim in judged.loc[variant.touches(judged), "claim"].unique()}
        )
        if not own.claims:
            continue
        changed = comparisons(*variant.change(own, evidence))
        both = found.merge(verdicts(own, changed, facts), on=["claim", "at"], suffixes=("_as_judged", ""))
        before = judged[judged["claim"].isin(own.claims)].reset_index(drop=True)
        differs = ~np.isclose(before["estimate"], changed["estimate"], rtol=1e-9, equal_nan=True)
        moved = changed.assign(at=at_key(changed))[differs]
        keys = pd.MultiIndex.from_frame(moved[["claim", "at"]].drop_duplicates())
        is_moved = pd.MultiIndex.from_frame(both[["claim", "at"]]).isin(keys)
        is_made = (both["num_not_run"] == both["num_not_run_as_judged"]) & both["holds"].notna()
        kept = both[is_moved & is_made]
        same = kept["holds"] == kept["holds_as_judged"]
        rows.append(kept[found.columns].assign(variant=name, same=same))
    return pd.concat(rows, ignore_index=True)


def halved(runs: pd.DataFrame, curves: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return runs and curves as they would be had every run had half its budget of steps.

    Args:
        runs: Table `runs`; `num_steps_budget` counts.
        curves: Table `curves`.

    Returns:
        Curves up to half the budget; runs with what these say of losses and accuracies. A run that was lost after
        that ended well. Metrics of the trained model are missing.
    """
    half = runs.set_index("run_id")["num_steps_budget"].astype(float) // 2
    kept = curves[curves["step"] <= curves["run_id"].map(half)].sort_values(["run_id", "step"], kind="stable")
    table = runs.set_index("run_id")
    lost_later = (table["status"] == "diverged") & (table["num_steps"].astype(float) > half)
    table["status"] = table["status"].mask(lost_later, "ok")
    if "reason" in table:
        table["reason"] = table["reason"].mask(lost_later)
    still_lost = table["status"] != "ok"
    table["num_steps_budget"] = half.astype("Int64")
    if "num_evaluations" in table:
        one_a_step = table["num_evaluations"] == table["num_steps"]
        table["num_evaluations"] = table["num_evaluations"].mask(one_a_step, table["num_steps_budget"])
    table["num_steps"] = table["num_steps"].where(
        table["num_steps"] <= table["num_steps_budget"], table["num_steps_budget"]
    )
    ends = {
        (split, metric): group.drop_duplicates("run_id", keep="last").set_index("run_id")
        for (split, metric), group in kept.groupby(["split", "metric"])
    }
    of = {"val": "final_val_loss", "train": "final_train_loss", "test": "final_test_loss"}
    for split, column in of.items():
        if (split, "loss") in ends and column in table:
            table[column] = ends[split, "loss"]["value"].reindex(table.index).mask(still_lost)
    losses = kept[(kept["split"] == "val") & (kept["metric"] == "loss") & np.isfinite(kept["value"].astype(float))]
    best = losses.loc[losses.groupby("run_id")["value"].idxmin()].set_index("run_id")
    table["best_val_loss"] = best["value"].reindex(table.index)
    for metric in ("loss", "accuracy"):
        column = f"test_{metric}_at_best_val"
        tests = kept[(kept["split"] == "test") & (kept["metric"] == metric)].set_index(["run_id", "step"])["value"]
        if column in table and len(tests):
            keys = pd.MultiIndex.from_arrays([best.index, best["step"]])
            table[column] = pd.Series(tests.reindex(keys).to_numpy(), best.index).reindex(table.index)
    if "moved_test_accuracy" in table:
        table["moved_test_accuracy"] = np.nan
    return table.reset_index(), kept
