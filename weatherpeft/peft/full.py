"""Full tuning, the upper bound for the other methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.interfaces import PeftMethod

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Full(PeftMethod):
    """Trains every backbone parameter."""

    name: Literal["full"]
    """Selects this method."""

    @property
    def trains_everything(self) -> bool:
        """Yes."""
        return True

    @property
    def takes(self) -> dict[str, bool]:
        """Every pretrained parameter that is left."""
        return {"weights": True, "biases": False}

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Unfreeze the backbone.

        Raises:
            ValueError: no parameter of it is frozen.
        """
        from weatherpeft.peft.adapters.dense import DenseAdapter, frozen_backbone

        parameters = frozen_backbone(model)
        if not parameters:
            raise ValueError("full: found no frozen parameter in the backbone, expected all of them")
        return DenseAdapter(parameters)
