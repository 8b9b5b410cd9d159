"""Compose configurations from overrides: the only package, with hydra_plugins, that knows Hydra."""
