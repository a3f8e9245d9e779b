"""The samples of a task, from artifacts to tensors."""
