"""What the Fisher information is divided by: statistics of the whole pool, which arrives in pieces."""

from abc import ABC, abstractmethod

import torch

from weatherpeft.peft.sfas.spec import NormalizerName

SMALLEST_NORM = 1e-200
"""Stands in for a norm of zero."""


class Normalizer(ABC):
    """Sees F of every entry once, in any order, and knows the norm after the last entry.

    Attributes:
        bound: lower bound of the norm, whatever the entries still to come.
    """

    bound = 0.0

    @abstractmethod
    def see(self, fisher: torch.Tensor, largest: float) -> torch.Tensor:
        """Take in some entries.

        Args:
            fisher: F ``(entry,)``, finite and not negative.
            largest: the largest of them.

        Returns:
            What replaces F from here on, in the same order.
        """

    def normalize(self, fisher: torch.Tensor) -> torch.Tensor:
        """Normalized F in float64, after all entries."""
        return fisher.double() / max(self.bound, SMALLEST_NORM)


class Maximum(Normalizer):
    """The largest F of the pool."""

    def see(self, fisher: torch.Tensor, largest: float) -> torch.Tensor:
        """See ``Normalizer``."""
        self.bound = max(self.bound, largest)
        return fisher


class Mean(Normalizer):
    """The mean F of a pool of ``size`` entries."""

    def __init__(self, size: int) -> None:
        self._size = size

    def see(self, fisher: torch.Tensor, largest: float) -> torch.Tensor:
        """See ``Normalizer``."""
        self.bound += float(fisher.sum(dtype=torch.float64)) / self._size
        return fisher


class Quantile(Normalizer):
    """The q-quantile of F: the n-th largest, where n is the rounded ``(1 − q)·size`` and at least 1.

    It is exact. The n largest so far are kept in chunks, which are cut when they exceed 2n.
    """

    def __init__(self, size: int, quantile: float) -> None:
        self._count = max(1, round((1 - quantile) * size))
        self._chunks: list[torch.Tensor] = []
        self._held = 0

    def see(self, fisher: torch.Tensor, largest: float) -> torch.Tensor:
        """See ``Normalizer``."""
        if largest <= self.bound:
            return fisher
        self._chunks.append(fisher[fisher > self.bound])
        self._held += len(self._chunks[-1])
        if self._held > 2 * self._count:
            self._cut()
        return fisher

    def normalize(self, fisher: torch.Tensor) -> torch.Tensor:
        """See ``Normalizer``."""
        self._cut()
        return super().normalize(fisher)

    def _cut(self) -> None:
        if not self._chunks:
            return
        kept = torch.cat(self._chunks)
        if len(kept) >= self._count:
            kept = kept.topk(self._count, sorted=False).values
            self.bound = float(kept.min())
        self._chunks, self._held = [kept], len(kept)


class Rank(Normalizer):
    """The share of the pool whose F is smaller, with F cut to the 8 significant bits of bfloat16.

    It is exact: a histogram has one bin for each such value. Ranks have no norm and so no bound. All that
    matters is that they never decrease with F.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._histogram: torch.Tensor | None = None

    def see(self, fisher: torch.Tensor, largest: float) -> torch.Tensor:
        """See ``Normalizer``."""
        bits = fisher.float().view(torch.int32) >> 16
        found = torch.bincount(bits, minlength=1 << 15)
        self._histogram = found if self._histogram is None else self._histogram + found
        return (bits << 16).view(torch.float32)

    def normalize(self, fisher: torch.Tensor) -> torch.Tensor:
        """See ``Normalizer``."""
        assert self._histogram is not None
        smaller = self._histogram.cumsum(0) - self._histogram
        return smaller[fisher.view(torch.int32) >> 16].double() / self._size


def new_normalizer(name: NormalizerName, size: int, quantile: float) -> Normalizer:
    """A normalizer for a pool of ``size`` entries."""
    if name == "max":
        return Maximum()
    if name == "mean":
        return Mean(size)
    return Quantile(size, quantile) if name == "quantile" else Rank(size)
