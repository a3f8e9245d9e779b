"""AdaptFormer (Chen et al. 2022, arXiv 2205.13535): a bottleneck beside the MLP of each block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.biases import BiasedMethod
from weatherpeft.spec import Positive, Size

if TYPE_CHECKING:
    from torch.nn import Parameter

    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class AdaptFormer(BiasedMethod):
    """Adds ``scale · up(relu(down(x)))`` to what each block's MLP makes of its input x.

    The defaults are those of the paper. The blocks of its transformers have the norm before the MLP and add
    the bottleneck behind the MLP. Aurora's blocks have the norm after the MLP, so the norm is taken of the
    sum. As in the paper, ``up`` starts at zero, so that the method starts as the identity. A block of width d
    has 2 · ``bottleneck`` · d + ``bottleneck`` + d parameters: 7.66 M in the blocks of Aurora.
    """

    name: Literal["adaptformer"]
    """Selects this method."""
    bottleneck: Size = 64
    """Width of the bottleneck."""
    scale: Positive = 0.1
    """Factor of what the bottleneck adds."""

    @property
    def takes(self) -> dict[str, bool]:
        """The MLPs, which can have one bottleneck, and the biases that are left."""
        return {"MLPs": True, **super().takes}

    @property
    def kept_apart(self) -> str | None:
        """The bottleneck has an activation function of its own."""
        return "its bottlenecks beside the MLPs are no weights of an MLP"

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put a bottleneck beside each MLP.

        Raises:
            ValueError: a block of the backbone is of another kind than Aurora's.
        """
        from weatherpeft.peft.adapters.blocks import aurora_blocks, change_output
        from weatherpeft.peft.adapters.changes import ParallelBottleneck
        from weatherpeft.peft.adapters.dense import seeded

        parameters: dict[str, Parameter] = {}
        with seeded(context.seed):
            for path, block in aurora_blocks(model, self.name).items():
                change = ParallelBottleneck(block.dim, self.bottleneck, self.scale)
                parameters |= change_output(block.mlp, f"{path}.mlp", self.name, change)
        return self.adapter(model, parameters)
