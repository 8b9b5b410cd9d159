"""Compare optimizers from Python."""
