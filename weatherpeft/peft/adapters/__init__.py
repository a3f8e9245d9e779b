"""What methods share: which of them compose, and what they attach to a backbone."""
