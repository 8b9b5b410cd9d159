"""Decide which measured times may be used, and which runs say what they would have come to."""

from __future__ import annotations

import numpy as np
import pandas as pd

LEAST_UNDISTURBED = 5
"""Undisturbed runs that a time is taken from, at least."""


def is_undisturbed(rows: pd.DataFrame) -> np.ndarray:
    """Tell for each row whether its times may be used.

    They may unless the processor was contended, or other runs were made beside it (any launcher but `local`). Where a
    table does not say, as older ones do not, nothing is held against its times.

    Args:
        rows: Rows of `runs` or of the side table `step_costs`.

    Returns:
        A bool for each row.

    >>> rows = pd.DataFrame({"timing_quality": ["clean", "contended", None], "launcher": ["local", "local", "pool"]})
    >>> is_undisturbed(rows).tolist()
    [True, False, False]
    """
    usable = np.ones(len(rows), dtype=bool)
    if "timing_quality" in rows:
        usable &= (rows["timing_quality"].fillna("") != "contended").to_numpy(bool)
    if "launcher" in rows:
        usable &= (rows["launcher"].fillna("local") == "local").to_numpy(bool)
    return usable


def is_cut_off(runs: pd.DataFrame) -> np.ndarray:
    """Tell for each run whether it was ended because its loss was too high, though finite: what it would have reached is unknown.

    >>> reasons = ["train loss 20000 at step 2 (limit 10000)", "train loss nan at step 9", None]
    >>> is_cut_off(pd.DataFrame({"status": ["diverged", "diverged", "ok"], "reason": reasons})).tolist()
    [True, False, False]
    """
    if "reason" not in runs:
        return np.zeros(len(runs), dtype=bool)
    finite = runs["reason"].astype("string").str.contains(r" loss -?\d", regex=True).fillna(False).to_numpy(bool)
    return np.asarray(finite & (runs["status"] == "diverged").to_numpy(bool))


def enough_undisturbed(runs: pd.DataFrame) -> bool:
    """Tell whether the times of enough runs of one configuration may be used.

    Enough is at least half of them, and at least `LEAST_UNDISTURBED`, or all of them where there are fewer.

    >>> enough_undisturbed(pd.DataFrame({"timing_quality": 5 * ["clean"] + 5 * ["contended"]}))
    True
    >>> enough_undisturbed(pd.DataFrame({"timing_quality": ["clean", "contended"]}))
    False
    """
    num_usable = int(is_undisturbed(runs).sum())
    return 2 * num_usable >= len(runs) and num_usable >= min(LEAST_UNDISTURBED, len(runs))
