"""The socket of a backbone: its spec, and the model that the spec builds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import torch

    from weatherpeft.fields.grid import Grid
    from weatherpeft.fields.variables import FieldSet
    from weatherpeft.interfaces.task import Task
    from weatherpeft.samples.batch import Batch, Fields


class BackboneSpec(Protocol):
    """The spec of a weather foundation model in a configuration."""

    @property
    def name(self) -> str:
        """The backbone's name in a configuration."""

    def check(self, grid: Grid, fields: FieldSet, lead_hours: Sequence[int] = ()) -> None:
        """Check before any work starts that the model can run on a grid with some fields.

        Args:
            grid: grid of the model.
            fields: variables that the model sees and declared placeholders.
            lead_hours: lead times in hours that the model is told.

        Raises:
            ValueError: the grid or a lead time does not fit or a kind of field is missing. The message says
                which.
        """

    def nearest(self, grid: Grid) -> tuple[Grid | None, Grid | None]:
        """The parts of the globe nearest to a grid that the model can run on.

        Args:
            grid: a grid or a part of it.

        Returns:
            The largest part inside the grid and the smallest one around it; None where there is none.
        """

    def build(self, fields: FieldSet, task: Task, seed: int) -> Backbone:
        """A model with random weights, which depend on the seed alone.

        Args:
            fields: variables that the model sees and declared placeholders.
            task: task with the model's lead time and its kind of prediction: fields, the difference to its
                last input frame, or the distribution of an ensemble's targets.
            seed: seed of the initial weights.
        """


class Backbone(Protocol):
    """A weather foundation model, wrapped from outside: a ``torch.nn.Module``.

    As in the paper, ``encoder`` and ``decoder`` are trained in full, unless a method freezes them.
    ``backbone`` is the part between them, which is the pool of the parameter-efficient methods.
    """

    @property
    def encoder(self) -> torch.nn.Module:
        """From fields to tokens."""

    @property
    def decoder(self) -> torch.nn.Module:
        """From tokens to fields."""

    @property
    def backbone(self) -> torch.nn.Module:
        """The part between encoder and decoder."""

    def __call__(self, batch: Batch) -> Fields:
        """Predict the fields of one time, in physical units.

        Args:
            batch: samples with inputs on the model's grid.

        Returns:
            Surface ``(batch, latitude, longitude)``, atmospheric ``(batch, level, latitude, longitude)``. A
            model that corrects an ensemble returns mean and, as ``<variable>_std``, standard deviation of the
            window's targets.
        """

    def complete_statistics(self, mean: Fields, scale: Fields) -> None:
        """Take the statistics of the training data for variables of which the model has none of its own.

        Args:
            mean: means of the measured variables, surface ``()``, atmospheric ``(level, 1, 1)``. A model that
                corrects an ensemble gets the means of its frames, ``(history, [level,] latitude,
                longitude)``, and standardizes the frames by them.
            scale: standard deviations in the shapes of ``mean``.
        """

    def backbone_parameters(self) -> dict[str, torch.nn.Parameter]:
        """The pretrained parameters of ``backbone`` by name, as they were before any method was attached."""

    def checkpoint(self) -> dict[str, torch.Tensor]:
        """The tensors of a checkpoint by name, without what methods have added; not copies."""

    @property
    def kept_apart(self) -> str | None:
        """Why no model of the upstream package computes the same from a checkpoint; None where one does."""

    def loading(self, path: Path) -> str:
        """Lines of Python that build the upstream package's model and load a checkpoint of this one into it.

        Args:
            path: file with what ``checkpoint`` gives, or with other tensors in this form.
        """

    def attention_modules(self) -> dict[str, torch.nn.Module]:
        """The window attention of every block by its path below ``backbone``."""

    def heads(self) -> dict[str, torch.nn.Linear]:
        """The linear layers that make the output variables of a patch, by their paths below ``decoder``."""

    @property
    def head_deviation(self) -> float:
        """Standard deviation of the weights that heads start from."""

    def embedding_weights(self) -> torch.Tensor:
        """Patch-embedding weights of the variables in use, ``(width, variable, history · patch · patch)``."""

    def load(self, path: Path) -> None:
        """Load a checkpoint in the upstream package's format.

        Of a model on the meta device only the shapes are compared.

        Raises:
            ValueError: weights do not fit. The message names them and the file.
        """

    def save(self, path: Path, tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        """Write a checkpoint in the upstream package's format, always with the same bytes.

        Args:
            path: file.
            tensors: what to write, in the form of ``checkpoint``, which is the default.
        """

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
