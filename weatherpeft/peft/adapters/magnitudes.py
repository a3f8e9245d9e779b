"""DoRA with a magnitude for each input, as a layer of Hugging Face peft; heavy."""

from contextlib import nullcontext
from typing import Any

import torch
from peft.tuners.lora.layer import Linear, LoraVariant
from torch import Tensor, nn
from torch.amp import is_autocast_available


class InputMagnitudes(LoraVariant):
    """How peft starts, merges and unmerges such a layer."""

    @staticmethod
    def init(module: Any, adapter_name: str, **_: Any) -> None:
        """Start from the norms of the pretrained weights, with which the layer is the pretrained one."""
        module.lora_magnitude_vector[adapter_name] = _Magnitude(input_norms(module, adapter_name))

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """The weights with the update in them."""
        norms = input_norms(module, active_adapter)
        module._cache_store(f"{active_adapter}-norms", norms)
        merged = (orig_weight + module.get_delta_weight(active_adapter)) * module.scales(
            active_adapter, norms
        )
        return merged.to(orig_weight.dtype)

    @staticmethod
    def merge_unsafe(module: Any, active_adapter: str, orig_weight: Tensor) -> None:
        """See ``merge_safe``; in place."""
        orig_weight.data = InputMagnitudes.merge_safe(module, active_adapter, orig_weight.data)

    @staticmethod
    def unmerge(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        """The weights as they were before, but for rounding."""
        scales = module.scales(active_adapter, module._cache_pop(f"{active_adapter}-norms"))
        return (orig_weight.data / scales - module.get_delta_weight(active_adapter)).to(orig_weight.dtype)


class InputDoraLinear(Linear):
    """A linear layer ``y = V (s * x) + b`` with ``V = W + alpha / rank · B A`` and ``s = m / ‖V‖``.

    W is ``(output, input)``. The norm is that of each of its columns, which belong to the inputs, as in
    equation 5 of DoRA (arXiv 2402.09353). It is a constant of the gradient, as in its section 4.3. The
    pretrained layer is called with the inputs scaled, so that its weights and its bias keep their own
    gradients.
    """

    @property
    def lora_variants(self) -> dict[tuple[str, ...], type[LoraVariant]]:
        """This variant takes the place of peft's own DoRA."""
        return {("use_dora",): InputMagnitudes}

    def scales(self, adapter: str, norms: Tensor) -> Tensor:
        """The factor of each input, ``(input,)``."""
        magnitude = self.lora_magnitude_vector[adapter]
        assert isinstance(magnitude, _Magnitude)
        return magnitude.weight / norms

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Outputs ``(..., output)`` of inputs ``(..., input)``."""
        if self.merged or self.disable_adapters:
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        (adapter,) = self.active_adapters
        x = x * self.scales(adapter, input_norms(self, adapter))
        down, up = self.lora_A[adapter], self.lora_B[adapter]
        update = up(down(x)) * self.scaling[adapter]
        output = self.base_layer(x, *args, **kwargs)
        return output + update


class _Magnitude(nn.Module):
    """Holds the magnitudes under the name that peft's own DoRA gives them."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


@torch.no_grad()
def input_norms(layer: Any, adapter: str) -> Tensor:
    """Norms of the columns of a layer's updated weights, ``(input,)``; without a gradient."""
    weight: Tensor = layer.get_base_layer().weight
    down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
    kind = weight.device.type
    exact = torch.autocast(kind, enabled=False) if is_autocast_available(kind) else nullcontext()
    with exact:  # so that the start is the pretrained model's, bit for bit
        return torch.linalg.vector_norm(weight + layer.scaling[adapter] * (up @ down), dim=0)
