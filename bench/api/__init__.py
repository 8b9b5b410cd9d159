"""Comparing from Python."""
