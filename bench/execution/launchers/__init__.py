"""Carry out many configurations: one after the other, in a pool of processes, on Slurm."""
