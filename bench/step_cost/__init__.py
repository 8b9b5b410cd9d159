"""What one step of each optimizer costs."""
