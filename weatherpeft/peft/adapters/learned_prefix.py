"""Prefixes of keys and values that are parameters.

Heavy: only the methods' ``attach`` imports it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from aurora.model.swin3d import WindowAttention
from torch import Tensor, nn

from weatherpeft.peft.adapters.dense import seeded
from weatherpeft.peft.adapters.prefix import PrefixedWindowAttention


class LearnedPrefixAttention(PrefixedWindowAttention):
    """Window attention whose prefix comes from prompts of its own; a subclass says how."""

    prompts: nn.Module

    @classmethod
    def prompt(
        cls,
        attentions: Mapping[str, WindowAttention],
        prompts: Callable[[int], nn.Module],
        method: str,
        seed: int,
    ) -> dict[str, nn.Parameter]:
        """Turn window attentions into prompted ones, in place.

        Args:
            attentions: by their paths below the backbone.
            prompts: makes the prompts of an attention from the width of its tokens.
            method: prefix of the parameters' names.
            seed: seed of the initialization.

        Returns:
            The prompts' parameters by unique name.
        """
        parameters: dict[str, nn.Parameter] = {}
        with seeded(seed):
            for path, attention in attentions.items():
                attention.__class__ = cls
                attention.prompts = prompts(attention.dim).to(next(attention.parameters()))
                own = attention.prompts.named_parameters()
                parameters |= {f"{method}.{path}.{name}": value for name, value in own}
        return parameters


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


class TokenPromptedAttention(LearnedPrefixAttention):
    """Window attention with prompt tokens in every window: the prefix is their key and value."""

    prompts: Prompts

    def prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See ``PrefixedWindowAttention.prefix``."""
        return self.project_prompts(self.prompts.tokens, rollout_step)


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


class QueryKeyValuePromptedAttention(LearnedPrefixAttention):
    """Window attention whose prefix is learned behind the projection, with a prompt for the queries."""

    prompts: AttentionPrompts

    def project_tokens(self, x: Tensor, rollout_step: int) -> tuple[Tensor, ...]:
        """See ``PrefixedWindowAttention.project_tokens``."""
        query, key, value = self.project(x, rollout_step)
        return (query + self.prompts.query).to(query.dtype), key, value

    def prefix(self, rollout_step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """See ``PrefixedWindowAttention.prefix``."""
        return self.prompts.key[None].to(dtype), self.prompts.value[None].to(dtype)
