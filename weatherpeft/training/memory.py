"""Less memory for a training: bfloat16 and blocks computed again around a model, freed memory given back.

Of a model only the ``forward`` of modules is replaced, so no parameter changes its name.
"""

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from weatherpeft.allocator import give_freed_memory_back
from weatherpeft.interfaces import Backbone
from weatherpeft.training.spec import Precision

GIVEN_BACK = 2**22
"""Bytes from which on the memory of a tensor on the CPU goes back to the system when it is freed. A training
frees gradients and activations of all sizes in turn, and would keep much more than it needs at any time."""


def save_memory(model: Backbone, precision: Precision, recompute: bool) -> None:
    """To be called once, on a model on its device with its methods attached.

    The whole process gives freed memory back from then on.

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
    give_freed_memory_back(GIVEN_BACK)
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
