"""Less memory for a training: bfloat16 and blocks computed again, put around a model from outside.

Only the ``forward`` of modules is replaced, so no parameter changes its name.
"""

import ctypes
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from weatherpeft.interfaces import Backbone
from weatherpeft.training.spec import Precision

_M_MMAP_THRESHOLD = -3
"""Of glibc's mallopt."""
_GIVEN_BACK = 2**22
"""Bytes from which on a tensor's memory on the CPU goes back to the system when it is freed."""


def save_memory(model: Backbone, precision: Precision, recompute: bool) -> None:
    """To be called once, on a model on its device with its methods attached.

    Autocast rounds a linear layer's weights to bfloat16 at each call. So a frozen linear layer that is
    kept in bfloat16 gives the same bits; other layers compute in float32 and keep their weights.

    Args:
        model: the backbone under its methods.
        precision: of what lies between encoder and decoder.
        recompute: keep only what enters encoder, decoder and each block, and compute the rest again in
            the backward pass.

    Raises:
        ValueError: bfloat16 for a model of which the backbone's matrices are trained: small
            updates would be lost to rounding.
    """
    give_freed_memory_back()
    backbone = model.backbone
    if precision != "float32":
        device = next(backbone.parameters()).device.type
        backbone.forward = torch.autocast(device, torch.bfloat16)(backbone.forward)
    if precision == "bfloat16":
        _keep_frozen_in_bfloat16(model)
    if recompute:
        blocks = [path.rpartition(".")[0] for path in model.attention_modules()]
        for module in (model.encoder, model.decoder, *map(backbone.get_submodule, blocks)):
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)


def give_freed_memory_back() -> None:
    """Have the C library, where it is glibc, give the memory of large tensors back when they are freed.

    By itself it raises the size from which it does so to that of what it has given back, at most 32 MiB, and
    smaller gaps stay with the process where something small lies behind them. A training on the CPU frees
    gradients and activations of all sizes in turn, and would keep much more than it needs at any time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_M_MMAP_THRESHOLD, _GIVEN_BACK)


def _keep_frozen_in_bfloat16(model: Backbone) -> None:
    for name, parameter in model.backbone_parameters().items():
        if parameter.requires_grad and parameter.ndim > 1:
            raise ValueError(
                f"precision bfloat16 keeps frozen matrices in bfloat16, but {name} is trained: "
                "expected precision autocast"
            )
    for layer in model.backbone.modules():
        for parameter in layer.parameters(recurse=False) if isinstance(layer, nn.Linear) else ():
            if not parameter.requires_grad:
                parameter.data = parameter.data.to(torch.bfloat16)
