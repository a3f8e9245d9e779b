"""Window attention with prompts that a generator makes."""

from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weatherpeft.peft.adapters.prefix import PrefixedWindowAttention
from weatherpeft.peft.tadp.generator import PromptGenerator
from weatherpeft.peft.tadp.kept_prompts import KeptPrompts


class PromptedWindowAttention(PrefixedWindowAttention):
    """Aurora's window attention with prompt tokens in every window.

    The outputs at the prompt positions would be dropped. So the prompts are a prefix of the keys and values,
    which is computed once for all windows.
    """

    generator: PromptGenerator
    embedding_weights: Callable[[], Tensor]
    """Patch-embedding weights: a method bound to the model, so that a deep copy of the model uses its own."""
    kept: KeptPrompts | None
    """Prompts that predictions keep; none for an attention without a model."""

    @classmethod
    def prompt(
        cls,
        attention: nn.Module,
        generator: PromptGenerator,
        embedding_weights: Callable[[], Tensor],
        kept: KeptPrompts | None = None,
    ) -> Self:
        """Turn a window attention into a prompted one, in place."""
        attention.__class__ = cls
        attention.generator = generator
        attention.embedding_weights = embedding_weights  # type: ignore[assignment]
        attention.kept = kept  # type: ignore[assignment]
        return attention  # type: ignore[return-value]

    def prompts(self) -> Tensor:
        """The prompt tokens at this stage's width, ``(prompt, width)``."""
        prompts = self.generator(self.embedding_weights())
        if prompts.shape[1] != self.dim:  # deeper stages are wider than the patch embedding
            prompts = F.interpolate(prompts[None], size=self.dim, mode="linear", align_corners=False)[0]
        return prompts

    def prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See ``PrefixedWindowAttention.prefix``."""
        prompts = self.kept.get((self, dtype), self.prompts) if self.kept else self.prompts()
        return self.project_prompts(prompts, rollout_step)
