"""Salient channel tuning (SCT, Zhao et al. 2023, arXiv 2309.08513)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from weatherpeft.peft.adapters.biases import BiasedMethod

if TYPE_CHECKING:
    from torch.nn import Parameter

    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Sct(BiasedMethod):
    """Adds a linear map of the K most salient channels to these channels of what each block returns.

    Departures from the paper:

    - The paper ranks the channels by the norms of their activations on the task's data, which a method does
      not get when it is attached. Here a channel's rank is the norm of its row of the pretrained ``fc2``.
    - The published code changes the tokens between a block's attention and its MLP. Aurora's block has no
      place for that, so the change is behind the MLP.
    - The published map starts with deviation 0.02 and has a factor of its own. Here it starts at zero, so
      that the method starts as the identity, and the learning rate takes the factor's place.

    A block has K² + K parameters: 1.43 M in the blocks of Aurora.
    """

    name: Literal["sct"]
    """Selects this method."""
    share: float = Field(default=0.125, gt=0, le=1)
    """K as a share of a block's channels; the paper takes 96 of 768."""

    @property
    def takes(self) -> dict[str, bool]:
        """The blocks, whose outputs can be changed once, and the biases that are left."""
        return {"blocks": True, **super().takes}

    @property
    def kept_apart(self) -> str | None:
        """The map is behind a block's residual sum."""
        return "its maps behind the blocks are no weights of a block"

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put a map behind each block.

        Raises:
            ValueError: a block of the backbone is of another kind than Aurora's.
        """
        from weatherpeft.peft.adapters.blocks import aurora_blocks, change_output
        from weatherpeft.peft.adapters.changes import ChannelMap, salient_channels
        from weatherpeft.peft.adapters.dense import seeded

        pretrained = model.backbone_parameters()
        parameters: dict[str, Parameter] = {}
        with seeded(context.seed):  # a linear layer draws values, although the map starts at zero
            for path, block in aurora_blocks(model, self.name).items():
                channels = salient_channels(pretrained[f"{path}.mlp.fc2.weight"], self.share)
                parameters |= change_output(block, path, self.name, ChannelMap(channels))
        return self.adapter(model, parameters)
