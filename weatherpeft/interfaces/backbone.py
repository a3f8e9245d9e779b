"""The socket of a backbone: its spec, and the model that the spec builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import torch

    from weatherpeft.fields.grid import Grid
    from weatherpeft.fields.variables import FieldSet
    from weatherpeft.interfaces.task import Task
    from weatherpeft.samples.batch import Batch, Fields


class BackboneSpec(Protocol):
    """The size of a weather foundation model, as it stands in a configuration."""

    @property
    def name(self) -> str:
        """The backbone's name in a configuration."""

    def check(self, grid: Grid, fields: FieldSet) -> None:
        """Whether the model can run on a grid with these fields, before any work starts.

        Raises:
            ValueError: naming the grid, or the kind of field that is missing.
        """

    def build(self, fields: FieldSet, task: Task, seed: int) -> Backbone:
        """A model with random weights that are a function of the seed.

        Args:
            fields: what the model sees.
            task: gives the lead time that the model is told and what it predicts: fields, the difference to
                its last input frame, or the distribution of an ensemble's targets.
            seed: of the initial weights.
        """


class Backbone(Protocol):
    """A weather foundation model, wrapped from outside: a ``torch.nn.Module``.

    In the paper's words ``encoder`` and ``decoder`` are trained in full by every method, and
    ``backbone`` is what lies between them: the pool of the parameter-efficient methods.
    """

    @property
    def encoder(self) -> torch.nn.Module:
        """From fields to tokens."""

    @property
    def decoder(self) -> torch.nn.Module:
        """From tokens to fields."""

    @property
    def backbone(self) -> torch.nn.Module:
        """Between them."""

    def __call__(self, batch: Batch) -> Fields:
        """Predict the fields of one time, in physical units.

        Returns:
            surface ``(batch, latitude, longitude)``, atmospheric ``(batch, level, latitude, longitude)``.
            A model that corrects an ensemble gives mean and, as ``<variable>_std``, standard deviation of
            the window's targets.
        """

    def complete_statistics(self, mean: Fields, scale: Fields) -> None:
        """Take the training data's mean and standard deviation of variables that it has none of its own of.

        Args:
            mean: of the measured variables, surface ``()``, atmospheric ``(level, 1, 1)``; of an ensemble's
                frames, which a model standardizes by them, ``(history, [level,] latitude, longitude)``.
            scale: likewise.
        """

    def backbone_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The pretrained parameters of ``backbone`` by name, as before any method was attached."""

    def attention_modules(self) -> dict[str, torch.nn.Module]:
        """The window attention of every block by its path below ``backbone``."""

    def embedding_weights(self) -> torch.Tensor:
        """Patch-embedding weights of the variables in use, ``(width, variable, history·patch·patch)``."""

    def load(self, path: Path) -> None:
        """Load a checkpoint in the upstream package's format.

        Raises:
            ValueError: naming the file and the weights that do not fit.
        """

    def save(self, path: Path) -> None:
        """Write the weights as a checkpoint in the upstream package's format, the same bytes each time."""

    def to(self, device: torch.device) -> Self:
        """See ``torch.nn.Module.to``."""

    def train(self, mode: bool = True) -> Self:
        """See ``torch.nn.Module.train``."""

    def eval(self) -> Self:
        """See ``torch.nn.Module.eval``."""

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """See ``torch.nn.Module.parameters``."""

    def named_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """See ``torch.nn.Module.named_parameters``."""
