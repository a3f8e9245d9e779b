"""Task-adaptive prompting by its definition, for the tests to compare with."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from aurora.model.swin3d import WindowAttention
from torch import Tensor, nn

from weatherpeft.peft.tadp.generator import Bottleneck, PromptGenerator


def reference_prompts(generator: PromptGenerator, embedding: Tensor, width: int) -> Tensor:
    """The paper's five steps and the stretch in plain algebra, ``(prompt, width)``."""

    def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        scale = (centered.square().mean(-1, keepdim=True) + layer.eps).sqrt()
        return centered / scale * layer.weight + layer.bias

    def adapter(x: Tensor, module: Bottleneck) -> Tensor:
        h = norm(x, module.norm)
        hidden = h @ module.down.weight.T + module.down.bias
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
        return h + hidden @ module.up.weight.T + module.up.bias

    d, v, s = embedding.shape
    x = embedding
    if generator.internal:
        x = adapter(x, generator.along_patch)  # (D, V, S)
    x = x.permute(2, 0, 1)
    if generator.external:
        x = adapter(x, generator.along_variables)  # (S, D, V)
    x = x.permute(2, 0, 1)
    if generator.internal:
        x = adapter(x, generator.along_width)  # (V, S, D)
    x = norm(x.reshape(v * s, d), generator.along_width.norm if generator.internal else generator.token_norm)
    if generator.external:
        x = torch.softmax(x @ x.T / math.sqrt(d), dim=-1) @ x
    x = norm(x.T, generator.norm) @ generator.mix.weight.T + generator.mix.bias  # (D, P)
    columns = []
    for column in range(width):  # centers of the cells are aligned, borders are held
        position = min(max((column + 0.5) * d / width - 0.5, 0), d - 1)
        left = min(int(position), d - 2)
        columns.append(x[left] * (left + 1 - position) + x[left + 1] * (position - left))
    return torch.stack(columns, dim=-1)


class TokenForm(nn.Module):
    """The definition: prompts stand before the tokens of every window, their outputs are dropped."""

    def __init__(
        self, attention: WindowAttention, generator: PromptGenerator, embedding_weights: Callable[[], Tensor]
    ) -> None:
        super().__init__()
        self.attention, self.generator = attention, generator
        self.embedding_weights = embedding_weights

    def forward(self, x: Tensor, mask: Tensor | None = None, rollout_step: int = 0) -> Tensor:
        prompts = reference_prompts(self.generator, self.embedding_weights(), self.attention.dim)
        tokens = torch.cat([prompts.expand(len(x), -1, -1), x], dim=1)
        if mask is not None:
            mask = F.pad(mask, (len(prompts), 0, len(prompts), 0))
        output: Tensor = self.attention(tokens, mask, rollout_step)
        return output[:, len(prompts) :]
