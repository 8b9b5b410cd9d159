"""The version of the bench."""

__version__ = "0.1.0"
