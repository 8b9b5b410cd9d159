"""Measure what one step of each optimizer costs."""
