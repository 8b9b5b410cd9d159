"""Diagnostics of training: what a step did to each layer, recorded every so many steps."""
