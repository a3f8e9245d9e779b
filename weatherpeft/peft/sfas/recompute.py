"""Outputs of activation functions that are computed again in the backward pass instead of being kept.

The layer after an activation function keeps its input for the gradient of its weights. The function itself
keeps its own input for its derivative. The former follows from the latter by one elementwise pass.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

ELEMENTWISE = (nn.GELU, nn.ReLU, nn.SiLU)


class _Output(NamedTuple):
    reference: weakref.ref[torch.Tensor]
    version: int
    function: nn.Module
    source: torch.Tensor

    def is_all_of(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor at the output's address is the whole output, unchanged, in any shape."""
        output = self.reference()
        return (
            output is not None
            and tensor.numel() == output.numel()
            and tensor.dtype == output.dtype
            and tensor.is_contiguous()
            and output.is_contiguous()
            and tensor._version == self.version
        )


class _Kept(NamedTuple):
    tensor: torch.Tensor
    version: int
    make: Callable[[torch.Tensor], torch.Tensor] | None
    """Makes what the gradient needs from the tensor; None where it is the tensor itself."""


class RecomputedActivations:
    """Makes a module keep only the inputs of its activation functions, with bit-identical gradients.

    It works through hooks, while the module is called with gradients enabled. It changes nothing under
    activation checkpointing of a whole block, which keeps neither inputs nor outputs.

    Args:
        module: whose ``GELU``, ``ReLU`` and ``SiLU`` modules are computed again, unless they work in place.
    """

    def __init__(self, module: nn.Module) -> None:
        self._outputs: dict[int, _Output] = {}
        self._hooks: saved_tensors_hooks | None = None
        for function in _functions(module):
            function.register_forward_hook(self._note)
        module.register_forward_pre_hook(self._enter)
        module.register_forward_hook(self._leave, always_call=True)

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        if torch.is_grad_enabled():
            self._hooks = saved_tensors_hooks(self._pack, _unpack)
            self._hooks.__enter__()

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._hooks:
            self._hooks.__exit__()
            self._hooks = None
        self._outputs.clear()

    def _note(self, function: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        """Remember what an output was made from, as long as it lives."""
        if self._hooks:
            version = output._version
            self._outputs[output.data_ptr()] = _Output(weakref.ref(output), version, function, inputs[0])

    def _pack(self, tensor: torch.Tensor) -> _Kept:
        """What autograd keeps for a tensor: how to make it, if it is the output of an activation function."""
        known = self._outputs.get(tensor.data_ptr())
        if known is None or not known.is_all_of(tensor):
            return _Kept(tensor, tensor._version, None)
        return _Kept(known.source, known.source._version, partial(_again, known.function, tensor.shape))


def _functions(module: nn.Module) -> Iterable[nn.Module]:
    return (
        each
        for each in module.modules()
        if isinstance(each, ELEMENTWISE) and not getattr(each, "inplace", False)
    )


def _again(function: nn.Module, shape: torch.Size, source: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        made: torch.Tensor = function(source)
    return made.view(shape)


def _unpack(kept: _Kept) -> torch.Tensor:
    if kept.tensor._version != kept.version:  # as autograd checks without hooks
        shape = tuple(kept.tensor.shape)
        raise RuntimeError(f"a tensor {shape} that the gradient needs was modified in place")
    return kept.make(kept.tensor) if kept.make else kept.tensor
