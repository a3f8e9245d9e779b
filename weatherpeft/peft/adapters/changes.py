"""Modules that change the output of a layer, from the output and the layer's inputs."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class ScaleShift(nn.Module):
    """``scale · y + shift`` for every channel of a layer's output y. It starts as the identity.

    Args:
        width: number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, output: Tensor, *inputs: Any) -> Tensor:
        """``(..., width)`` to the same shape and type; the inputs of the layer are not used."""
        return (output * self.scale + self.shift).to(output.dtype)


@torch.no_grad()
def into_linear(change: ScaleShift, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a linear layer, ``weight`` and ``bias``, with what changes its output."""
    scale, shift = change.scale, change.shift
    return {
        "weight": scale[:, None] * tensors["weight"],
        "bias": scale * tensors["bias"] + shift,
    }


@torch.no_grad()
def into_norm(scale_bias: float, change: ScaleShift, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a norm that a linear layer modulates, with what changes its output.

    The norm of x is ``ln(x) · (scale_bias + s) + t``. The linear layer makes t and s of the lead time, in
    this order.

    Args:
        scale_bias: the norm's.
        change: scale and shift for each channel.
        tensors: of the norm, by name.
    """
    (weight_name, weight), (bias_name, bias) = sorted(tensors.items(), reverse=True)
    scale, shift = change.scale, change.shift
    t, s = bias.chunk(2)
    return {
        weight_name: torch.cat([scale, scale])[:, None] * weight,
        bias_name: torch.cat([scale * t + shift, scale * (scale_bias + s) - scale_bias]),
    }


class ParallelBottleneck(nn.Module):
    """``y + scale · up(relu(down(x)))`` for a layer with input x and output y. It starts as the identity.

    ``up`` and all biases start at zero. ``down`` is uniform in ±1 / sqrt(width), as in LoRA.

    Args:
        width: width of x and y.
        bottleneck: width between ``down`` and ``up``.
        scale: factor of what is added.
    """

    def __init__(self, width: int, bottleneck: int, scale: float) -> None:
        super().__init__()
        self.down = nn.Linear(width, bottleneck)
        self.up = nn.Linear(bottleneck, width)
        self.activation = nn.ReLU()
        self.scale = scale
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, output: Tensor, inputs: Tensor) -> Tensor:
        """Output and inputs ``(..., width)`` to the same shape and the output's type."""
        added = self.up(self.activation(self.down(inputs)))
        return (output + self.scale * added).to(output.dtype)


class ChannelMap(nn.Module):
    """Adds a linear map of some channels to these channels of a layer's output. It starts at zero.

    Args:
        channels: positions of the channels, ``(channel,)``.
    """

    channels: Tensor

    def __init__(self, channels: Tensor) -> None:
        super().__init__()
        self.register_buffer("channels", channels, persistent=False)
        self.map = nn.Linear(len(channels), len(channels))
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def forward(self, output: Tensor, *inputs: Any) -> Tensor:
        """``(..., width)`` to the same shape and type; the inputs of the layer are not used."""
        added = self.map(output[..., self.channels])
        return output.index_add(-1, self.channels, added.to(output.dtype))


def salient_channels(weight: Tensor, share: float) -> Tensor:
    """Outputs of a linear layer whose rows have the largest norms.

    Args:
        weight: ``(output, input)``.
        share: share of the outputs to take, at least one.

    Returns:
        Their positions ``(channel,)``, ascending.
    """
    norms = weight.detach().double().norm(dim=1)  # so exact that every device chooses the same
    count = max(1, round(share * len(norms)))
    return norms.argsort(descending=True, stable=True)[:count].sort().values
