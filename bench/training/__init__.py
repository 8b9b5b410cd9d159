"""Training: the loop, one update, losses, schedules, augmentation, diagnostics."""
