"""Executable checks of statements of fact."""
