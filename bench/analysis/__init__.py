"""All numbers that reports show: intervals, tests, targets, tuning, step costs."""
