"""Imported in the process that those of `launcher=pool` are forked from: what all of them need, once."""

from __future__ import annotations

import atexit
import os

import torch

import bench.execution.cell

__all__ = ["bench", "torch"]


atexit.register(os._exit, 0)  # to take torch apart at the end would take a second, for which pipes stay open
