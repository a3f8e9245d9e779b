"""What the low-rank methods have in common; light, since specs extend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from weatherpeft.peft.adapters.biases import BiasedMethod
from weatherpeft.spec import Positive, Size

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch.nn import Module

    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class LowRank(BiasedMethod):
    """Adds ``alpha / rank · B A`` to the weights of linear layers. B starts at zero."""

    rank: Size = 8
    """Rank of the update."""
    alpha: Positive = 8.0
    """Numerator of the update's scale."""
    targets: Annotated[tuple[str, ...], Field(min_length=1)] = ("qkv", "proj")
    """Last parts of the names of the linear layers to adapt: in Aurora ``qkv`` and ``proj`` for the
    attention, with ``fc1`` and ``fc2`` for all linear layers of a block."""

    @property
    def takes(self) -> dict[str, bool]:
        """The target layers, which can be wrapped once, and the biases that are left."""
        return {**{f"{name} layers": True for name in self.targets}, **super().takes}

    @property
    def decomposed(self) -> bool:
        """Whether magnitude and direction of the weights are trained apart (DoRA)."""
        return False

    def peft_config(self, model: Backbone, context: TuningContext) -> LoraConfig | None:
        """The configuration of the low-rank layers (see ``PeftMethod.peft_config``)."""
        return self._config(model)

    def _config(self, model: Backbone) -> LoraConfig:
        from peft import LoraConfig

        from weatherpeft.peft.adapters.injection import linear_layers

        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # used as a float throughout
            target_modules=linear_layers(model, self.targets),
            use_dora=self.decomposed,
        )

    def attach_low_rank(
        self, model: Backbone, context: TuningContext, layer: type[Module] | None = None
    ) -> Adapter:
        """Put the low-rank layers around the target layers.

        Args:
            model: model that the method is attached to.
            context: gives the seed of A.
            layer: layer of peft that takes the place of peft's own.

        Raises:
            ValueError: a target is the name of no linear layer of the backbone.
        """
        from torch.nn import Linear

        from weatherpeft.peft.adapters.injection import inject, linear_layers, merges

        config, layers = self._config(model), linear_layers(model, self.targets)
        if layer is not None:
            config._register_custom_module({Linear: layer})
        parameters = inject(model, config, self.name, context.seed)
        return self.adapter(model, parameters, merges(model, layers))
