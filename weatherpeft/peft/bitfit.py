"""BitFit (Ben Zaken et al. 2022, arXiv 2106.10199): the biases alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.interfaces import PeftMethod

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class BitFit(PeftMethod):
    """Trains the biases of the backbone's linear layers and norms: 780,800 parameters of Aurora."""

    name: Literal["bitfit"]
    """Selects this method."""

    @property
    def takes(self) -> dict[str, bool]:
        """The biases, without which nothing is left to train."""
        return {"biases": True}

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Unfreeze the biases.

        Raises:
            ValueError: no bias is frozen.
        """
        from weatherpeft.peft.adapters.dense import DenseAdapter, frozen_backbone, is_bias

        parameters = frozen_backbone(model, is_bias)
        if not parameters:
            raise ValueError("bitfit: found no frozen bias in the backbone, expected some")
        return DenseAdapter(parameters)
