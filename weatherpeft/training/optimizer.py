"""AdamW of a training, and its learning rates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from weatherpeft.training.spec import Training


def learning_rate(training: Training, step: int, peak: float | None = None) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then cosine to 0.

    Args:
        training: schedule.
        step: number of the step.
        peak: largest learning rate; by default the training's.

    >>> training = Training(steps=10, learning_rate=1.0, warmup_steps=2)
    >>> [round(learning_rate(training, step), 3) for step in (0, 1, 2, 6, 9)]
    [0.5, 1.0, 1.0, 0.5, 0.038]
    """
    peak = training.learning_rate if peak is None else peak
    if step < training.warmup_steps:
        return peak * (step + 1) / training.warmup_steps
    progress = (step - training.warmup_steps) / (training.steps - training.warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Peaks:
    """Peak learning rates of a training, where they are not the training's own.

    Attributes:
        dense: of parameters that AdamW trains, by name.
        adapters: of what the adapters' steps update, in their order.
    """

    dense: Mapping[str, float] = field(default_factory=dict)
    adapters: Sequence[float] = ()


def parameter_groups(
    dense: Mapping[str, nn.Parameter], training: Training, peaks: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A group of an optimizer for every peak learning rate, with weight decay for matrices alone.

    Args:
        dense: parameters by name.
        training: gives weight decay, betas and the peak of parameters that have none of their own.
        peaks: peak learning rates by name; the groups hold them as ``peak``.
    """
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in dense.items():
        key = (parameter.ndim <= 1, peaks.get(name, training.learning_rate))
        members.setdefault(key, []).append(parameter)
    return [
        {
            "params": members[key],
            "lr": key[1],
            "weight_decay": 0.0 if key[0] else training.weight_decay,
            "peak": key[1],
        }
        for key in sorted(members)
    ]


def optimizer_of(
    dense: Mapping[str, nn.Parameter], training: Training, peaks: Mapping[str, float]
) -> torch.optim.AdamW:
    """AdamW on the groups of ``parameter_groups``, which has the same arguments."""
    return torch.optim.AdamW(parameter_groups(dense, training, peaks), betas=training.betas)
