"""Training: the loop, the Fisher warm-up, several processes, checkpoints."""
