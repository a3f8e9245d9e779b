"""What entries are selected by: one function of the entries for each ``score`` of SFAS.

A score is computed from consecutive entries of one parameter at a time. It is at least zero, and the k
entries with the largest scores are selected. All ranks compute the same scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from weatherpeft.peft.sfas.fisher_store import read_fisher, read_mean_gradient
from weatherpeft.peft.sfas.noise import Noise
from weatherpeft.peft.sfas.smoothed_fisher import SmoothedFisher
from weatherpeft.peft.sfas.spec import ScoreName


class Entries(NamedTuple):
    """Consecutive entries of a parameter, all tensors ``(entry,)``.

    Attributes:
        name: name of the parameter.
        chunk: position of the entries in the flattened parameter.
        weight: their values.
        gradient: gradient of the batch's loss, a mean over the ranks.
        square: mean of the squared gradients of the samples; None if the score does not need it.
        noise: uniform numbers of this step; None if neither the score nor the selection needs them.
    """

    name: str
    chunk: slice
    weight: torch.Tensor
    gradient: torch.Tensor
    square: torch.Tensor | None
    noise: Noise | None


Score = Callable[[Entries], torch.Tensor]
"""Maps entries to their scores ``(entry,)``."""


def batch_fisher(entries: Entries) -> torch.Tensor:
    """F̂ = (1/N) Σ_j g_j², the diagonal empirical Fisher information of the batch's N samples."""
    assert entries.square is not None
    return entries.square


def magnitude(entries: Entries) -> torch.Tensor:
    """|θ|, which is that of the pretrained weights as long as no step has been made."""
    return entries.weight.abs()


def gradient(entries: Entries) -> torch.Tensor:
    """|g| of the batch's loss, the size of the mean gradient. Its square gives the same order."""
    return entries.gradient.abs()


def uniform(entries: Entries) -> torch.Tensor:
    """U from [0, 1), a function of seed, step and entry. The k largest are a random subset of size k.

    ``child_tuning_f`` draws it anew at every selection. Child-Tuning_F (Xu et al., EMNLP 2021,
    arXiv:2109.05687) draws a Bernoulli mask with a given share at every step. Here the share is k of the
    pool, and exactly k entries are drawn. The paper also divides the gradients by the share. AdamW makes the
    same step without this factor, which is left out.
    """
    assert entries.noise
    return entries.noise.values()


def warm_up(name: ScoreName, store: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """What a score starts from, by parameter: F of the Fisher warm-up, or for ``second_order`` its |g|.

    ``second_order`` is the Second-order Approximation Method of Fu et al. (AAAI 2023, arXiv:2211.15583). They
    expand the loss around the pretrained weights with a diagonal Hessian matrix h. The best change of entry i
    alone lowers the loss by ½·g_i²/h_i, so the best mask holds the k largest |g_i²/h_i|. Because h is costly,
    they replace all h_i by one upper bound, the largest eigenvalue of the Hessian matrix. So the mask holds
    the k largest g_i², and it is fixed before the training. Nothing of second order is left.

    The published code adds up the gradients of the first batches, 600 of 16 samples in its example, without a
    step. It then takes the same share of every parameter tensor. Here g is the mean gradient of the warm-up's
    samples, and all entries compete.

    Args:
        name: name of the score.
        store: the Fisher warm-up's store.
    """
    if name == "second_order":
        return ((parameter, values.abs()) for parameter, values in read_mean_gradient(store))
    return read_fisher(store)


def new_score(name: ScoreName, remembered: SmoothedFisher | None) -> Score:
    """The function of a score.

    ``child_tuning_d`` is Child-Tuning_D (Xu et al., EMNLP 2021, arXiv:2109.05687). The entries with the
    largest F̂ of the pretrained model, here that of the Fisher warm-up, are trained in the whole run.

    Args:
        name: name of the score.
        remembered: Fisher information that the run remembers, or for ``second_order`` the size of the mean
            gradient, if there is any.
    """
    if remembered:
        return lambda entries: remembered.smooth(entries.name, entries.chunk, entries.square)
    if name == "magnitude":
        return magnitude
    if name == "gradient":
        return gradient
    return uniform if name in ("random", "child_tuning_f") else batch_fisher
