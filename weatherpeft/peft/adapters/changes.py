"""Modules that change the output of a layer, from the output and the layer's inputs."""

import math
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
