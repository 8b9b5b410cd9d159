"""Quantities by which claims are judged."""
