"""The k best entries of a pool that arrives in pieces and whose norm is known only at the end."""

import torch

from weatherpeft.peft.sfas.candidates import Candidates, best
from weatherpeft.peft.sfas.noise import Noise
from weatherpeft.peft.sfas.normalizer import Normalizer
from weatherpeft.peft.sfas.skyband import Skyband


class Selection:
    """Exact streamed top-k of ``F / norm + w·U``, where the norm is a statistic of all F.

    Of equal scores, the lower index wins. Scores are compared in float64.
    """

    def __init__(
        self,
        k: int,
        size: int,
        noise_weight: float,
        normalizer: Normalizer,
        new: int | None = None,
        level: float | None = None,
    ) -> None:
        """Start an empty selection.

        Args:
            k: number of entries to select.
            size: number of entries in the pool.
            noise_weight: w, the weight of the noise.
            normalizer: gives the norm; it has seen no entry yet.
            new: largest number of new entries among the selected; any number by default.
            level: level that the noise of at least k entries of the pool reaches, if one is known.
        """
        self._k = k
        self._size = size
        self._normalizer = normalizer
        self._all_compete = new is None
        self._known = Skyband(k, noise_weight, level if new is None else None)
        self._new = Skyband(min(k, new), noise_weight) if new else None
        self.seen = 0

    @property
    def peak(self) -> int:
        """Largest number of candidates held at a time."""
        return self._known.peak + (self._new.peak if self._new else 0)

    def offer(
        self,
        start: int,
        fisher: torch.Tensor,
        gradient: torch.Tensor,
        noise: Noise | None = None,
        known: torch.Tensor | None = None,
    ) -> None:
        """Take in consecutive entries of the pool. Each entry is offered once; the pieces come in any order.

        Args:
            start: pool index of the first entry.
            fisher: F ``(entry,)``, not negative.
            gradient: gradient ``(entry,)``, which ``finish`` returns for the selected entries.
            noise: U of these entries; needed unless w is 0.
            known: whether each entry is not new ``(entry,)``; needed where the number of new ones is limited.

        Raises:
            FloatingPointError: F is not finite.
        """
        largest = float(fisher.max())
        if not largest < torch.inf:
            raise FloatingPointError(f"found Fisher information of {largest}")
        self.seen += len(fisher)
        fisher = self._normalizer.see(fisher, largest)
        bound = self._normalizer.bound
        if self._all_compete:
            self._known.offer(bound, start, fisher, gradient, noise)
            return
        assert known is not None
        self._known.offer(bound, start, fisher, gradient, noise, known)
        if self._new:
            self._new.offer(bound, start, fisher, gradient, noise, ~known)

    def finish(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Select, when all entries have been offered and the norm is known.

        Returns:
            The k selected pool indices, ascending, and their gradients.

        Raises:
            ValueError: an entry of the pool was not offered.
        """
        if self.seen != self._size:
            raise ValueError(f"found {self.seen} entries offered, expected the whole pool of {self._size}")
        found = [skyband.finish(self._normalizer) for skyband in (self._known, self._new) if skyband]
        score = torch.cat([scores for scores, _ in found])
        candidates = Candidates.join([part for _, part in found])
        chosen = candidates.take(best(score, candidates.entry, self._k))
        order = chosen.entry.argsort()
        return chosen.entry[order], chosen.gradient[order]
