"""Saving memory in a training: bfloat16, recomputed blocks, and freed memory that is given back.

Only the ``forward`` of a model's modules is replaced, so that no parameter changes its name.
"""

import resource
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from weatherpeft.interfaces import Backbone
from weatherpeft.training.freed_memory import give_freed_memory_back
from weatherpeft.training.spec import Precision

GIVEN_BACK = 2**22
"""Size in bytes from which on the memory of a freed tensor on the CPU goes back to the system.

A training frees gradients and activations of all sizes in turn. Otherwise it would keep much more memory than
it needs at any time.
"""


def save_memory(model: Backbone, precision: Precision, recompute: bool) -> None:
    """Make a model and the process take less memory.

    Call this once, when the model is on its device and its methods are attached. From then on, the whole
    process gives freed memory back.

    Autocast rounds the weights of a linear layer to bfloat16 at each call. So a frozen linear layer that is
    kept in bfloat16 gives the same bits. Other layers compute in float32 and keep their weights.

    Args:
        model: model with its methods attached.
        precision: number format of the backbone between encoder and decoder.
        recompute: whether only the inputs of the encoder, the decoder and each block are kept and the rest
            is computed again in the backward pass.

    Raises:
        ValueError: bfloat16 for a model whose backbone's matrices are trained: rounding would lose small
            updates.
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


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: allocated on a GPU, or resident where the CPU computes."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


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
