"""Imported in the process that those of `launcher=pool` are forked from: what all of them need, once."""

import atexit
import os

import torch._dynamo

import bench.run

__all__ = ["bench", "torch"]

atexit.register(os._exit, 0)  # to take torch apart at the end would take a second, for which pipes stay open
