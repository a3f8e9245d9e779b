"""Scaling and shifting features (SSF, Lian et al. 2022, arXiv 2210.08823)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.biases import BiasedMethod

if TYPE_CHECKING:
    from torch.nn import Parameter

    from weatherpeft.interfaces import Adapter, Backbone, TuningContext
    from weatherpeft.interfaces.method import Merge

LINEAR = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
NORMS = ("norm1", "norm2")


class Ssf(BiasedMethod):
    """Scales and shifts each channel of what the linear layers and norms of the blocks return.

    As in the paper, the places are ``qkv``, ``proj``, ``fc1``, ``fc2`` and both norms of each block. In
    Aurora, a norm's output includes the modulation by the lead time. A block of width d has 22 d parameters,
    the blocks of Aurora have 1.31 M. The WeatherPEFT paper (arXiv 2509.22020) counts 3.92 M for SSF and does
    not say at which places; these places with the biases are 2.09 M.

    The paper draws the scales around 1 and the shifts around 0 with deviation 0.02. Here they start at 1 and
    0, so that the first step starts from the pretrained model. Both have gradients there.
    """

    name: Literal["ssf"]
    """Selects this method."""

    @property
    def takes(self) -> dict[str, bool]:
        """The linear layers of the blocks and the biases that are left."""
        names = [path.rpartition(".")[2] for path in LINEAR]
        return {**{f"{name} layers": True for name in names}, **super().takes}

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put a scale and a shift behind each of the layers.

        Raises:
            ValueError: a block of the backbone is of another kind than Aurora's.
        """
        from weatherpeft.peft.adapters.blocks import aurora_blocks, change_output
        from weatherpeft.peft.adapters.changes import ScaleShift, into_linear, into_norm

        parameters: dict[str, Parameter] = {}
        merge: dict[str, Merge] = {}
        for path, block in aurora_blocks(model, self.name).items():
            for name in LINEAR + NORMS:
                layer = block.get_submodule(name)
                change = ScaleShift(getattr(layer, "out_features", block.dim))
                parameters |= change_output(layer, f"{path}.{name}", self.name, change)
                into = partial(into_norm, layer.scale_bias) if name in NORMS else into_linear
                merge[f"backbone.{path}.{name}"] = partial(into, change)
        return self.adapter(model, parameters, merge)
