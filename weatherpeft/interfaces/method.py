"""The socket of a parameter-efficient method: its spec, and what it attaches to a backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import torch

    from weatherpeft.interfaces.backbone import Backbone


@dataclass(frozen=True)
class TuningContext:
    """What a method may need to know when it is attached.

    Attributes:
        steps: optimizer steps of the whole run; 0 where the model only predicts.
        seed: of the run; every random choice of a method is a function of it.
        fisher: directory of the Fisher warm-up's Zarr store, or None where no method asks for it.
        accumulation: backward passes before each step, each of a loss divided by their number.
    """

    steps: int
    seed: int
    fisher: Path | None = None
    accumulation: int = 1


class Adapter(Protocol):
    """A method attached to a backbone.

    The trainer trains ``dense_parameters`` with AdamW and calls ``step`` once an optimizer step,
    after the backward pass. ``result`` is what the run keeps; ``load_result`` on a freshly attached
    adapter, on the same pretrained weights, gives the tuned model bit for bit.
    """

    def dense_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Own and backbone parameters that AdamW trains, by unique name."""

    def trainable_backbone(self) -> int:
        """The paper's count: parameters trained at a step, encoder and decoder left out."""

    def squared_gradient_norm(self) -> float:
        """Sum of squares of the gradients that ``step`` is about to use: clipping counts them in."""

    def scale_gradients(self, factor: float) -> None:
        """Multiply the gradients that ``step`` is about to use."""

    def step(self, step: int, learning_rate: float) -> None:
        """Update what AdamW does not, from the gradients of the last backward passes.

        Args:
            step: this step, from 0.
            learning_rate: of this step, by the schedule.
        """

    def result(self) -> dict[str, torch.Tensor]:
        """The tuned tensors, by unique name: enough to rebuild the tuned model on the pretrained one."""

    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put a saved result back."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Optimizer state beyond the result, to resume a killed run (tensors only)."""

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put a saved state back."""


class PeftMethod(Spec, ABC):
    """A parameter-efficient method, as its spec; a subclass narrows ``name`` and adds its hyperparameters."""

    name: str
    """Selects the method."""

    @property
    def needs_fisher(self) -> bool:
        """Whether the Fisher warm-up must run before."""
        return False

    @property
    def trains_everything(self) -> bool:
        """Whether it trains every backbone parameter, so that the report compares the others with it."""
        return False

    @property
    def takes_the_rest(self) -> bool:
        """Whether it works on what the others leave frozen, so that it must be the last of a list."""
        return False

    @property
    def takes(self) -> dict[str, bool]:
        """Parts of the backbone that no other method can have beside it, and whether it cannot do without.

        ``weights`` and ``biases`` are pretrained parameters that it trains, ``attentions`` and
        ``<name> layers`` modules that it changes. The first method of a list has a part. A list in which a
        later one needs it is refused.
        """
        return {}

    @abstractmethod
    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Attach to a model whose backbone is frozen; unfreeze what the method trains.

        Methods compose as a list and are attached in its order.
        """
