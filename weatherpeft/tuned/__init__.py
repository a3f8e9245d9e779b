"""A tuned model on its own: as a folder to share, and to predict with, without the workflow."""
