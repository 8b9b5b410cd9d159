"""Add seeds to the sides of comparisons that are open, and to no others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from bench.analysis.bounds import Sample, Spread
from bench.analysis.verdict import CANNOT_TELL
from bench.claims.effects.registry import QUANTITIES
from bench.claims.evaluate import chosen_by, made_for
from bench.claims.ledger import Ledger
from bench.claims.needs import Key, looks_of

LOOKS = {"quick": (5, 10), "standard": (5, 10, 20, 40, 80), "full": (5, 10, 20, 40, 80)}
"""Numbers of seeds at which comparisons are looked at, by budget; a workload may end before."""


MINUTES = {"quick": math.inf, "standard": 150.0, "full": math.inf}
"""Minutes that runs may take, by budget; once they are over no seeds are added."""


FUTILE = 2.0
"""A comparison gets no more seeds where it would need more than so many times the last look's."""


def open_sides(ledger: Ledger, judged: pd.DataFrame, looks: Sequence[int]) -> dict[Key, float]:
    """Return the sides whose comparisons are open, and about how many seeds would decide those.

    A comparison is left out once it has a verdict, where nothing is random or something was not measured, and where it would take
    more than `FUTILE` times as many seeds as there may be.

    Args:
        ledger: The claims.
        judged: What `bench.claims.evaluate.comparisons` gave.
        looks: Numbers of seeds at which comparisons are looked at.
    """
    wanted: dict[Key, float] = {}
    for row in judged.itertuples():
        needed, workload = row.needed, ledger.workloads[str(row.workload)]
        is_settled = row.verdict != CANNOT_TELL or isinstance(row.problem, str)
        if is_settled or not isinstance(row.sample, Sample | Spread):
            continue
        if needed > FUTILE * looks_of(workload, str(row.at), looks)[-1]:
            continue
        select = chosen_by(QUANTITIES[str(row.quantity)], workload)
        b = row.b if isinstance(row.b, str) else None
        for side, why in made_for(str(row.at), str(row.a), b, select):
            key = (str(row.workload), side, why)
            wanted[key] = max(needed, wanted.get(key, 0.0))
    return wanted
