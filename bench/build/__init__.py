"""From configuration to models, optimizers and data."""
