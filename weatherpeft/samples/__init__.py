"""From artifacts to tensors: the samples of a task."""
