"""The k best entries of a pool that streams by, whose normalizer is known only at its end."""

import torch

from weatherpeft.peft.sfas.candidates import Candidates, best
from weatherpeft.peft.sfas.noise import Noise
from weatherpeft.peft.sfas.normalizer import Normalizer
from weatherpeft.peft.sfas.skyband import Skyband


class Selection:
    """Exact streamed top-k of ``F / norm + w·U``, the norm a statistic of all F.

    Equal scores are decided in favor of the lower index. Scores are compared in float64.
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
            k: entries to select.
            size: entries of the whole pool.
            noise_weight: w, of the noise beside the normalized Fisher information.
            normalizer: one that has seen nothing; gives the norm.
            new: how many of the selected may be new entries; any number by default.
            level: one that the noise of at least k entries of the pool reaches, if one is known.
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
        """Most candidates held at a time."""
        return self._known.peak + (self._new.peak if self._new else 0)

    def offer(
        self,
        start: int,
        fisher: torch.Tensor,
        gradient: torch.Tensor,
        noise: Noise | None = None,
        known: torch.Tensor | None = None,
    ) -> None:
        """Take in consecutive entries of the pool; each entry is offered once, in any order.

        Args:
            start: pool index of the first entry.
            fisher: F ``(entry,)``, not negative.
            gradient: what ``finish`` returns for the selected entries ``(entry,)``.
            noise: U of these entries, where w is not 0.
            known: which entries are not new ``(entry,)``, where the number of new ones is limited.

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
        """Select, now that the norm is known.

        Returns:
            The k selected pool indices, ascending, and their gradients.

        Raises:
            ValueError: not every entry of the pool was offered.
        """
        if self.seen != self._size:
            raise ValueError(f"found {self.seen} entries offered, expected the whole pool of {self._size}")
        found = [skyband.finish(self._normalizer) for skyband in (self._known, self._new) if skyband]
        score = torch.cat([scores for scores, _ in found])
        candidates = Candidates.join([part for _, part in found])
        chosen = candidates.take(best(score, candidates.entry, self._k))
        order = chosen.entry.argsort()
        return chosen.entry[order], chosen.gradient[order]
