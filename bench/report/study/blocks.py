"""The tables and figures of a section, in the order in which the page shows them.

A new one is a function from a `SectionView` to blocks, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.report.document import Block
from bench.report.study.cost import memory_block
from bench.report.study.diagnosis import diagnosis_block
from bench.report.study.outcome import comparisons_block, list_blocks, status_block, summary_block
from bench.report.study.speed import target_blocks
from bench.report.study.tuning import tuning_blocks
from bench.report.study.view import SectionView

BLOCKS: tuple[Callable[[SectionView], Iterable[Block]], ...] = (
    summary_block,
    comparisons_block,
    diagnosis_block,
    target_blocks,
    memory_block,
    tuning_blocks,
    status_block,
    list_blocks,
)
"""What makes them; what holds neither a table nor a figure is left out."""
