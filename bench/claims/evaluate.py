"""Judge every comparison of every claim of a ledger, then each claim as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.analysis.bounds import Sample
from bench.claims.effects.evidence import (
    DEFAULT,
    MIXED,
    RATES,
    STEPS_TO_TARGET,
    TUNED,
    TUNED_FOR,
    VAL_LOSS,
    Evidence,
    NotMeasured,
    Pair,
)
from bench.claims.effects.registry import QUANTITIES, Quantity
from bench.claims.ledger import Claim, Ledger, Measure, Workload
from bench.claims.outlook import pairs_to_decide
from bench.claims.verdict import DECIDED, judge, whole, whole_holds

FACT, UNTESTABLE = "fact", "untestable"
"""Beside DEFAULT, TUNED and RATES: how a claim is judged that no race decides."""


def ats(claim: Claim, quantity: Quantity) -> tuple[str, ...]:
    """Return the settings at which a quantity of a claim is judged: its own, tuned, or over all learning rates."""
    if quantity.over in (RATES, MIXED):
        return (quantity.over,)
    return (DEFAULT, TUNED) if claim.tuned is True and quantity.tuned else (DEFAULT,)


def pairs(claim: Claim, measure: Measure, at: str) -> Iterator[tuple[str, str | None]]:
    """Yield the two sides of each comparison of a claim, at its settings or as they are searched."""
    assert claim.a is not None
    dressed = claim.given if at == DEFAULT else str
    for side in claim.against:
        yield dressed(claim.a), dressed(side)
    if not claim.against:
        yield dressed(claim.a), None


def made_for(at: str, a: str, b: str | None, select: str = VAL_LOSS) -> Iterator[tuple[str, str]]:
    """Yield the sides whose runs a comparison needs, each with why they are made.

    Args:
        at: DEFAULT, TUNED, RATES or MIXED.
        a: One side.
        b: The other, or None.
        select: What learning rates are chosen by where sides are tuned.
    """
    why = TUNED_FOR[select] if at == TUNED else at
    if at == MIXED:
        yield from ((side, DEFAULT) for side in a.split("|"))
        why = TUNED
    else:
        yield a, why
    if b is not None:
        yield b, why


def comparisons(ledger: Ledger, evidence: Evidence) -> pd.DataFrame:
    """Judge every comparison that the claims of a ledger ask for, on the workloads that it has.

    Args:
        ledger: The claims; workloads that are not among its own (of a larger budget) are left out.
        evidence: The tables.

    Returns:
        One row a comparison: claim, quantity, unit, says, delta (as in the claim), workload, a, b (or missing, where it is a
        number), at, tuned_for (what the learning rates of tuned sides were chosen by), at_edge (sides whose learning rate lies at
        the end of what was tried), num_looks, problem, reason (why there is no sample), why (the same as a NotMeasured), what
        `bench.claims.verdict.judge` adds, and needed (see `pairs_to_decide`). estimate, low and high are in the quantity's unit: a
        ratio of a to b, or a less b.
    """
    rows = [_row(ledger, evidence, asked) for asked in _asked(ledger)]
    judged = judge(pd.DataFrame(rows, columns=COLUMNS)).drop(columns=["test", "family"])
    judged["needed"] = [
        pairs_to_decide(row) if math.isfinite(row.p) and row.method != "none" else math.nan
        for row in judged.itertuples()
    ]
    ratio = (judged["unit"] == "ratio").to_numpy(bool)
    with np.errstate(over="ignore"):
        for name in ("estimate", "low", "high", "delta"):
            judged.loc[ratio, name] = np.exp(judged.loc[ratio, name].astype(float))
    judged.loc[ratio, "delta"] -= 1
    return judged


COLUMNS = [
    "claim", "quantity", "unit", "says", "workload", "a", "b", "at", "tuned_for", "at_edge", "problem", "reason", "why",
    "direction", "delta", "sample", "test", "family", "num_looks",
]  # fmt: skip
"""Of what is judged."""


class Asked(NamedTuple):
    """One comparison that a claim asks for."""

    claim: Claim
    measure: Measure
    workload: str
    at: str
    a: str
    b: str | None


def _asked(ledger: Ledger) -> Iterator[Asked]:
    for claim in ledger.claims.values():
        for measure in claim.measures:
            for workload in measure.workloads or claim.workload_names:
                for at in ats(claim, QUANTITIES[measure.quantity]) if workload in ledger.workloads else ():
                    for a, b in pairs(claim, measure, at):
                        yield Asked(claim, measure, workload, at, a, b)


def chosen_by(quantity: Quantity, workload: Workload) -> str:
    """Return what the learning rates of tuned sides are to be chosen by: what is judged, if that can be."""
    return VAL_LOSS if quantity.select == STEPS_TO_TARGET and workload.target is None else quantity.select


def _tuned_for(ledger: Ledger, evidence: Evidence, asked: Asked) -> str:
    """Return what the learning rates of both sides were chosen by: the final validation loss, unless there are runs chosen by better."""
    select = chosen_by(QUANTITIES[asked.measure.quantity], ledger.workloads[asked.workload])
    sides = (side for side in (asked.a, asked.b) if side is not None)
    return select if all(evidence.has(asked.workload, side, TUNED_FOR[select]) for side in sides) else VAL_LOSS


def _row(ledger: Ledger, evidence: Evidence, asked: Asked) -> dict[str, Any]:
    """Return what `judge` is given of one comparison, and what a report tells of it."""
    claim, measure, workload, at, a, b = asked
    quantity, select = QUANTITIES[measure.quantity], _tuned_for(ledger, evidence, asked)
    made = list(made_for(at, a, b, select))
    row: dict[str, Any] = {
        "claim": claim.id,
        "quantity": measure.quantity,
        "unit": quantity.unit,
        "says": measure.says,
        "workload": workload,
        "a": a,
        "b": b,
        "at": at,
        "tuned_for": select if at == TUNED else None,
        "at_edge": [side for side, why in made if evidence.is_at_edge(workload, side, why)],
        "direction": measure.says,
        "delta": math.log1p(measure.delta) if quantity.is_ratio else measure.delta,
        "sample": None,
        "problem": None,
        "reason": None,
        "why": None,
        "test": json.dumps([measure.quantity, workload, at, sorted([a, b or ""]), measure.delta]),
        "family": f"{claim.id} {TUNED if at in (RATES, MIXED) else at}",
        "num_looks": evidence.num_looks(workload, made),
    }
    pair = Pair(evidence, workload, a, b, TUNED_FOR[select] if at == TUNED else at, ledger.workloads[workload].target)
    try:
        sample = quantity.sample(pair)
    except NotMeasured as why:
        return row | {"problem": str(why) if why.there else None, "reason": str(why), "why": why}
    if claim.reference is not None:
        assert isinstance(sample, Sample)
        shift = math.log(claim.reference) if quantity.is_ratio else claim.reference
        sample = replace(sample, low=sample.low - shift, high=sample.high - shift)
    return row | {"sample": sample}


def verdicts(ledger: Ledger, judged: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    """Return the verdict on every claim, at each of the settings at which it is judged.

    Args:
        ledger: The claims.
        judged: What `comparisons` gave.
        facts: Side table `facts`.

    Returns:
        One row a claim and `at` (default, tuned, fact, untestable; what is judged over learning rates, or against a tuned side, counts as tuned):
        verdict, holds (yes, no, in some cases, unclear; missing where nothing was run), num (comparisons), num_<verdict> of each of
        supported, refuted, no difference, ruled out, cannot tell and not run.
    """
    rows = []
    for claim in ledger.claims.values():
        if claim.untestable is not None:
            rows.append({"claim": claim.id, "at": UNTESTABLE, "verdict": "not testable here", "holds": None, "num": 0})
            continue
        if claim.fact is not None:
            found = facts[facts["fact"] == claim.fact] if len(facts) else facts
            holds = None if found.empty else bool(found["holds"].iloc[-1])
            word = "not run" if holds is None else "supported" if holds else "refuted"
            answer = None if holds is None else "yes" if holds else "no"
            rows.append({"claim": claim.id, "at": FACT, "verdict": word, "holds": answer, "num": 0})
            continue
        own = judged[judged["claim"] == claim.id]
        for at in (DEFAULT, TUNED):
            there = own[at_key(own) == at]
            if there.empty and not (at == DEFAULT and own.empty):
                continue
            rows.append({"claim": claim.id, "at": at, **_whole(claim, there)})
    return pd.DataFrame(rows)


def at_key(rows: pd.DataFrame) -> pd.Series:
    """Return the setting of each comparison, with everything that was tuned under one name."""
    return rows["at"].replace([RATES, MIXED], TUNED)


def _whole(claim: Claim, there: pd.DataFrame) -> dict[str, Any]:
    words = list(there["verdict"])
    counts = {f"num_{word.replace(' ', '_')}": words.count(word) for word in COUNTED}
    verdict = whole(words, claim.rule) if words else "not run"
    holds = None if verdict == "not run" else whole_holds(verdict)
    return {"verdict": verdict, "holds": holds, "num": len(there), **counts}


COUNTED = (*DECIDED, "cannot tell", "not run")


def numbers_of(facts: pd.DataFrame, fact: str) -> dict[str, Any]:
    """Return what an executable check found; empty where it was not run."""
    found = facts[facts["fact"] == fact] if len(facts) else facts
    return {} if found.empty else json.loads(found["numbers"].iloc[-1])
