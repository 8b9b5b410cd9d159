"""Write the overrides of the jobs of a sweep."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from bench.config.schema import Config

Overrides = list[str]
"""The overrides of one job of a sweep."""


def typed(config: Config) -> Overrides:
    """Return the overrides of a cell without those that each of its jobs sets itself."""
    own = ("plan", "seeds", "trial")
    return [
        override for override in config.overrides if re.split("[.=]", override.lstrip("+~"), maxsplit=1)[0] not in own
    ]


def seeds_override(seeds: Sequence[int]) -> str:
    """Return the override that sets these seeds."""
    return f"seeds=[{','.join(map(str, seeds))}]"


def made_by(
    launch: Callable[[list[Overrides]], object], jobs: Sequence[Overrides], num_looks: int
) -> Callable[[Mapping[int, Sequence[int]]], object]:
    """Return what makes some seeds of some jobs, given by their positions, see `bench.sweep.rounds.until_decided`."""
    return lambda seeds: launch(
        [[*jobs[i], f"+trial.num_looks={num_looks}", seeds_override(new)] for i, new in seeds.items()]
    )


def quoted(text: str) -> str:
    """Return a text quoted for Hydra's grammar of overrides."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
