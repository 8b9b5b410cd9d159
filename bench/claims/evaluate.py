"""Judge every comparison of every claim of a ledger, then each claim as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.bounds import Sample
from bench.claims.effects.evidence import DEFAULT, MIXED, RATES, TUNED, Evidence, NotMeasured, Pair
from bench.claims.effects.registry import QUANTITIES, Quantity
from bench.claims.ledger import Claim, Ledger, Measure
from bench.claims.verdict import judge, whole, whole_holds

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


def made_for(at: str, a: str, b: str | None) -> Iterator[tuple[str, str]]:
    """Yield the sides whose runs a comparison needs, each with why they are made."""
    if at == MIXED:
        yield from ((side, DEFAULT) for side in a.split("|"))
        at = TUNED
    else:
        yield a, at
    if b is not None:
        yield b, at


def comparisons(ledger: Ledger, evidence: Evidence) -> pd.DataFrame:
    """Judge every comparison that the claims of a ledger ask for, on the workloads that it has.

    Args:
        ledger: The claims; workloads that are not among its own (of a larger budget) are left out.
        evidence: The tables.

    Returns:
        One row a comparison: claim, quantity, unit, says, delta (as in the claim), workload, a, b (or missing, where it
        is a number), at, problem, reason (why there is no sample), why (the same as a NotMeasured), and what
        `bench.claims.verdict.judge` adds, with estimate, low and high in the quantity's unit: a ratio of a to b, or a less b.
    """
    rows: list[dict[str, Any]] = []
    for claim in ledger.claims.values():
        for measure in claim.measures:
            quantity = QUANTITIES[measure.quantity]
            for workload in measure.workloads or claim.workload_names:
                if workload not in ledger.workloads:
                    continue
                for at in ats(claim, quantity):
                    for a, b in pairs(claim, measure, at):
                        pair = Pair(evidence, workload, a, b, at, ledger.workloads[workload].target)
                        rows.append(_row(claim, measure, quantity, pair))
    columns = [
        "claim",
        "quantity",
        "unit",
        "says",
        "workload",
        "a",
        "b",
        "at",
        "problem",
        "reason",
        "why",
        "direction",
        "delta",
        "sample",
        "test",
    ]
    judged = judge(pd.DataFrame(rows, columns=columns)).drop(columns="test")
    ratio = (judged["unit"] == "ratio").to_numpy(bool)
    with np.errstate(over="ignore"):
        for name in ("estimate", "low", "high", "delta"):
            judged.loc[ratio, name] = np.exp(judged.loc[ratio, name].astype(float))
    judged.loc[ratio, "delta"] -= 1
    return judged


def _row(claim: Claim, measure: Measure, quantity: Quantity, pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {
        "claim": claim.id,
        "quantity": measure.quantity,
        "unit": quantity.unit,
        "says": measure.says,
        "workload": pair.workload,
        "a": pair.a,
        "b": pair.b,
        "at": pair.at,
        "direction": measure.says,
        "delta": math.log1p(measure.delta) if quantity.is_ratio else measure.delta,
        "sample": None,
        "problem": None,
        "reason": None,
        "why": None,
        "test": json.dumps([measure.quantity, pair.workload, pair.at, sorted([pair.a, pair.b or ""]), measure.delta]),
    }
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
        verdict, holds (yes, no, unclear; missing where nothing was run), num (comparisons), num_<verdict> of each of
        supported, refuted, no difference, cannot tell and not run.
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
            there = own[own["at"].replace([RATES, MIXED], TUNED) == at]
            if there.empty and not (at == DEFAULT and own.empty):
                continue
            rows.append({"claim": claim.id, "at": at, **_whole(claim, there)})
    return pd.DataFrame(rows)


def _whole(claim: Claim, there: pd.DataFrame) -> dict[str, Any]:
    words, answers = list(there["verdict"]), list(there["holds"])
    counts = {f"num_{word.replace(' ', '_')}": words.count(word) for word in COUNTED}
    verdict = whole(words, claim.rule, answers) if words else "not run"
    holds = None if verdict == "not run" else whole_holds(words, answers, claim.rule)
    return {"verdict": verdict, "holds": holds, "num": len(there), **counts}


COUNTED = ("supported", "refuted", "no difference", "cannot tell", "not run")


def numbers_of(facts: pd.DataFrame, fact: str) -> dict[str, Any]:
    """Return what an executable check found; empty where it was not run."""
    found = facts[facts["fact"] == fact] if len(facts) else facts
    return {} if found.empty else json.loads(found["numbers"].iloc[-1])
