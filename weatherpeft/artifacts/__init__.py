"""What lies on disk: stores that are complete or absent, what made them, and their readers."""
