"""What a training cost: where its artifact says so."""

COST = "cost.json"
"""File of a run with its median ``seconds_per_step`` and ``peak_memory_bytes``, which differ each time."""
SIZES = ("trainable_backbone", "trainable_total", "touched_backbone", "adapter_bytes")
"""Entries of a run's record: parameters that a step trains between encoder and decoder, the same with encoder
and decoder, parameters that any step trained between them, and bytes of what is kept of the methods."""
