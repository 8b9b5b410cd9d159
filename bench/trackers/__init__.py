"""Studies as the trackers know them that people already use."""
