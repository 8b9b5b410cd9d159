"""Claims about optimizers: what they say, what the tables say of them, and a verdict."""
