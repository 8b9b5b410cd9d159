"""Import once what every process of `launcher=pool` needs; the process that they are forked from imports this module."""

from __future__ import annotations

import atexit
import os
import sys
from types import TracebackType

import torch

import bench.execution.cell

__all__ = ["bench", "torch"]


atexit.register(os._exit, 0)  # to take torch apart at the end would take a second, for which pipes stay open


def _without_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print nothing of a process that the system does not start: the parent process says it in a sentence."""
    if not isinstance(error, OSError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _without_traceback
