"""Checkpoints of a running training and where they lie, and tuned weights as safetensors."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from safetensors.torch import load_file, save_file

from weatherpeft.artifacts import store
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter


def work_directory(work: Path, output: Path, spec: Spec, code: str, inputs: Sequence[Path]) -> Path:
    """Where the making of an artifact lies until the artifact is complete.

    Named by the artifact and by a digest of what it is made from: a job that is tried again finds what it
    left, a changed one never does.

    Args:
        work: of the experiment.
        output: final name of the artifact.
        spec: what it is made from.
        code: module name of the stage.
        inputs: artifacts, or files in them, that are read.
    """
    return work / f"{output.name}-{store.artifact_key(spec, code, inputs)}"


def remove_work(work: Path, output: Path) -> None:
    """Remove the work directories of an artifact that is complete, those of changed jobs included."""
    for directory in work.glob(f"{output.name}-{'[0-9a-f]' * 16}"):
        shutil.rmtree(directory)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that replaces another when it is complete, on the disk too: nodes fail."""
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as stream:
        yield stream
    to_disk(temporary)
    os.replace(temporary, path)
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Wait until a file, or the list of a directory, is on the disk as it is now."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


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
    content = {
        "step": step,
        "dense": {name: parameter.detach() for name, parameter in dense.items()},
        "optimizer": optimizer.state_dict(),
        "adapters": [{"result": adapter.result(), "state": adapter.state_dict()} for adapter in adapters],
        "curves": dict(curves),
    }
    with replacing(path) as stream:
        torch.save(content, stream)


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

    The file gets the permissions of any new file; safetensors alone would hide it from other users.

    Raises:
        ValueError: the file does not hold what was given.
    """
    path.touch()
    permissions = path.stat().st_mode
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    path.chmod(permissions)
    found = load_file(path)
    if set(found) != set(tensors):
        raise ValueError(f"{path}: wrote {len(tensors)} tensors, found {len(found)}")


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file."""
    return load_file(path)
