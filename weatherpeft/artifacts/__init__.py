"""Artifacts on disk: stores that are complete or absent, records of their origin, readers and writers."""
