"""Ways to carry out many configurations: one after the other, in a pool, on Slurm."""
