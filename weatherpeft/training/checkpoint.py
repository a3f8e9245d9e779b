"""Checkpoints of a running training, and tuned weights as safetensors."""

import hashlib
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from weatherpeft.artifacts.manifest import DamagedError, checked

if TYPE_CHECKING:
    from weatherpeft.interfaces import Adapter


NEWEST, OLDER = "checkpoint.pt", "checkpoint-older.pt"
"""Files in the work directory with the newest checkpoint and the one before."""
DAMAGED = "damaged, its bytes are not those that were written"
_BLOCK = 2**20
_FOREIGN = (pickle.UnpicklingError, RuntimeError, ValueError, LookupError, TypeError, EOFError)
"""What reading and loading something else raises."""


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that replaces another when it is complete and on the disk, even if the node fails."""
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as stream:
        yield stream
    to_disk(temporary)
    os.replace(temporary, path)
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Wait until the present state of a file or directory is on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def save_checkpoint(
    work: Path,
    step: int,
    dense: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    adapters: "Sequence[Adapter]",
    curves: Mapping[str, Any],
) -> None:
    """Write everything that a training needs to go on, and keep the checkpoint before.

    There is a complete one at any moment, and never more than two, the unfinished one included.

    Args:
        work: work directory of the training.
        step: number of optimizer steps done.
        dense: parameters that AdamW trains.
        optimizer: AdamW.
        adapters: methods that update further parameters.
        curves: lists of numbers so far.
    """
    work.mkdir(parents=True, exist_ok=True)
    path = work / NEWEST
    if path.exists():
        path.replace(work / OLDER)
    content = {
        "step": step,
        "dense": {name: parameter.detach() for name, parameter in dense.items()},
        "optimizer": optimizer.state_dict(),
        "adapters": [{"result": adapter.result(), "state": adapter.state_dict()} for adapter in adapters],
        "curves": dict(curves),
    }
    with replacing(path) as stream:
        torch.save(content, stream)
        stream.flush()
        stream.write(bytes.fromhex(sha256(Path(stream.name))))


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose bytes are those that were written.

    Attributes:
        path: its file.
        content: what ``save_checkpoint`` wrote, on the CPU.
    """

    path: Path
    content: Mapping[str, Any]

    def load(
        self,
        dense: Mapping[str, torch.nn.Parameter],
        optimizer: torch.optim.Optimizer,
        adapters: "Sequence[Adapter]",
        curves: dict[str, Any],
    ) -> int:
        """Load it into the arguments, which are those of ``save_checkpoint``.

        Returns:
            Number of optimizer steps done.

        Raises:
            ValueError: it is none of this training.
        """
        try:
            with torch.no_grad():
                for name, parameter in dense.items():
                    parameter.copy_(self.content["dense"][name])
            optimizer.load_state_dict(self.content["optimizer"])
            for adapter, state in zip(adapters, self.content["adapters"], strict=True):
                adapter.load_result(state["result"])
                adapter.load_state_dict(state["state"])
            curves.update(self.content["curves"])
            return int(self.content["step"])
        except _FOREIGN as error:
            raise _none_of_this_training(self.path, error) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, after a comparison with its SHA-256. Only tensors and plain values are unpickled.

    Raises:
        DamagedError: it is truncated or damaged.
        ValueError: it is no checkpoint.
    """
    _check_trailer(path)
    try:
        return Checkpoint(path, dict(torch.load(path, map_location="cpu", weights_only=True)))
    except _FOREIGN as error:
        raise _none_of_this_training(path, error) from error


def _none_of_this_training(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path}: no checkpoint of this training ({_first_line(error)}); remove it to start anew"
    )


def _check_trailer(path: Path) -> None:
    """Compare a checkpoint with the SHA-256 at its end, which PyTorch ignores."""
    found = hashlib.sha256()
    left = max(path.stat().st_size - found.digest_size, 0)
    with path.open("rb") as stream:
        while block := stream.read(min(left, _BLOCK)):
            found.update(block)
            left -= len(block)
        intact = stream.read() == found.digest()
    if not intact:
        raise DamagedError(path, DAMAGED, None)


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


def tensor_bytes(path: Path) -> dict[str, int]:
    """Size in bytes of every tensor of a safetensors file, by name."""
    with safe_open(checked(path), "pt") as tensors:
        return {name: tensors.get_tensor(name).nbytes for name in tensors.keys()}


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file of weights.

    Raises:
        ValueError: the file is none, or a tensor is not finite. The message names it.
        DamagedError: the file is not the one that its artifact was made with.
    """
    checked(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: no safetensors file ({_first_line(error)})") from error
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: the tensor {name} is not finite")
    return tensors


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
