"""Import once what every process of `launcher=pool` needs; the process that they are forked from imports this module."""

from __future__ import annotations

import atexit
import os

import torch

import bench.execution.cell

__all__ = ["bench", "torch"]


atexit.register(os._exit, 0)  # to take torch apart at the end would take a second, for which pipes stay open
