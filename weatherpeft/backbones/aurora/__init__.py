"""Aurora, through the upstream package."""
