"""Linear probe, the lower bound for the other methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.interfaces import PeftMethod

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class LinearProbe(PeftMethod):
    """Trains no backbone parameter, only the encoder and the decoder, which other methods train too."""

    name: Literal["linear_probe"]
    """Selects this method."""

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Leave the backbone frozen."""
        from weatherpeft.peft.adapters.dense import DenseAdapter

        return DenseAdapter({})
