"""Losses that tasks train with."""
