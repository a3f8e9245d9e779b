"""Baselines: forecasts without a network that a tuned model has to beat."""
