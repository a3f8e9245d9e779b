"""Gradients as they arrive, one parameter at a time, each with its mean squared per-sample gradient.

The squared gradient of a batch is not the mean of its samples' squared gradients, and only the
latter estimates the Fisher information. Both come out of one backward pass here: in a linear layer
the gradient of one sample is a product of that sample's rows of the layer's inputs and of its output
gradients, and both are at hand when the backward pass reaches the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as distributed
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

SampleGradient = Callable[[int], torch.Tensor]
"""From a sample's position in the batch to its gradient, in the shape of the parameter."""


class GradientStream:
    """Hands every gradient of a backbone's parameters to a consumer during the backward pass, and frees it.

    The loss must be a mean over the samples of the batch. With one sample in the batch any layer
    will do. With more, the parameters must belong to ``nn.Linear`` or ``nn.LayerNorm`` layers, which
    change class until ``close`` and keep their parameters and names. Their inputs must have the
    batch as the slowest dimension: ``(batch, feature)``, or ``(batch·window, token, feature)`` with
    the windows of a sample next to each other; what the samples share, such as prompts, is repeated for
    each of them. The batch size is the first dimension of the first tensor that the backbone is called
    with. A layer may be called several times in a forward pass, and under activation checkpointing.

    Each rank of a distributed run hears of its own samples; ``mean_over_ranks`` is the consumer's.

    Attributes:
        batch_size: samples of the last forward pass.
        squares: whether the squares are wanted of the forward passes to come. Without them any
            layer will do, at the cost of a plain backward pass.
    """

    def __init__(
        self,
        backbone: nn.Module,
        parameters: Mapping[str, nn.Parameter],
        consume: Callable[[str, torch.Tensor, torch.Tensor | None], None],
    ) -> None:
        """Attach to a backbone.

        Args:
            backbone: the module that the parameters belong to.
            parameters: that require a gradient, by name.
            consume: called with a parameter's name, the gradient of the batch's loss and the mean
                over the batch of the squared gradients of the samples' own losses, both in the
                parameter's shape; None in place of the latter where squares are not wanted, and for
                a single sample, whose square is that of the gradient.
        """
        self.batch_size = 0
        self.squares = True
        self._several = False
        self._consume = consume
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._captured: dict[str, list[SampleGradient]] = {}
        self._layers: list[tuple[nn.Module, type[nn.Module]]] = []
        self._handles: list[Any] = [backbone.register_forward_pre_hook(self._begin, with_kwargs=True)]
        self._any_size = set(self._names.values())
        for path, layer in backbone.named_modules():
            own = {self._names[id(p)] for p in layer.parameters(recurse=False) if id(p) in self._names}
            if own and type(layer) in _PER_SAMPLE:
                self._layers.append((layer, type(layer)))
                layer.__class__ = _PER_SAMPLE[type(layer)]
                layer._stream, layer._path = self, path
                self._any_size -= own
        for name, parameter in parameters.items():
            arrived = partial(self._arrived, name)
            self._handles.append(parameter.register_post_accumulate_grad_hook(arrived))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the layers their own classes back and stop listening."""
        for layer, own_class in self._layers:
            layer.__class__ = own_class
            del layer._stream, layer._path
        for handle in self._handles:
            handle.remove()
        self._layers, self._handles = [], []

    @property
    def capturing(self) -> bool:
        """Whether layers must take their samples apart in this forward pass."""
        return self._several and torch.is_grad_enabled()

    def capture(self, parameter: nn.Parameter, sample_gradient: SampleGradient) -> torch.Tensor:
        """Keep what one call of a layer adds to a parameter's gradient until all calls are known.

        Returns:
            What the layer hands to autograd: zero for a parameter of the stream, whose gradient is
            made from the samples' when it arrives, the gradient itself for any other.
        """
        name = self._names.get(id(parameter))
        if name is None:
            return torch.stack([sample_gradient(i) for i in range(self.batch_size)]).sum(0)
        self._captured.setdefault(name, []).append(sample_gradient)
        return torch.zeros_like(parameter)

    def check(self, inputs: torch.Tensor, path: str) -> None:
        """Whether every sample has rows of its own in a layer's inputs.

        Raises:
            ValueError: the inputs do not have the batch as their first dimension.
        """
        first = inputs.shape[0]
        if first % self.batch_size or (inputs.dim() == 2 and first != self.batch_size):
            raise ValueError(
                f"layer {path}: found inputs {tuple(inputs.shape)}, expected the batch of "
                f"{self.batch_size} as the slowest dimension, for per-sample gradients"
            )

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the batch size when the backbone is called to be trained."""
        if not torch.is_grad_enabled():
            return
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        self.batch_size = tensors[0].shape[0]
        self._several = self.squares and self.batch_size > 1
        if self._several and self._any_size:
            raise ValueError(
                f"parameter {min(self._any_size)} belongs to neither nn.Linear nor nn.LayerNorm: "
                f"found a batch of {self.batch_size}, expected 1"
            )
        self._captured.clear()

    @torch.no_grad()
    def _arrived(self, name: str, parameter: torch.Tensor) -> None:
        """Consume and free a gradient that the backward pass has completed."""
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        if not self._several:
            self._consume(name, gradient, None)
            return
        if gradient.any():
            raise ValueError(
                f"parameter {name} is used outside its layer: found a batch of {self.batch_size}, expected 1"
            )
        square = torch.zeros_like(gradient)
        calls = self._captured.pop(name, [])
        for sample in range(self.batch_size):
            own = sum((call(sample).to(gradient.dtype) for call in calls), gradient.new_zeros(()))
            gradient.add_(own)
            square.add_(own.square())
        # The mean loss gives each sample 1/batch of its own gradient: batch² of it, over batch.
        self._consume(name, gradient, square.mul_(self.batch_size))


def several_ranks() -> bool:
    """Whether this process is one of several of torch.distributed."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Values averaged over the ranks of torch.distributed, in place; as they are in a single process."""
    if several_ranks():
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values


class _SampleLinear(torch.autograd.Function):
    """``nn.Linear`` whose backward pass keeps the inputs and the output gradients for the stream."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, weight: Any, bias: Any, layer: Any) -> torch.Tensor:
        outputs = functional.linear(inputs, weight, bias)
        ctx.save_for_backward(inputs.to(outputs.dtype), weight)
        ctx.layer, ctx.input_dtype = layer, inputs.dtype
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        layer, stream = ctx.layer, ctx.layer._stream
        need_inputs, need_weight, need_bias, _ = ctx.needs_input_grad
        samples = stream.batch_size
        x = inputs.reshape(samples, -1, layer.in_features)
        g = gradient.reshape(samples, -1, layer.out_features)
        of_inputs = (gradient @ weight.to(gradient.dtype)).to(ctx.input_dtype) if need_inputs else None
        of_weight = stream.capture(layer.weight, lambda i: g[i].T @ x[i]) if need_weight else None
        of_bias = stream.capture(layer.bias, lambda i: g[i].sum(0)) if need_bias else None
        return of_inputs, of_weight, of_bias, None


class _PerSampleLinear(nn.Linear):
    _stream: Any
    _path: Any

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
        ctx.original, ctx.stream = original, stream
        return parameter.expand(stream.batch_size, *parameter.shape).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.stream.capture(ctx.original, lambda i: gradient[i]), None, None


class _PerSampleLayerNorm(nn.LayerNorm):
    _stream: Any
    _path: Any

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


_PER_SAMPLE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: _PerSampleLinear,
    nn.LayerNorm: _PerSampleLayerNorm,
}
