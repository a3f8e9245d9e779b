"""Prompts from the encoder's patch-embedding weights (arXiv 2509.22020, section on TADP)."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """``h + up(gelu(down(h)))`` with ``h = norm(x)``, over the last axis.

    The paper does not state the initialization. Here ``up`` is zero, so that the module starts as its norm.
    ``down`` is normal with variance 2 / width (He), and its bias is zero.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        nn.init.kaiming_normal_(self.down.weight, nonlinearity="relu")
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width)`` to the same shape."""
        normed = self.norm(x)
        return normed + self.up(F.gelu(self.down(normed)))


class PromptGenerator(nn.Module):
    """Makes prompt tokens from patch-embedding weights (arXiv 2509.22020, section on TADP).

    The embedding is refined along the patch, the variables and the width in turn. Then each entry attends to
    all others, and a linear map mixes the entries into prompts. The paper does not state the map's
    initialization. Here it is a truncated normal of deviation 0.02 with zero bias, as in Aurora's linear
    layers.

    Args:
        width: D, width of the patch embedding.
        variables: V, number of variables.
        patch: S, history × patch height × patch width.
        prompts: P, number of prompts.
        internal: whether to refine along the patch and the width.
        external: whether to refine along the variables and to attend.
    """

    def __init__(
        self,
        width: int,
        variables: int,
        patch: int,
        prompts: int,
        *,
        internal: bool = True,
        external: bool = True,
    ) -> None:
        super().__init__()
        self.internal, self.external = internal, external
        if internal:
            self.along_patch = Bottleneck(patch, 8)
        if external:
            self.along_variables = Bottleneck(variables, variables // 2)
        if internal:
            self.along_width = Bottleneck(width, 16)
        else:
            self.token_norm = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(variables * patch)
        self.mix = nn.Linear(variables * patch, prompts)
        nn.init.trunc_normal_(self.mix.weight, std=0.02)
        nn.init.zeros_(self.mix.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        """``(width, variable, patch)`` to ``(prompt, width)``."""
        x = self.along_patch(embedding) if self.internal else embedding
        x = rearrange(x, "width variable patch -> patch width variable")
        x = self.along_variables(x) if self.external else x
        x = rearrange(x, "patch width variable -> variable patch width")
        x = self.along_width(x) if self.internal else x
        norm = self.along_width.norm if self.internal else self.token_norm  # a second time, as published
        tokens = norm(x.flatten(0, 1))
        if self.external:
            tokens = F.scaled_dot_product_attention(tokens[None], tokens[None], tokens[None])[0]
        return self.mix(self.norm(tokens.T)).T
