"""Means over the processes of a distributed training, for methods that update weights by themselves."""

import torch
import torch.distributed as distributed


def several_ranks() -> bool:
    """Whether this process is one of several of ``torch.distributed``."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Average values over the ranks, in place. A process that is alone gets them back unchanged."""
    if several_ranks():
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values
