"""The entries that may be among the k best, whatever value the norm takes."""

import math
from typing import NamedTuple

import torch

from weatherpeft.peft.sfas.candidates import MANY_BLOCKS, Candidates, best, entries, largest, reaching
from weatherpeft.peft.sfas.noise import Noise
from weatherpeft.peft.sfas.normalizer import SMALLEST_NORM, Normalizer

_MARGIN = 1 - 1e-12
"""Factor that lowers thresholds by more than float64 rounds, so that rounding never drops an entry."""
_COARSE_MARGIN = 1 - 1e-5
"""The same factor for float32."""
_SMALLEST_FLOAT32 = 1e-37
"""Value below which float32 loses precision."""
_LARGEST_RATIO = 1e30
"""Ratio of a score to a noise above which float32 may overflow."""
_SPARSE = 8
"""Every so-many-th entry is counted to choose a condition."""
_RISE = 1.1
"""Rise of the norm's bound after which a condition is chosen anew."""
_ROOM = 2
"""Multiple of k up to which candidates are collected before a cut."""
_ROOM_WITHOUT_NOISE = 1.25
"""The same without noise, where a cut leaves k candidates; the first cut comes at k."""
_SAMPLE = 2**14
"""Number of candidates from which the thresholds of a cut are guessed."""
_SPACING = 1.2
"""Ratio of the ranks of two thresholds. Closer thresholds drop more candidates and cost more time."""


class _Staircase(NamedTuple):
    """What an entry must reach to be among the k best for some norm of at least ``norm``.

    Attributes:
        norm: lower bound of the norm for which the steps hold.
        score: levels of the score ``(level,)``, ascending.
        uniform: levels of the noise ``(level + 1,)``. If the score of an entry is below n levels, k others
            dominate the entry unless its noise reaches ``uniform[n]``.
    """

    norm: float
    score: torch.Tensor
    uniform: torch.Tensor


class _Step(NamedTuple):
    """A necessary condition: ``F + slope·U`` reaches ``score``, or ``U`` reaches ``uniform``."""

    slope: float
    score: float
    uniform: float


class Skyband:
    """Candidates for the k best by ``F / norm + w·U`` while only a lower bound of the norm is known.

    A score times the norm is linear in the norm: ``F + w·norm·U``. Let a be the bound so far. An entry is
    out for good as soon as k other entries have both ``F + w·a·U`` and ``U`` no smaller than its own. If F
    and U are independent, about k·(1 + ln(N/k)) of N entries are left. The same holds for ranks, which never
    decrease with F, with a bound of zero.

    Where the noise outweighs F, most entries are out before k others have come. Let u be a level that the
    noise of k of all entries reaches. F is not negative, so k entries will score at least ``w·u``.
    """

    def __init__(self, k: int, noise_weight: float, level: float | None = None) -> None:
        """Start without candidates.

        Args:
            k: number of entries to find.
            noise_weight: w, the weight of the noise.
            level: u, if it is known.
        """
        self._k = k
        self._noise_weight = noise_weight
        self._level = level if noise_weight else None
        self._chunks: list[Candidates] = []
        self._staircase: _Staircase | None = None
        self._step: _Step | None = None
        self._norm = 0.0
        self._room = _ROOM * k if noise_weight else k - 1
        self.held = 0
        self.peak = 0

    def offer(
        self,
        bound: float,
        start: int,
        fisher: torch.Tensor,
        gradient: torch.Tensor,
        noise: Noise | None = None,
        among: torch.Tensor | None = None,
    ) -> None:
        """Take in consecutive entries of the pool.

        Args:
            bound: lower bound of the norm.
            start: pool index of the first entry.
            fisher: F ``(entry,)``.
            gradient: gradient ``(entry,)``, which is kept with F.
            noise: U of these entries; needed unless w is 0.
            among: whether each entry competes ``(entry,)``; all by default.
        """
        norm = max(bound, SMALLEST_NORM)
        if norm > self._norm * _RISE:
            some = torch.arange(0, len(fisher), _SPARSE, device=fisher.device)
            self._step = self._best_step(fisher[some], self._noise_at(noise, some), norm)
        position, uniform = self._may_pass(fisher, noise, among is None)
        if among is not None:
            which = among[position]
            position, uniform = position[which], uniform[which]
        # Indexing copies, so that the whole gradient is not kept alive by a view.
        candidates = Candidates(position + start, fisher[position], uniform, gradient[position])
        if self._noise_weight and self._staircase:
            candidates = candidates.take(self._passes(candidates, self._staircase))
        self._chunks.append(candidates)
        self.held += len(candidates.entry)
        self.peak = max(self.peak, self.held)
        if self.held > self._room:
            self._cut(norm)
            room = max(_ROOM * self._k, 2 * self.held)
            self._room = room if self._noise_weight else round(_ROOM_WITHOUT_NOISE * self._k)

    def finish(self, normalizer: Normalizer) -> tuple[torch.Tensor, Candidates]:
        """The k best with their scores, or all if there are fewer, when the norm is known.

        Raises:
            RuntimeError: the noise of fewer than k entries reaches the level.
        """
        candidates = Candidates.join(self._chunks)
        score = normalizer.normalize(candidates.fisher) + self._noise_weight * candidates.uniform.double()
        chosen = best(score, candidates.entry, self._k)
        if self._level is not None and (
            len(chosen) < self._k or float(score[chosen].min()) < self._noise_weight * self._level
        ):
            raise RuntimeError(f"the noise of fewer than {self._k} entries reaches {self._level}")
        return score[chosen], candidates.take(chosen)

    def _score(self, candidates: Candidates, norm: float) -> torch.Tensor:
        """Score times norm. Without noise it is F itself, so that rounding cannot separate equal entries."""
        if self._noise_weight == 0:
            return candidates.fisher
        return candidates.fisher.double() + (self._noise_weight * norm) * candidates.uniform.double()

    def _noise_at(self, noise: Noise | None, position: torch.Tensor) -> torch.Tensor:
        """U of some entries; zeros without noise."""
        if self._noise_weight == 0:
            return torch.zeros(len(position), device=position.device)
        assert noise
        return noise.at(position)

    def _may_pass(
        self, fisher: torch.Tensor, noise: Noise | None, all_compete: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of the entries that meet the cheap necessary condition, and their U.

        Blocks are searched first: F and U of their entries do not exceed those of the block.
        """
        if self._step is None or self._noise_weight == 0:
            if self._step:
                position = reaching(fisher, self._step.score)
            elif self._noise_weight == 0 and all_compete and len(fisher) > self._k:
                position = reaching(fisher, float(fisher.topk(self._k, sorted=False).values.min()))
            else:
                position = torch.arange(len(fisher), device=fisher.device)
            return position, self._noise_at(noise, position)
        assert noise
        near = self._reached(largest(fisher), noise.largest)
        if int(near.sum()) > MANY_BLOCKS * len(near):
            uniform = noise.values()
            position = self._reached(fisher, uniform).nonzero().squeeze(1)
            return position, uniform[position]
        position = entries(near, len(fisher))
        uniform = noise.at(position)
        which = self._reached(fisher[position], uniform)
        return position[which], uniform[which]

    def _reached(self, fisher: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Whether each entry meets the cheap necessary condition."""
        assert self._step
        slope, score, reach = self._step
        return (torch.add(fisher, uniform, alpha=slope) >= score).logical_or_(uniform >= reach)

    def _best_step(self, fisher: torch.Tensor, uniform: torch.Tensor, norm: float) -> _Step | None:
        """The known condition that the fewest of some entries meet; each of the conditions is necessary."""
        self._norm = norm
        steps = []
        if self._level is not None:
            slope = self._noise_weight * norm
            steps.append(_Step(slope, slope * self._level, self._level))
        if self._staircase is not None:
            slope = self._noise_weight * self._staircase.norm
            levels = self._staircase.score.tolist(), self._staircase.uniform.flip(0).tolist()
            steps += [_Step(slope, score, reach) for score, reach in zip(*levels, strict=False)]
        usable, passing = [], []
        for slope, score, reach in steps:
            score, reach = score * _COARSE_MARGIN - _SMALLEST_FLOAT32, reach * _COARSE_MARGIN
            if _SMALLEST_FLOAT32 < score < reach * _LARGEST_RATIO:
                reached = torch.add(fisher, uniform, alpha=slope)
                passing.append(int(((reached >= score) | (uniform >= reach)).sum()))
                usable.append(_Step(slope, score, reach))
        return usable[passing.index(min(passing))] if usable else None

    def _passes(self, candidates: Candidates, staircase: _Staircase) -> torch.Tensor:
        """Positions of the candidates that fewer than k known entries dominate."""
        norm, score, uniform = staircase
        below = len(score) - torch.searchsorted(score, self._score(candidates, norm), right=True)
        return (candidates.uniform >= uniform[below]).nonzero().squeeze(1)

    def _cut(self, norm: float) -> None:
        """Drop candidates that k others dominate, and keep the thresholds for the entries still to come."""
        candidates = Candidates.join(self._chunks)
        self._chunks = []
        score = self._score(candidates, norm)
        if self._noise_weight == 0:
            if len(score) > self._k:
                candidates = candidates.take(best(score, candidates.entry, self._k))
            never = torch.tensor([-torch.inf, torch.inf], device=score.device)
            self._staircase = _Staircase(norm, candidates.fisher.min().double().reshape(1), never)
        else:
            self._staircase = self._stairs(score, candidates.uniform, norm)
        self._step = self._best_step(candidates.fisher[::_SPARSE], candidates.uniform[::_SPARSE], norm)
        if self._noise_weight:
            if self._step:
                candidates = candidates.take(self._reached(candidates.fisher, candidates.uniform))
            candidates = candidates.take(self._passes(candidates, self._staircase))
        self._chunks, self.held = [candidates], len(candidates.entry)
        self._norm = 0.0  # choose anew for the entries to come

    def _stairs(self, score: torch.Tensor, uniform: torch.Tensor, norm: float) -> _Staircase:
        """Pairs of a score and a noise such that k candidates reach both.

        The pairs are guessed from a part of the candidates and counted on all of them, without sorting.
        """
        every = max(1, len(score) // _SAMPLE)
        ranked, order = score[::every].sort(descending=True)
        noise = uniform[::every][order]
        share = self._k / every
        needed = self._k if every == 1 else math.ceil(share + 3 * share**0.5)
        scores: list[torch.Tensor] = []
        uniforms: list[torch.Tensor] = []
        while not scores and needed <= len(ranked):
            rank = len(ranked)
            while rank >= needed:
                level = ranked[rank - 1] * _MARGIN
                reach = noise[:rank].topk(needed, sorted=False).values.min().double() * _MARGIN
                if int(((score >= level) & (uniform >= reach)).sum()) >= self._k:
                    scores.append(level)
                    uniforms.append(reach)
                rank = int(rank / _SPACING)
            needed *= 2  # the part was not like the rest
        empty = score.new_empty(0)
        anything = score.new_full((1,), -torch.inf)
        return _Staircase(
            norm,
            torch.stack(scores) if scores else empty,
            torch.cat([anything, torch.stack(uniforms).flip(0)]) if uniforms else anything,
        )
