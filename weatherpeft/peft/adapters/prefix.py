"""Window attention with a prefix of its keys and values.

Heavy: only the methods' ``attach`` imports it.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from aurora.model.swin3d import WindowAttention
from aurora.model.util import fp16_safe_scaled_dot_product_attention
from einops import rearrange
from torch import Tensor, nn

from weatherpeft.interfaces import Backbone


def window_attentions(model: Backbone, method: str) -> dict[str, WindowAttention]:
    """The attentions of the backbone by their paths below it, in the order of the forward pass.

    Args:
        model: model that the method is attached to.
        method: name of the method, for the message.

    Raises:
        ValueError: an attention is of another kind than Aurora's, or another method has changed it.
    """
    attentions: dict[str, WindowAttention] = {}
    for path, module in model.attention_modules().items():
        if type(module) is not WindowAttention:
            kind = type(module).__name__
            raise ValueError(f"{method}: {path} is a {kind}, expected Aurora's WindowAttention")
        attentions[path] = module
    return attentions


class PrefixedWindowAttention(WindowAttention):
    """Aurora's window attention with keys and values that stand before those of every window.

    Only the tokens of the window have queries. A subclass says where the prefix comes from.

    The class is never constructed: a pretrained attention changes its class, and its parameters keep their
    names. The linear layers are called as modules, so that other methods may wrap them.
    """

    def prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Key and value of the prefix, ``(sample or 1, prompt, width)``.

        Args:
            rollout_step: rollout step of Aurora's own LoRA layers.
            dtype: type of the projected tokens.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None, rollout_step: int = 0) -> Tensor:
        """Attend to the window's own tokens and the prefix.

        Args:
            x: tokens, ``(batch·window, token, width)``.
            mask: added to the scores between the tokens, ``(window, token, token)``; the scores of the
                prefix get no mask.
            rollout_step: rollout step of Aurora's own LoRA layers.

        Returns:
            Tokens, ``(batch·window, token, width)``.
        """
        query, key, value = self.project_tokens(x, rollout_step)
        if torch.is_grad_enabled():
            query = query.contiguous()  # else backward holds key and value twice, without prefix and with
        prefix_key, prefix_value = self.prefix(rollout_step, query.dtype)
        key, value = _prepend(prefix_key, key), _prepend(prefix_value, value)
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

    def project_tokens(self, x: Tensor, rollout_step: int) -> tuple[Tensor, ...]:
        """Query, key and value of the window's tokens ``(window, token, width)``, each of the same shape."""
        return self.project(x, rollout_step)

    def project(self, x: Tensor, rollout_step: int) -> tuple[Tensor, ...]:
        """Query, key and value of tokens ``(window, token, width)``, each of the same shape."""
        projected = self.qkv(x)
        if self._has_lora:
            projected = projected + self.lora_qkv(x, rollout_step)
        return projected.chunk(3, dim=-1)

    def project_prompts(self, prompts: Tensor, rollout_step: int) -> tuple[Tensor, Tensor]:
        """Key and value of prompts ``(prompt, width)`` by the pretrained projection.

        For per-sample gradients of the projection, as SFAS needs them on batches of several samples, they
        are computed once per sample. This keeps the samples' parts of the gradient separate.

        Returns:
            Key and value, ``(sample or 1, prompt, width)``.
        """
        _, key, value = self.project(prompts.expand(_samples_apart(self.qkv), -1, -1), rollout_step)
        return key, value

    @property
    def _has_lora(self) -> bool:
        """Whether Aurora's own LoRA layers are in use; without them, upstream adds zero to every entry."""
        return isinstance(self.lora_qkv, nn.Module)


def _prepend(prefix: Tensor, own: Tensor) -> Tensor:
    """Join ``(sample, prompt, width)`` and ``(sample·window, token, width)``."""
    own = own.unflatten(0, (len(prefix), -1))
    prefix = prefix[:, None].expand(-1, own.shape[1], -1, -1)
    return torch.cat([prefix, own], dim=2).flatten(0, 1)


def _samples_apart(layer: nn.Module) -> int:
    """Number of samples that a ``GradientStream`` takes apart in a layer now; 1 if there is none."""
    streams: list[Any] = [module._stream for module in layer.modules() if hasattr(module, "_stream")]
    return next((stream.batch_size for stream in streams if stream.capturing), 1)
