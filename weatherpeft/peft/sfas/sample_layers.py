"""Linear layers and layer norms that take the samples of a batch apart in the backward pass.

The gradient of one sample is a product of that sample's rows of the layer's inputs and of its output
gradients. Both are at hand when the backward pass reaches the layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

if TYPE_CHECKING:
    from weatherpeft.peft.sfas.per_sample import GradientStream


class _SampleLinear(torch.autograd.Function):
    """``nn.Linear`` whose backward pass keeps the inputs and the output gradients for the stream."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: Any, bias: Any, layer: Any) -> torch.Tensor:
        outputs = functional.linear(inputs, weight, bias)
        ctx.save_for_backward(inputs.to(outputs.dtype), weight)
        ctx.layer, ctx.input_dtype, ctx.samples = layer, inputs.dtype, layer._stream.batch_size
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        layer, samples = ctx.layer, ctx.samples
        capture = layer._stream.capture
        need_inputs, need_weight, need_bias, _ = ctx.needs_input_grad
        x = inputs.reshape(samples, -1, layer.in_features)
        g = gradient.reshape(samples, -1, layer.out_features)
        of_inputs = (gradient @ weight.to(gradient.dtype)).to(ctx.input_dtype) if need_inputs else None
        of_weight = capture(layer.weight, samples, lambda i: g[i].T @ x[i]) if need_weight else None
        of_bias = capture(layer.bias, samples, lambda i: g[i].sum(0)) if need_bias else None
        return of_inputs, of_weight, of_bias, None


class _PerSampleLinear(nn.Linear):
    _stream: GradientStream
    _path: str

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self._stream.capturing:
            return super().forward(inputs)
        self._stream.check(inputs, self._path)
        outputs: torch.Tensor = _SampleLinear.apply(inputs, self.weight, self.bias, self)
        return outputs


class _SampleCopies(torch.autograd.Function):
    """A small parameter repeated for every sample, ``(batch, ...)``."""

    @staticmethod
    def forward(ctx: Any, parameter: torch.Tensor, original: Any, stream: Any) -> torch.Tensor:
        ctx.original, ctx.stream, ctx.samples = original, stream, stream.batch_size
        return parameter.expand(ctx.samples, *parameter.shape).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.stream.capture(ctx.original, ctx.samples, lambda i: gradient[i]), None, None


class _PerSampleLayerNorm(nn.LayerNorm):
    _stream: GradientStream
    _path: str

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self._stream.capturing:
            return super().forward(inputs)
        self._stream.check(inputs, self._path)
        normal = functional.layer_norm(inputs, self.normalized_shape, eps=self.eps)
        outputs = normal.reshape(self._stream.batch_size, -1, *self.normalized_shape)
        outputs = outputs * self._copies(self.weight)
        if self.bias is not None:
            outputs = outputs + self._copies(self.bias)
        return outputs.reshape(inputs.shape)

    def _copies(self, parameter: nn.Parameter) -> torch.Tensor:
        copies: torch.Tensor = _SampleCopies.apply(parameter, parameter, self._stream)
        return copies.unsqueeze(1)


PER_SAMPLE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _PerSampleLinear,
    nn.LayerNorm: _PerSampleLayerNorm,
}
"""What a layer's class becomes; the class finds its stream and its path in ``_stream`` and ``_path``."""
