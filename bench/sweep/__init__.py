"""Carry out sweeps: search spaces, tuned sweeps, plans."""
