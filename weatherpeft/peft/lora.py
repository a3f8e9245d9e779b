"""Low-rank adaptation (LoRA, Hu et al. 2021, arXiv 2106.09685), through Hugging Face peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.low_rank import LowRank

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Lora(LowRank):
    """Adds ``alpha / rank · B A`` to the weights of linear layers. B starts at zero.

    The defaults are those of the comparison in the WeatherPEFT paper (arXiv 2509.22020): rank 8 on ``qkv``
    and ``proj``, and the backbone's biases, which is 3.63 M parameters for Aurora. The paper does not state
    alpha. If alpha equals the rank, the product is not scaled.
    """

    name: Literal["lora"]
    """Selects this method."""

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put the low-rank layers around the target layers (see ``LowRank.attach_low_rank``)."""
        return self.attach_low_rank(model, context)
