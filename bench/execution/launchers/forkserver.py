"""Start the process that the processes of a pool are forked from."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import suppress
from multiprocessing import forkserver


def prepare_pool() -> None:
    """Start the process that those of a pool are forked from: it imports torch while jobs are composed here."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # it takes these over; a run sets torch's own
    multiprocessing.get_context("forkserver").set_forkserver_preload(["bench.execution.launchers.preload"])
    with suppress(OSError):  # where none can be started, the pool says so
        forkserver.ensure_running()
