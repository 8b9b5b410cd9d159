"""Everything of the package that the generated reference reads, imported in this one place."""

from __future__ import annotations

from bench import __version__
from bench.base.diagnostics import DIAGNOSTICS
from bench.base.metrics import METRICS
from bench.base.paths import CONF_DIR
from bench.claims.effects.registry import QUANTITIES, Quantity
from bench.claims.ledger import Claim, Measure, Workload, load
from bench.config.capabilities import METADATA
from bench.config.choices import CHOICES
from bench.config.hyperparameters import Hyperparameters
from bench.config.keys import comments, headline, leaves
from bench.config.messages import allowed_words
from bench.config.schema import Capabilities, Config, SearchConfig, StepCostConfig
from bench.data.streaming import StreamingDataset as STREAMING
from bench.tables.columns import CURVES, RUNS, SIDE, Column

TABLES: dict[str, tuple[Column, ...]] = {"runs": RUNS, "curves": CURVES, **SIDE}
"""The columns of every table, by its name."""

__all__ = [
    "CHOICES",
    "CONF_DIR",
    "DIAGNOSTICS",
    "METADATA",
    "METRICS",
    "QUANTITIES",
    "STREAMING",
    "TABLES",
    "Capabilities",
    "Claim",
    "Column",
    "Config",
    "Hyperparameters",
    "Measure",
    "Quantity",
    "SearchConfig",
    "StepCostConfig",
    "Workload",
    "__version__",
    "allowed_words",
    "comments",
    "headline",
    "leaves",
    "load",
]
