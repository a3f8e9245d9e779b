"""Checkpoints of a running training, and tuned weights as safetensors."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter


def save_checkpoint(
    path: Path,
    step: int,
    dense: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    adapters: "Sequence[Adapter]",
    curves: Mapping[str, Any],
) -> None:
    """Write everything that a training needs to go on, atomically.

    Args:
        path: replaced when the new file is complete.
        step: optimizer steps done.
        dense: parameters that AdamW trains.
        optimizer: AdamW.
        adapters: what updates parameters beyond that.
        curves: lists of numbers so far.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".partial")
    torch.save(
        {
            "step": step,
            "dense": {name: parameter.detach() for name, parameter in dense.items()},
            "optimizer": optimizer.state_dict(),
            "adapters": [{"result": adapter.result(), "state": adapter.state_dict()} for adapter in adapters],
            "curves": dict(curves),
        },
        temporary,
    )
    os.replace(temporary, path)


def load_checkpoint(
    path: Path,
    dense: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    adapters: "Sequence[Adapter]",
    curves: dict[str, Any],
) -> int:
    """Put a checkpoint back into what ``save_checkpoint`` was given.

    Returns:
        Optimizer steps done.
    """
    saved = torch.load(path, map_location="cpu", weights_only=True)
    with torch.no_grad():
        for name, parameter in dense.items():
            parameter.copy_(saved["dense"][name])
    optimizer.load_state_dict(saved["optimizer"])
    for adapter, state in zip(adapters, saved["adapters"], strict=True):
        adapter.load_result(state["result"])
        adapter.load_state_dict(state["state"])
    curves.update(saved["curves"])
    return int(saved["step"])


def save_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors and check that all of them arrived.

    Raises:
        ValueError: if the file does not hold what was given.
    """
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    found = load_file(path)
    if set(found) != set(tensors):
        raise ValueError(f"{path}: wrote {len(tensors)} tensors, found {len(found)}")


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file."""
    return load_file(path)
