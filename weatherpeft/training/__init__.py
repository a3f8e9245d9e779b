"""Training: the loop, the Fisher pass, checkpoints; it knows the interfaces only."""
