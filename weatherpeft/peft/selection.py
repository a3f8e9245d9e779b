"""The k best entries of a stream whose normalizer is known only at its end."""

from typing import Literal, NamedTuple

import torch

SMALLEST_NORM = 1e-200
"""Stands in for a norm of zero, that is, where no entry has any Fisher information."""
_MARGIN = 1 - 1e-12
"""Thresholds are lowered by more than float64 rounds, so that rounding never drops an entry."""
_COARSE_MARGIN = 1 - 1e-5
"""The same for float32."""
_SMALLEST_FLOAT32 = 1e-37
"""Below it float32 loses precision."""

_LEVELS = 64
"""Most thresholds at a time: more of them drop more, and cost more."""


class _Candidates(NamedTuple):
    """Entries that may still be selected, by their pool index; all tensors ``(entry,)``."""

    entry: torch.Tensor
    fisher: torch.Tensor
    uniform: torch.Tensor
    gradient: torch.Tensor

    def take(self, which: torch.Tensor) -> "_Candidates":
        """The entries that a mask or an index tensor names."""
        return _Candidates(*(column[which] for column in self))


class _Staircase(NamedTuple):
    """What an entry must reach to be among the k best at some norm from ``norm`` upward.

    Attributes:
        norm: the lower bound of the norm for which the steps hold.
        score: ``(level,)``, ascending.
        uniform: ``(level + 1,)``; an entry whose score is below n of the levels is dominated by k
            others unless its noise reaches ``uniform[n]``.
    """

    norm: float
    score: torch.Tensor
    uniform: torch.Tensor


class Selection:
    """Exact streamed top-k of ``F / norm + w·U`` with ``norm`` the maximum or the mean of all F.

    The norm is known after the last entry, when the gradients have long been freed. Whatever it
    will be, it is at least the bound ``a`` seen so far, and a score times the norm is linear in the
    norm: ``F + w·norm·U``. So entry j is out for good as soon as k other entries have both
    ``F + w·a·U`` and ``U`` no smaller than its own. What this leaves is a skyband: about
    k·(1 + ln(N/k)) entries where F and U are independent, a few k.

    Equal scores are decided in favor of the lower index. Scores are compared in float64.
    """

    def __init__(self, k: int, size: int, noise_weight: float, normalizer: Literal["max", "mean"]) -> None:
        """Start an empty selection.

        Args:
            k: entries to select.
            size: entries of the whole pool.
            noise_weight: w, of the noise beside the normalized Fisher information.
            normalizer: what F is divided by.
        """
        self._k = k
        self._size = size
        self._noise_weight = noise_weight
        self._normalizer = normalizer
        self._norm = 0.0
        self._chunks: list[_Candidates] = []
        self._staircase: _Staircase | None = None
        self._room = 2 * k
        self.seen = 0
        self.peak = 0

    @property
    def held(self) -> int:
        """Entries in memory."""
        return sum(len(chunk.entry) for chunk in self._chunks)

    def offer(self, start: int, fisher: torch.Tensor, uniform: torch.Tensor, gradient: torch.Tensor) -> None:
        """Take in consecutive entries of the pool; each entry is offered once, in any order.

        Args:
            start: pool index of the first entry.
            fisher: F ``(entry,)``, finite and not negative.
            uniform: U ``(entry,)``.
            gradient: what ``finish`` returns for the selected entries ``(entry,)``.
        """
        self.seen += len(fisher)
        if self._normalizer == "max":
            self._norm = max(self._norm, float(fisher.max()))
        else:
            self._norm += float(fisher.sum(dtype=torch.float64)) / self._size
        entry = torch.arange(start, start + len(fisher), device=fisher.device)
        # Indexing by nonzero copies, so that the whole gradient is not kept alive by a view.
        candidates = _Candidates(entry, fisher, uniform, gradient)
        candidates = candidates.take(self._may_pass(candidates).nonzero().squeeze(1))
        self._chunks.append(candidates.take(self._passes(candidates)))
        self.peak = max(self.peak, self.held)
        if self.held > self._room:
            self._prune()
            self._room = 2 * self.held

    def finish(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Select, now that the norm is known.

        Returns:
            The k selected pool indices, ascending, and their gradients.

        Raises:
            ValueError: not every entry of the pool was offered.
        """
        if self.seen != self._size:
            raise ValueError(f"found {self.seen} entries offered, expected the whole pool of {self._size}")
        norm = max(self._norm, SMALLEST_NORM)
        candidates = self._gather()
        score = candidates.fisher.double() / norm + self._noise_weight * candidates.uniform.double()
        best = candidates.take(self._best(score, candidates.entry))
        best = best.take(best.entry.argsort())
        return best.entry, best.gradient

    def _gather(self) -> _Candidates:
        self._chunks = [_Candidates(*(torch.cat(columns) for columns in zip(*self._chunks, strict=True)))]
        return self._chunks[0]

    def _best(self, score: torch.Tensor, entry: torch.Tensor) -> torch.Tensor:
        """Positions of the k largest scores, of equal ones those with the lower index."""
        by_index = entry.argsort()
        return by_index[score[by_index].argsort(descending=True, stable=True)[: self._k]]

    def _score(self, candidates: _Candidates, norm: float) -> torch.Tensor:
        """Score times norm; without noise it is F itself, and no rounding can part equal entries."""
        if self._noise_weight == 0:
            return candidates.fisher.double()
        return candidates.fisher.double() + (self._noise_weight * norm) * candidates.uniform.double()

    def _may_pass(self, candidates: _Candidates) -> torch.Tensor:
        """A cheap necessary condition in float32: a score on the staircase, or noise above all of it."""
        if self._staircase is None:
            return torch.ones_like(candidates.entry, dtype=torch.bool)
        norm, score, uniform = self._staircase
        approximate = candidates.fisher.float().add(candidates.uniform, alpha=self._noise_weight * norm)
        lowest = float(score[0]) * _COARSE_MARGIN - _SMALLEST_FLOAT32
        highest = float(uniform[-1]) * _COARSE_MARGIN
        return (approximate >= lowest).logical_or_(candidates.uniform >= highest)

    def _passes(self, candidates: _Candidates) -> torch.Tensor:
        """Whether fewer than k known entries dominate each candidate."""
        if self._staircase is None:
            return torch.ones_like(candidates.entry, dtype=torch.bool)
        norm, score, uniform = self._staircase
        below = len(score) - torch.searchsorted(score, self._score(candidates, norm), right=True)
        return candidates.uniform >= uniform[below]

    def _prune(self) -> None:
        """Drop what k others dominate, and remember the thresholds for what is still to come."""
        candidates = self._gather()
        norm = max(self._norm, SMALLEST_NORM)
        score = self._score(candidates, norm)
        if self._noise_weight == 0:
            best = self._best(score, candidates.entry)
            self._chunks = [candidates.take(best)]
            never = torch.tensor([-torch.inf, torch.inf], device=score.device)
            self._staircase = _Staircase(norm, score[best].min().reshape(1), never)
            return
        ranked = score.argsort(descending=True)
        uniform = candidates.uniform[ranked]
        # Among the first `rank` entries by score, k have at least the k-th largest noise of them.
        ranks = list(range(self._k, len(ranked) + 1, max(1, self._k // 4, len(ranked) // _LEVELS)))
        largest, thresholds = uniform[: self._k], []
        for rank, following in zip(ranks, [*ranks[1:], len(ranked)], strict=True):
            thresholds.append(largest.min().double())
            largest = torch.cat([largest, uniform[rank:following]]).topk(self._k).values
        scores = score[ranked[torch.tensor(ranks, device=ranked.device) - 1]]
        anything = uniform.new_full((1,), -torch.inf, dtype=torch.float64)
        self._staircase = _Staircase(
            norm, scores.flip(0) * _MARGIN, torch.cat([anything, torch.stack(thresholds) * _MARGIN])
        )
        self._chunks = [candidates.take(self._passes(candidates))]
