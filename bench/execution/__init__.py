"""Carry out runs: one run, a configuration, a command."""
