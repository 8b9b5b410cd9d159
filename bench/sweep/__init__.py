"""Sweeps: search spaces, tuned sweeps, plans."""
