"""What methods share when they are attached to a backbone."""
