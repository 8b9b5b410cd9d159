"""What the blocks of one section are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from bench.analysis.section import SectionAnalysis
from bench.analysis.sections import Section
from bench.report.sheet import Sheet


@dataclass(frozen=True, eq=False)
class SectionView:
    """The numbers of a section, and where its figures and tables go.

    Attributes:
        found: The numbers.
        sheet: Where figures and tables go.
        path: What `comparisons.paths` gave.
        grid: What `comparisons.surface` gave.
    """

    found: SectionAnalysis
    sheet: Sheet
    path: pd.DataFrame
    grid: pd.DataFrame | None

    @property
    def section(self) -> Section:
        """Its runs."""
        return self.found.section

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Rows of the table `curves` of its runs."""
        curves = self.found.curves
        return curves[curves["run_id"].isin(self.section.runs["run_id"])]

    @cached_property
    def peaks(self) -> tuple[pd.DataFrame, str]:
        """Peak memory of each series, series and peak_mib, and what it is of: that of tensors, else of the GPU."""
        by_part = self.found.memory_by_part
        if len(by_part):
            predicted = ", predicted" if self.section.predicted else ""
            return by_part[["series", "peak_mib"]], f"Peak memory in tensors{predicted}"
        medians = self.section.runs.astype({"peak_allocated_mib": float}).groupby("series")["peak_allocated_mib"]
        return medians.median().rename("peak_mib").reset_index(), "Peak memory allocated on the GPU"
