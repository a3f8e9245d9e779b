"""Prefixes of keys and values that are parameters.

Heavy: only the methods' ``attach`` imports it.
"""

from __future__ import annotations

import math

import torch
from aurora.model.swin3d import WindowAttention
from torch import Tensor, nn

from weatherpeft.peft.adapters.prefix import PrefixedWindowAttention


class Prompts(nn.Module):
    """Prompt tokens.

    They start as uniform in ±sqrt(6 / (inputs + width)), as in the published code of VPT. This is Xavier's
    rule for the patch embedding.

    Args:
        prompts: number of prompts.
        width: width of a token.
        inputs: number of values that the patch embedding makes a token from.
    """

    def __init__(self, prompts: int, width: int, inputs: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (inputs + width))
        self.tokens = nn.Parameter(torch.empty(prompts, width).uniform_(-bound, bound))


class TokenPromptedAttention(PrefixedWindowAttention):
    """Window attention with prompt tokens in every window: the prefix is their key and value."""

    vpt: Prompts

    @classmethod
    def prompt(cls, attention: WindowAttention, prompts: Prompts) -> dict[str, nn.Parameter]:
        """Turn a window attention into a prompted one, in place.

        Returns:
            The prompts' parameters by name.
        """
        attention.__class__ = cls
        attention.vpt = prompts.to(next(attention.parameters()))
        return dict(attention.vpt.named_parameters())

    def prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See ``PrefixedWindowAttention.prefix``."""
        return self.project_prompts(self.vpt.tokens, rollout_step)


class AttentionPrompts(nn.Module):
    """Keys and values of a prefix, and what is added to every query.

    Keys and values start as normal with deviation 0.02, as Aurora's linear layers do. The query prompt starts
    at zero.

    Args:
        prompts: number of keys and values.
        width: width of a token.
    """

    def __init__(self, prompts: int, width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))
        self.key = nn.Parameter(torch.empty(prompts, width).normal_(std=0.02))
        self.value = nn.Parameter(torch.empty(prompts, width).normal_(std=0.02))


class QueryKeyValuePromptedAttention(PrefixedWindowAttention):
    """Window attention whose prefix is learned behind the projection, with a prompt for the queries."""

    aprompt: AttentionPrompts

    @classmethod
    def prompt(cls, attention: WindowAttention, prompts: AttentionPrompts) -> dict[str, nn.Parameter]:
        """Turn a window attention into a prompted one, in place.

        Returns:
            The prompts' parameters by name.
        """
        attention.__class__ = cls
        attention.aprompt = prompts.to(next(attention.parameters()))
        return dict(attention.aprompt.named_parameters())

    def project_tokens(self, x: Tensor, rollout_step: int) -> tuple[Tensor, ...]:
        """See ``PrefixedWindowAttention.project_tokens``."""
        query, key, value = self.project(x, rollout_step)
        return (query + self.aprompt.query).to(query.dtype), key, value

    def prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See ``PrefixedWindowAttention.prefix``."""
        return self.aprompt.key[None].to(dtype), self.aprompt.value[None].to(dtype)
