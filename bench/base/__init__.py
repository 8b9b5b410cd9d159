"""Errors, paths, hashes and text: what everything else stands on."""
