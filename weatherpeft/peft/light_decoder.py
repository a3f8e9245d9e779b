"""Light decoders on a frozen model (Lehmann et al. 2025, arXiv 2506.19088)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.interfaces import End, PeftMethod
from weatherpeft.spec import Size

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class LightDecoder(PeftMethod):
    """Freezes the whole model and trains a new decoder for each variable on its features.

    A new decoder is a stack of linear layers with ReLU between them. It takes the place of the variable's
    output head. Widths and initial values are those of the authors' code: hidden layers of 512, 512 and 256,
    weights of deviation 0.02 and biases of zero. The last layer has the deviation of the backbone's heads.

    Departures from the paper:

    - The paper adds surface variables to those that Aurora predicts. Here the new decoders predict the
      variables of the task, and the pretrained heads are dropped.
    - The paper has no variables on pressure levels. Here their decoders read what the frozen decoder makes of
      the features at each level, as the heads do that they replace.

    The method is not the pretrained model at the start. It has no parameter in the backbone. In Aurora, the
    decoder of a variable has 922,896 parameters.
    """

    name: Literal["light_decoder"]
    """Selects this method."""
    hidden: tuple[Size, ...] = (512, 512, 256)
    """Widths of the hidden layers; with none, a new decoder is one linear layer."""

    @property
    def frozen_ends(self) -> tuple[End, ...]:
        """Both."""
        return ("encoder", "decoder")

    @property
    def kept_apart(self) -> str | None:
        """A pretrained head is one linear layer."""
        return "its decoders have hidden layers, and a head has none" if self.hidden else None

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Replace the decoder's heads."""
        from weatherpeft.peft.adapters.dense import seeded
        from weatherpeft.peft.adapters.heads import HeadAdapter, replace_heads

        with seeded(context.seed):
            return HeadAdapter(*replace_heads(model, self.hidden, self.name))
