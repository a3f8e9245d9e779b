"""Base classes of sources."""
