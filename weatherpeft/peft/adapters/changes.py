"""Modules that change the output of a layer, from the output and the layer's inputs."""

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
