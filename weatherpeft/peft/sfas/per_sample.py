"""Gradients and mean squared per-sample gradients, one parameter at a time, during the backward pass.

The squared gradient of a batch differs from the mean of the squared gradients of its samples. Only the
latter estimates the Fisher information. Here, one backward pass gives both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from weatherpeft.peft.sfas.sample_layers import PER_SAMPLE
from weatherpeft.samples.rollout import current_rollout

SampleGradient = Callable[[int], torch.Tensor]
"""Maps a sample's position in the batch to its gradient, in the shape of the parameter."""


@dataclass(frozen=True, eq=False)
class _Pass:
    """One forward pass of the backbone.

    Attributes:
        samples: number of samples in its batch.
        squares: whether squares are wanted.
        rollout: what it belongs to, with others of the same samples; None if it stands alone.
    """

    samples: int
    squares: bool
    rollout: object | None = None

    @property
    def apart(self) -> bool:
        """Whether layers take its samples apart."""
        return self.squares and self.samples > 1

    def goes_with(self, other: _Pass) -> bool:
        """Whether one backward pass may reach both."""
        return self is other or (self.rollout is not None and self.rollout is other.rollout)


class GradientStream:
    """Hands each gradient of a backbone's parameters to a consumer during the backward pass, and frees it.

    A backward pass must belong to one forward pass of the backbone, or to those of one rollout
    (``samples.rollout.in_rollout``), and its loss must be a mean over the samples of that batch. Forward
    passes without a backward pass may come between the two.

    In a rollout, gradients and squares are those of the sum over its steps, which is complete only at the end
    of the backward pass. Until then, the gradients of all parameters are in memory, and of batches of several
    samples also what each layer got at each step.

    A batch of one sample works with any layer. With more samples, the parameters must belong to
    ``nn.Linear`` or ``nn.LayerNorm`` layers. These change class until ``close`` and keep their parameters and
    names. The slowest dimension of their inputs must be the batch: ``(batch, feature)``, or ``(batch·window,
    token, feature)`` with the windows of a sample next to each other. What the samples share, such as
    prompts, is repeated for each of them. The batch size is the first dimension of the first tensor that the
    backbone is called with. A layer may be called several times in a forward pass, and under activation
    checkpointing.

    In a distributed run, the consumer of each rank gets the gradients of that rank's samples.

    Attributes:
        squares: whether squares are wanted from the next forward pass on. Without squares any layer works,
            at the cost of a plain backward pass.
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
            parameters: its parameters that require a gradient, by name.
            consume: called with a parameter's name, the gradient of the batch's loss, and the mean over
                the batch of the squared gradients of the samples' own losses, both in the parameter's
                shape. The latter is None if squares are not wanted, and for a single sample, whose square
                is that of the gradient.
        """
        self.squares = True
        self._pass = _Pass(0, False)
        self._backward = -1
        self._consume = consume
        self._names = {id(parameter): name for name, parameter in parameters.items()}
        self._captured: dict[str, list[SampleGradient]] = {}
        self._layers: list[tuple[nn.Module, type[nn.Module]]] = []
        self._handles: list[Any] = [
            backbone.register_forward_pre_hook(self._begin, with_kwargs=True),
            backbone.register_forward_hook(self._end),
        ]
        self._any_size = set(self._names.values())
        for path, layer in backbone.named_modules():
            own = {self._names[id(p)] for p in layer.parameters(recurse=False) if id(p) in self._names}
            if own and type(layer) in PER_SAMPLE:
                self._layers.append((layer, type(layer)))
                layer.__class__ = PER_SAMPLE[type(layer)]
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
    def batch_size(self) -> int:
        """Samples of the last forward pass, or of the one that a backward pass has reached since."""
        return self._pass.samples

    @property
    def capturing(self) -> bool:
        """Whether layers must take their samples apart now."""
        return self._pass.apart and torch.is_grad_enabled()

    def capture(self, parameter: nn.Parameter, samples: int, sample_gradient: SampleGradient) -> torch.Tensor:
        """Keep what one call of a layer adds to a parameter's gradient until that gradient arrives.

        Returns:
            What the layer hands to autograd. For a parameter of the stream it is zero, because its gradient
            is made from those of the samples when it arrives. For any other it is the gradient itself.
        """
        name = self._names.get(id(parameter))
        if name is None:
            return torch.stack([sample_gradient(i) for i in range(samples)]).sum(0)
        self._captured.setdefault(name, []).append(sample_gradient)
        return torch.zeros_like(parameter)

    def check(self, inputs: torch.Tensor, path: str) -> None:
        """Check that every sample has rows of its own in a layer's inputs.

        Raises:
            ValueError: the first dimension of the inputs is not the batch.
        """
        first = inputs.shape[0]
        if first % self.batch_size or (inputs.dim() == 2 and first != self.batch_size):
            raise ValueError(
                f"layer {path}: found inputs {tuple(inputs.shape)}, expected the batch of "
                f"{self.batch_size} as the slowest dimension, for per-sample gradients"
            )

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the batch size when the backbone is called with gradients enabled."""
        if not torch.is_grad_enabled():
            return
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        self._pass = _Pass(tensors[0].shape[0], self.squares, current_rollout())
        if self._pass.apart and self._any_size:
            raise ValueError(
                f"parameter {min(self._any_size)} belongs to neither nn.Linear nor nn.LayerNorm: "
                f"found a batch of {self.batch_size}, expected 1"
            )

    def _end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Listen to when a backward pass reaches the output, which is before it reaches any layer."""
        for tensor in output if isinstance(output, tuple) else (output,):
            if tensor.requires_grad:
                tensor.register_hook(partial(self._reached, self._pass))

    def _reached(self, forward: _Pass, gradient: torch.Tensor) -> None:
        """A backward pass has reached a forward pass: from now on, that one is the current one."""
        backward = torch._C._current_graph_task_id()
        if backward != self._backward:
            self._captured.clear()  # what a backward pass that failed has left
        elif not forward.goes_with(self._pass):
            raise ValueError(
                "found several forward passes of the backbone in one backward pass, expected one: "
                "per-sample gradients need to know whose samples they are"
            )
        if self.squares and not forward.squares:
            raise ValueError(
                "squared gradients are wanted now, but were not when the forward pass was computed: "
                "expected no step between a forward pass and its backward pass"
            )
        self._backward, self._pass = backward, forward

    @torch.no_grad()
    def _arrived(self, name: str, parameter: torch.Tensor) -> None:
        """Free a complete gradient and hand it to the consumer."""
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None
        gradient = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
        if not self._pass.apart:
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
