"""TADP: task-adaptive dynamic prompting."""
