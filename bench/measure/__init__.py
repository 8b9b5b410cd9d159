"""Measuring: clock, device, environment, memory of tensors."""
