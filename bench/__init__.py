"""Benchmark optimizers: loss, wall-clock time and peak memory of every run in one table."""

__version__ = "0.1.0"
