"""Low-rank adaptation (LoRA, arXiv 2106.09685), through Hugging Face peft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from weatherpeft.interfaces import PeftMethod

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Lora(PeftMethod):
    """Adds ``alpha / rank · B A`` to the weights of linear layers. B starts at zero.

    The defaults are those of the comparison in the WeatherPEFT paper (arXiv 2509.22020): rank 8 on ``qkv``
    and ``proj``, and the backbone's biases, which is 3.63 M parameters for Aurora. The paper does not state
    alpha. If alpha equals the rank, the product is not scaled.
    """

    name: Literal["lora"]
    """Selects this method."""
    rank: Annotated[int, Field(ge=1)] = 8
    """Rank of the update."""
    alpha: Annotated[float, Field(gt=0)] = 8.0
    """Numerator of the update's scale."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("qkv", "proj")
    """Last parts of the names of the linear layers to adapt; in Aurora also ``fc1`` and ``fc2``."""
    biases: bool = True
    """Whether the backbone's biases are trained too."""

    @property
    def takes(self) -> dict[str, bool]:
        """The target layers, which can be wrapped once, and the biases that are left."""
        layers = {f"{name} layers": True for name in self.targets}
        return layers | ({"biases": False} if self.biases else {})

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put the low-rank layers around the target layers.

        Raises:
            ValueError: a target is the name of no linear layer of the backbone.
        """
        from peft import LoraConfig

        from weatherpeft.peft.adapters.dense import DenseAdapter, frozen_backbone, is_bias
        from weatherpeft.peft.adapters.injection import inject, linear_layers

        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # used as a float throughout
            target_modules=linear_layers(model, self.targets),
        )
        parameters = inject(model, config, self.name, context.seed)
        if self.biases:
            parameters |= frozen_backbone(model, is_bias)
        return DenseAdapter(parameters)
