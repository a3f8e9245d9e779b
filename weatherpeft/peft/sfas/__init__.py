"""SFAS: stochastic Fisher-guided adaptive selection."""
