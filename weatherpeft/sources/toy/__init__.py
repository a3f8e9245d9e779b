"""The toy planet: raw data for a machine that has none."""
