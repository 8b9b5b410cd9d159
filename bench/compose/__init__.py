"""From overrides to a configuration: what knows Hydra."""
