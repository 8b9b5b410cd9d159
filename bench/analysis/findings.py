"""What a rule sees of a run, and what it says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

PROBLEM, NOTE = "problem", "note"
"""Whether something is to be mended, or only to be known."""


@dataclass(frozen=True)
class Finding:
    """Something that stands out in one run.

    Attributes:
        run_id: The run.
        rule: Its name, a key of `RULES`.
        kind: PROBLEM or NOTE.
        seen: What was seen, with numbers.
        since: The step from which on; None: throughout.
        layer: Which layer; empty: the whole model.
        advice: What to try.
        override: What to add to the command to try it; empty where it is no matter of one key.
    """

    run_id: str
    rule: str
    kind: str
    seen: str
    advice: str
    since: int | None = None
    layer: str = ""
    override: str = ""


NOTHING = pd.Series(dtype=float, index=pd.Index([], dtype=int))


@dataclass(frozen=True, eq=False)
class Case:
    """A run with its curves and diagnostics.

    Attributes:
        run: Its row of `runs`.
        losses: By split, its loss by step.
        diagnostics: By name and layer, what was recorded by step, layers in the order of the model.
    """

    run: pd.Series
    losses: Mapping[str, pd.Series]
    diagnostics: Mapping[tuple[str, str], pd.Series]

    @property
    def run_id(self) -> str:
        """Of the run."""
        return str(self.run["run_id"])

    def curve(self, split: str) -> pd.Series:
        """Return the loss of a split by step; empty where there is none."""
        return self.losses.get(split, NOTHING)

    def of(self, name: str, layer: str = "") -> pd.Series:
        """Return the values of a diagnostic of a layer by step; empty where it was not recorded."""
        return self.diagnostics.get((name, layer), NOTHING)

    def layers(self, name: str) -> list[str]:
        """Return the layers of which a diagnostic was recorded, in the order of the model."""
        return [layer for each, layer in self.diagnostics if each == name and layer]

    @cached_property
    def chance(self) -> float | None:
        """Loss of a model that knows only how frequent the classes are, in nats; None where there are none."""
        counts = self.run.get("class_counts")
        if not isinstance(counts, str) or self.run["loss"] != "cross_entropy":
            return None
        shares = np.array(list(_counts(counts)), dtype=float)
        shares = shares[shares > 0] / shares.sum()
        return float(-(shares * np.log(shares)).sum())

    @cached_property
    def fall(self) -> float:
        """Share of the validation loss that training took away, from its first evaluation to its last; NaN where unknown."""
        values = self.curve("val")
        return float(1 - values.iloc[-1] / values.iloc[0]) if len(values) > 1 and values.iloc[0] > 0 else math.nan

    @property
    def lr(self) -> float | None:
        """Its learning rate."""
        return None if pd.isna(self.run.get("lr")) else float(self.run["lr"])

    def with_lr(self, factor: float) -> str:
        """Return the override that changes the learning rate by a factor; empty where it has none."""
        return "" if self.lr is None else f"optimizer.lr={factor * self.lr:.3g}"


def _counts(text: str) -> list[float]:
    found = json.loads(text)
    return list(found.values()) if isinstance(found, dict) else list(found)
