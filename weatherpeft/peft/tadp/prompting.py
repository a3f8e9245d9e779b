"""Window attention with prompts as a prefix of its keys and values."""

from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from aurora.model.swin3d import WindowAttention
from aurora.model.util import fp16_safe_scaled_dot_product_attention
from einops import rearrange
from torch import Tensor, nn

from weatherpeft.peft.tadp.generator import PromptGenerator
from weatherpeft.peft.tadp.kept_prompts import KeptPrompts


class PromptedWindowAttention(WindowAttention):
    """Aurora's window attention with prompt tokens in every window.

    The outputs at the prompt positions would be dropped. So the prompts are a prefix of the keys and values,
    which is computed once for all windows, and only the tokens of the window have queries. For per-sample
    gradients of the projection, as SFAS needs them on batches of several samples, the prefix is computed once
    per sample. This keeps the samples' parts of the gradient separate.

    The class is never constructed: ``prompt`` changes the class of a pretrained attention, whose parameters
    keep their names. The linear layers are called as modules, so that other methods may wrap them.
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

    def forward(self, x: Tensor, mask: Tensor | None = None, rollout_step: int = 0) -> Tensor:
        """Attend to the window's own tokens and the prompts.

        Args:
            x: tokens, ``(batch·window, token, width)``.
            mask: added to the scores between the tokens, ``(window, token, token)``; the scores of the
                prompts get no mask.
            rollout_step: rollout step of Aurora's own LoRA layers.

        Returns:
            Tokens, ``(batch·window, token, width)``.
        """
        query, key, value = self._project(x, rollout_step)
        if torch.is_grad_enabled():
            query = query.contiguous()  # else backward holds key and value twice, without prompts and with
        prompt_key, prompt_value = self._prefix(rollout_step, query.dtype)
        key, value = _prepend(prompt_key, key), _prepend(prompt_value, value)
        if mask is not None:
            mask = F.pad(mask, (key.shape[1] - mask.shape[2], 0))
            mask = mask.repeat(len(x) // len(mask), 1, 1)[:, None]

        safe = self.use_fp16_safe_attention
        attend: Any = fp16_safe_scaled_dot_product_attention if safe else F.scaled_dot_product_attention
        dropout = self.attn_drop if self.training else 0.0
        query, key, value = (
            rearrange(part, "window token (head channel) -> window head token channel", head=self.num_heads)
            for part in (query, key, value)
        )
        out = attend(query, key, value, attn_mask=mask, dropout_p=dropout)
        out = rearrange(out, "window head token channel -> window token (head channel)")
        projected = self.proj(out)
        if self._has_lora:
            projected = projected + self.lora_proj(out, rollout_step)
        return self.proj_drop(projected)

    @property
    def _has_lora(self) -> bool:
        """Whether Aurora's own LoRA layers are in use; without them, upstream adds zero to every entry."""
        return isinstance(self.lora_qkv, nn.Module)

    def _project(self, x: Tensor, rollout_step: int) -> tuple[Tensor, ...]:
        """Query, key and value of tokens ``(window, token, width)``, each of the same shape."""
        projected = self.qkv(x)
        if self._has_lora:
            projected = projected + self.lora_qkv(x, rollout_step)
        return projected.chunk(3, dim=-1)

    def prompts(self) -> Tensor:
        """The prompt tokens at this stage's width, ``(prompt, width)``."""
        prompts = self.generator(self.embedding_weights())
        if prompts.shape[1] != self.dim:  # deeper stages are wider than the patch embedding
            prompts = F.interpolate(prompts[None], size=self.dim, mode="linear", align_corners=False)[0]
        return prompts

    def _prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Key and value of the prompts, ``(sample or 1, prompt, width)``.

        Args:
            rollout_step: rollout step of Aurora's own LoRA layers.
            dtype: type of the projected tokens.
        """
        prompts = self.kept.get((self, dtype), self.prompts) if self.kept else self.prompts()
        prompts = prompts.expand(_samples_apart(self.qkv), -1, -1)
        _, key, value = self._project(prompts, rollout_step)
        return key, value


def _prepend(prefix: Tensor, own: Tensor) -> Tensor:
    """Join ``(sample, prompt, width)`` and ``(sample·window, token, width)``."""
    own = own.unflatten(0, (len(prefix), -1))
    prefix = prefix[:, None].expand(-1, own.shape[1], -1, -1)
    return torch.cat([prefix, own], dim=2).flatten(0, 1)


def _samples_apart(layer: nn.Module) -> int:
    """Number of samples that a ``GradientStream`` takes apart in a layer now; 1 if there is none."""
    streams: list[Any] = [module._stream for module in layer.modules() if hasattr(module, "_stream")]
    return next((stream.batch_size for stream in streams if stream.capturing), 1)
