"""Task-adaptive dynamic prompting (TADP) of WeatherPEFT, arXiv 2509.22020."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.biases import BiasedMethod
from weatherpeft.spec import Size

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Tadp(BiasedMethod):
    """Adds prompts to every attention of the backbone, made from the encoder's patch-embedding weights.

    ``internal`` and ``external`` are the switches of the paper's ablation. The paper shows only in a figure
    what they leave out. Here, the internal pattern is what lies inside a variable's own embedding, and the
    external pattern is what relates the variables to each other. The norms and the linear map to the
    prompts always stay, so that there are prompts. The paper's preset trains the biases too.
    """

    name: Literal["tadp"]
    """Selects this method."""
    prompts: Size = 30
    """Prompt tokens in each attention window: 30, 5 and 20 in the paper's three tasks."""
    internal: bool = True
    """Whether the embedding is refined along its patch and its width (the paper's HW and D adapters)."""
    external: bool = True
    """Whether it is refined along the variables (the V adapter), and its entries attend to each other."""

    @property
    def takes(self) -> dict[str, bool]:
        """The attentions, which can be prompted once, and the biases that are left."""
        return {"attentions": True, **super().takes}

    @property
    def kept_apart(self) -> str | None:
        """Prompts stand beside the weights."""
        return "its prompts are no weights of an attention"

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Give each block's attention a prompt generator of its own.

        Raises:
            ValueError: an attention is of another kind than Aurora's window attention.
        """
        from weatherpeft.peft.tadp.adapter import attach_prompts

        return self.adapter(model, attach_prompts(model, self, context.seed))
