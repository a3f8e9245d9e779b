"""A model whose training has a closed form, and its training by the loop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from weatherpeft.interfaces import Adapter, Backbone
from weatherpeft.peft.adapters.dense import DenseAdapter
from weatherpeft.samples.batch import Batch, Samples
from weatherpeft.training.best import Keep
from weatherpeft.training.loop import History, Loss, train
from weatherpeft.training.optimizer import Peaks
from weatherpeft.training.spec import Training


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


def training(steps: int, **changes: Any) -> Training:
    return Training.parse({"steps": steps, "learning_rate": 1e-2, **changes})


class Toy(nn.Module):
    """A matrix and a bias, whose loss is linear: its gradient is the same at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[2.0, -3.0], [0.5, 1.0]], dtype=torch.float64))
        self.bias = nn.Parameter(torch.tensor([4.0, -1.0], dtype=torch.float64))
        self.slopes = {
            "matrix": torch.tensor([[3.0, -1.0], [2.0, 0.5]], dtype=torch.float64),
            "bias": torch.tensor([-2.0, 7.0], dtype=torch.float64),
        }
        self.seen: dict[bool, list[tuple[Any, ...]]] = {True: [], False: []}

    def dense(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters())

    def loss(self, _: Any, batch: Batch) -> Tensor:
        """Remembers the times that it is shown in training and in validation."""
        self.seen[self.training].append(batch.times)
        return torch.stack([(self.slopes[name] * p).sum() for name, p in self.named_parameters()]).sum()


class Watch(DenseAdapter):
    """Trains nothing and looks at every step."""

    def __init__(self, look: Callable[[int, float], None]) -> None:
        super().__init__({})
        self._look = look

    def step(self, step: int, learning_rate: float) -> None:
        self._look(step, learning_rate)


def fit(
    model: Toy,
    samples: tuple[Samples, Samples],
    spec: Training,
    work: Path,
    *adapters: Adapter,
    dense: dict[str, nn.Parameter] | None = None,
    loss: Loss | None = None,
    seed: int = 0,
    peaks: Peaks | None = None,
    keep: Keep | None = None,
) -> History:
    """Train a toy on samples for training and for validation."""
    return train(
        cast(Backbone, model),
        model.dense() if dense is None else dense,
        adapters,
        *samples,
        loss or model.loss,
        spec,
        seed,
        work,
        peaks=peaks,
        keep=keep,
    )
