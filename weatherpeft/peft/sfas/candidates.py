"""Entries that may be among the k best, and searches that skip whole blocks of them."""

from typing import NamedTuple

import torch

from weatherpeft.peft.sfas.noise import BLOCK

MANY_BLOCKS = 1 / 8
"""Share of blocks to search from which on it takes less time to search all entries."""


class Candidates(NamedTuple):
    """Entries that may still be selected, all tensors ``(entry,)``.

    Attributes:
        entry: pool index.
        fisher: F, the Fisher information.
        uniform: U, the noise.
        gradient: what is kept for the update.
    """

    entry: torch.Tensor
    fisher: torch.Tensor
    uniform: torch.Tensor
    gradient: torch.Tensor

    def take(self, which: torch.Tensor) -> "Candidates":
        """The entries that a mask or an index tensor names."""
        return Candidates(*(column[which] for column in self))

    @staticmethod
    def join(parts: "list[Candidates]") -> "Candidates":
        """Concatenate."""
        if len(parts) == 1:
            return parts[0]
        return Candidates(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def best(score: torch.Tensor, entry: torch.Tensor, k: int) -> torch.Tensor:
    """Positions of the k largest scores, unordered; of equal scores the lower entry comes first."""
    if len(score) <= k:
        return torch.arange(len(score), device=score.device)
    threshold = score.topk(k, sorted=False).values.min()
    above = (score > threshold).nonzero().squeeze(1)
    tied = (score == threshold).nonzero().squeeze(1)
    if len(above) + len(tied) > k:
        tied = tied[entry[tied].topk(k - len(above), largest=False, sorted=False).indices]
    return torch.cat([above, tied])


def reaching(values: torch.Tensor, threshold: float) -> torch.Tensor:
    """Positions of the values that reach a threshold. Only blocks whose largest value does are searched."""
    near = largest(values) >= threshold
    if int(near.sum()) > MANY_BLOCKS * len(near):
        return (values >= threshold).nonzero().squeeze(1)
    position = entries(near, len(values))
    return position[values[position] >= threshold]


def largest(values: torch.Tensor) -> torch.Tensor:
    """The largest value of every block, ``(block,)``."""
    end = len(values) // BLOCK * BLOCK
    blocks = values[:end].view(-1, BLOCK).amax(1)
    return torch.cat([blocks, values[end:].amax(0, keepdim=True)]) if end < len(values) else blocks


def entries(blocks: torch.Tensor, count: int) -> torch.Tensor:
    """Positions ``(entry,)`` of the entries of the blocks that a mask names."""
    inside = torch.arange(BLOCK, device=blocks.device)
    position = (blocks.nonzero() * BLOCK + inside).view(-1)
    return position[position < count] if count % BLOCK else position
