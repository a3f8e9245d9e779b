"""Attention prompt tuning (APrompt, Wang et al., EMNLP 2023, doi 10.18653/v1/2023.emnlp-main.567)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from weatherpeft.peft.adapters.biases import BiasedMethod
from weatherpeft.spec import Size

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter, Backbone, TuningContext


class APrompt(BiasedMethod):
    """Puts learned query, key and value prompts into the attention of every block.

    The keys and values of the prompts stand before those of every window, behind the projection. All windows
    of a block share them. A query before those of the window would change only its own output, which a
    window has no place for. So the query prompt departs from the paper: it is one vector that is added to
    the query of every token. The paper's prompts at the model's input are left out; ``vpt`` has such.

    The method is not the identity at the start, because the prefix takes attention from the window's tokens.
    A block of width d has (2 · ``prompts`` + 1) · d parameters: 1.25 M in the blocks of Aurora with 10
    prompts.
    """

    name: Literal["aprompt"]
    """Selects this method."""
    prompts: Size = 10
    """Number of keys and values in front of each attention window; the paper chooses it for each task."""

    @property
    def takes(self) -> dict[str, bool]:
        """The attentions, which can be prompted once, and the biases that are left."""
        return {"attentions": True, **super().takes}

    @property
    def kept_apart(self) -> str | None:
        """Prompts stand beside the weights."""
        return "its prompts are no weights of an attention"

    def attach(self, model: Backbone, context: TuningContext) -> Adapter:
        """Put prompts into the attentions.

        Raises:
            ValueError: an attention is of another kind than Aurora's window attention.
        """
        from weatherpeft.peft.adapters.learned_prefix import AttentionPrompts, QueryKeyValuePromptedAttention
        from weatherpeft.peft.adapters.prefix import window_attentions

        parameters = QueryKeyValuePromptedAttention.prompt(
            window_attentions(model, self.name),
            lambda width: AttentionPrompts(self.prompts, width),
            self.name,
            context.seed,
        )
        return self.adapter(model, parameters)
