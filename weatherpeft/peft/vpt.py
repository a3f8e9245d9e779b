"""Visual prompt tuning (VPT, Jia et al. 2022, arXiv 2203.12119)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.biases import BiasedMethod
from weatherpeft.spec import Size

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class Vpt(BiasedMethod):
    """Puts learned prompt tokens into every attention window, where the window's tokens attend to them.

    As in the paper's form for Swin transformers, all windows of a block share its prompts, and the prompts
    are left out where tokens are merged. The attention's outputs at the prompts are dropped. So the prompts
    are a prefix of the keys and values. The shallow form departs from the paper, where the later blocks go
    on with the prompts' outputs. Here, the shallow prompts act in the first block alone.

    The method is not the identity at the start, because prompts take attention from the window's tokens. A
    block of width d has ``prompts`` · d parameters: 0.59 M in all blocks of Aurora with 10 prompts. The paper
    does not train the biases.
    """

    name: Literal["vpt"]
    """Selects this method."""
    depth: Literal["shallow", "deep"] = "deep"
    """Where the prompts are: in the backbone's first block, or in every block, each with its own."""
    prompts: Size = 10
    """Prompt tokens in each attention window; the paper chooses 1 to 200 for each task."""

    @property
    def takes(self) -> dict[str, bool]:
        """The attentions, which can be prompted once, and the biases that are left."""
        return {"attentions": True, **super().takes}

    @property
    def kept_apart(self) -> str | None:
        """Prompts stand beside the weights."""
        return "its prompts are no weights of an attention"

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put prompts into the windows.

        Raises:
            ValueError: an attention is of another kind than Aurora's window attention.
        """
        from weatherpeft.peft.adapters.learned_prefix import Prompts, TokenPromptedAttention
        from weatherpeft.peft.adapters.prefix import window_attentions

        attentions = list(window_attentions(model, self.name).items())
        inputs = model.embedding_weights()[0].numel()
        parameters = TokenPromptedAttention.prompt(
            dict(attentions[:1] if self.depth == "shallow" else attentions),
            lambda width: Prompts(self.prompts, width, inputs),
            self.name,
            context.seed,
        )
        return self.adapter(model, parameters)
