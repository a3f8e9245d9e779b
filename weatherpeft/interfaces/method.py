"""The socket of a parameter-efficient method: its spec, and what it attaches to a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from weatherpeft.spec import Positive, Spec

if TYPE_CHECKING:
    import peft
    import torch

    from weatherpeft.interfaces.backbone import Backbone

End = Literal["encoder", "decoder"]
"""A part of a model beside its backbone."""
Merge: TypeAlias = "Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]"
"""From the tensors of a pretrained layer, by name, to those that make it compute what a changed one does."""


@dataclass(frozen=True)
class TuningContext:
    """What a method may need to know when it is attached.

    Attributes:
        steps: optimizer steps of the whole run; 0 where the model only predicts.
        seed: seed of the run, on which every random choice of a method depends.
        fisher: directory of the Fisher warm-up's Zarr store; None if no method needs it.
        accumulation: number of backward passes before each step. Each is of a loss divided by their number.
        weight_decay: the training's decoupled weight decay of matrices.
        betas: the training's decay rates of first and second moments.
    """

    steps: int
    seed: int
    fisher: Path | None = None
    accumulation: int = 1
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)


class Adapter(Protocol):
    """A method attached to a backbone.

    The trainer trains ``dense_parameters`` with AdamW. It calls ``step`` once per optimizer step, after the
    backward pass. ``result`` is what the run keeps. ``load_result`` on a freshly attached adapter, on the
    same pretrained weights, gives the tuned model bit for bit.
    """

    def dense_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Parameters of the method and of the model that AdamW trains, by unique name."""

    def trainable_backbone(self) -> int:
        """Number of parameters trained at a step without encoder and decoder, as the paper counts them."""

    @property
    def touched(self) -> int:
        """Number of parameters between encoder and decoder that the steps so far have trained.

        A method that trains others at each step touches more than ``trainable_backbone``.
        """

    def updates(self) -> dict[str, torch.Tensor]:
        """How often a step has updated an entry of a pretrained parameter, in equal parts of the run.

        Returns:
            Counts ``(part,)`` int64 by parameter; empty where all steps train the same parameters.
        """

    def squared_gradient_norm(self) -> float:
        """Sum of squares of the gradients that ``step`` is about to use, which clipping includes."""

    def scale_gradients(self, factor: float) -> None:
        """Multiply the gradients that ``step`` is about to use by a factor."""

    def step(self, step: int, learning_rate: float) -> None:
        """Update the parameters that AdamW does not train, from the gradients of the last backward passes.

        Args:
            step: number of this step, from 0.
            learning_rate: learning rate of this step by the schedule.

        Raises:
            FloatingPointError: a gradient is not finite.
        """

    def result(self) -> dict[str, torch.Tensor]:
        """The tuned tensors by unique name, which rebuild the tuned model from the pretrained one."""

    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put a saved result back."""

    def merge(self) -> dict[str, Merge]:
        """How the layers that the method has changed become pretrained layers with other tensors.

        The model stays as it is. Of a method that has a reason in ``kept_apart``, nobody asks this.

        Returns:
            A function for each layer, by its path in the model, for example ``backbone.<path>``. Empty where
            the steps change pretrained parameters alone.
        """

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Optimizer state in addition to the result, as tensors, to resume a killed run."""

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a saved state back."""


class PeftMethod(Spec, ABC):
    """The spec of a parameter-efficient method; a subclass narrows ``name`` and adds its hyperparameters."""

    name: str
    """Selects this method."""
    learning_rate: Positive | None = None
    """Peak learning rate of what the method trains in the backbone, or of its new heads; by default the
    experiment's."""

    def peak(self, default: float, parameter: str = "") -> float:
        """Peak learning rate of one of the method's parameters.

        Args:
            default: peak of the experiment.
            parameter: name of a dense parameter; empty for what the adapter's ``step`` updates.
        """
        return self.learning_rate or default

    @property
    def needs_fisher(self) -> bool:
        """Whether the Fisher warm-up must run before the training."""
        return False

    @property
    def trains_everything(self) -> bool:
        """Whether the method trains all backbone parameters, so that the report compares others with it."""
        return False

    @property
    def takes_the_rest(self) -> bool:
        """Whether the method works on what the others leave frozen, so that it must be the last of a list."""
        return False

    @property
    def kept_apart(self) -> str | None:
        """Why what the method trains cannot become part of the pretrained tensors; None where it can."""
        return None

    @property
    def frozen_ends(self) -> tuple[End, ...]:
        """Ends whose pretrained parameters stay as they are; the trainer trains every other end in full.

        Other methods train the ends, so a method that freezes one stands alone.
        """
        return ()

    @property
    def takes(self) -> dict[str, bool]:
        """Parts of the backbone that only one method can have, and whether this method needs each of them.

        ``weights`` and ``biases`` are pretrained parameters that it trains. ``attentions``,
        ``MLPs``, ``blocks`` and ``<name> layers`` are modules that it changes. The first method of a list
        that takes a part has it. The list is refused if a later method needs the part.
        """
        return {}

    def peft_config(self, model: Backbone, context: TuningContext) -> peft.PeftConfig | None:
        """The configuration with which Hugging Face peft makes the same layers; None if it cannot.

        Args:
            model: model before any method is attached, at least its shapes.
            context: what the method may need to know of the run.
        """
        return None

    @abstractmethod
    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Attach the method to a model whose backbone is frozen, and unfreeze what the method trains.

        Methods compose as a list and are attached in its order.

        Args:
            model: model that is changed in place.
            context: what the method may need to know of the run.
        """
