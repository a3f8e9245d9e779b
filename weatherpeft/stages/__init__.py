"""Stages: open, call, write. A stage is one typed function in a module of its name."""
