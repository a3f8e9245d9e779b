"""Stages open artifacts, call the library and write one artifact.

A stage is one typed function in a module of its name.
"""
