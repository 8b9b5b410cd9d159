"""Carry out configurations one after the other in this process: the launcher whose times can be compared."""

from __future__ import annotations

from collections.abc import Sequence

from bench.config.schema import Config
from bench.execution.cell import run_cells
from bench.execution.session import Session


class Local:
    """Makes one run at a time, in this process."""

    def run(self, configs: Sequence[Config], session: Session) -> list[float]:
        """See `bench.execution.session.Launcher`."""
        return run_cells(configs, session)

    def close(self) -> None:
        """Do nothing: nothing was started."""
