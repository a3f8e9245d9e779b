"""Sums of the Fisher warm-up in files, from which a killed estimate goes on."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.peft.sfas.file_tensors import mapped
from weatherpeft.training.checkpoint import DAMAGED, replacing, to_disk

Key = tuple[str, str]
"""What is summed, ``square`` or ``gradient``, and the parameter's name."""
_PIECE = 2**26
"""Bytes of sums that one thread digests at a time."""
_log = logging.getLogger(__name__)


class FisherSums:
    """Sums by kind and parameter in files.

    Whenever the process or the node ends, they are those of complete batches. There are two files of all
    sums, which the batches write in turns. Each has a record as long as it holds complete batches.

    Attributes:
        batches: number of complete batches.
        samples: number of samples in them.
    """

    def __init__(self, directory: Path, parameters: Mapping[Key, nn.Parameter]) -> None:
        """Go on from the newest sums in the directory that are as they were written, or from zero."""
        directory.mkdir(parents=True, exist_ok=True)
        sizes = {name: parameter.numel() for name, parameter in parameters.items()}
        self._turns = [_Turn(directory / f"sums-{number}", sum(sizes.values())) for number in (0, 1)]
        self.batches, self.samples = _newest(self._turns)
        self._files: list[dict[Key, torch.Tensor]] = []
        for turn in self._turns:
            if not self.batches:
                turn.remove()
            parts = zip(parameters.items(), turn.values().split(list(sizes.values())), strict=True)
            self._files.append({name: part.view(parameter.shape) for (name, parameter), part in parts})
        self._missing = set(sizes)

    def add(self, name: Key, mean: torch.Tensor, count: int) -> None:
        """Add ``count`` times a mean to a sum, as part of the current batch."""
        old, new = self._begin()
        torch.add(old[name], mean.to("cpu", torch.float64), alpha=count, out=new[name])
        self._missing.discard(name)

    def complete(self, count: int) -> None:
        """Complete the current batch of ``count`` samples."""
        old, new = self._begin()
        for name in self._missing:
            new[name].copy_(old[name])
        self._missing = set(new)
        self.batches, self.samples = self.batches + 1, self.samples + count
        self._turns[self.batches % 2].seal(self.batches, self.samples)

    def items(self) -> Iterable[tuple[Key, torch.Tensor]]:
        """Keys and sums of the complete batches."""
        return self._files[self.batches % 2].items()

    def _begin(self) -> tuple[dict[Key, torch.Tensor], dict[Key, torch.Tensor]]:
        """The sums of the complete batches, and those to write, which are no longer those of earlier ones."""
        new = (self.batches + 1) % 2
        self._turns[new].record.unlink(missing_ok=True)
        return self._files[self.batches % 2], self._files[new]


@dataclass(frozen=True)
class _Turn:
    """One of the two files and its record: the numbers of batches and samples, and the SHA-256 of the sums.

    Attributes:
        path: the file.
        size: number of its sums.
    """

    path: Path
    size: int

    @property
    def record(self) -> Path:
        return self.path.with_suffix(".json")

    def values(self) -> torch.Tensor:
        """The sums, whose changes are those of the file; a new file holds zeros."""
        self.path.touch()  # torch alone would hide it from other users
        return mapped(self.path, self.size, torch.float64)

    def remove(self) -> None:
        """Remove the file and its record."""
        self.record.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    def seal(self, batches: int, samples: int) -> None:
        """Record that the sums are those of so many batches and samples, when they are on the disk."""
        to_disk(self.path)
        with replacing(self.record) as stream:
            stream.write(_sealed(json.dumps([batches, samples, self._digest()])))

    def read(self) -> tuple[int, int, str]:
        """What the record holds: batches, samples, and the SHA-256 of the sums.

        Raises:
            DamagedError: it is damaged.
        """
        content = self.record.read_bytes()
        text = content.partition(b"\n")[0].decode(errors="replace")
        if content != _sealed(text):
            raise DamagedError(self.record, DAMAGED, None)
        batches, samples, digest = json.loads(text)
        return int(batches), int(samples), str(digest)

    def check(self, digest: str) -> None:
        """Compare the sums with their SHA-256.

        Raises:
            DamagedError: they are missing or damaged.
        """
        if not self.path.is_file():
            raise DamagedError(self.path, "missing", None)
        if self.path.stat().st_size != 8 * self.size or self._digest() != digest:
            raise DamagedError(self.path, DAMAGED, None)

    def _digest(self) -> str:
        """SHA-256 of the SHA-256 of all pieces, which several threads find."""
        content: NDArray[np.uint8] = np.memmap(self.path, np.uint8, "r")
        pieces = [content[start : start + _PIECE] for start in range(0, content.size, _PIECE)]
        total = hashlib.sha256()
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for digest in pool.map(lambda piece: hashlib.sha256(piece).digest(), pieces):
                total.update(digest)
        return total.hexdigest()


def _sealed(text: str) -> bytes:
    """A line and its SHA-256."""
    return f"{text}\n{hashlib.sha256(text.encode()).hexdigest()}\n".encode()


def _newest(turns: Sequence[_Turn]) -> tuple[int, int]:
    """Numbers of batches and samples of the newest sums that are sound, 0 where there are none."""
    found = []
    for turn in turns:
        try:
            if turn.record.exists():
                found.append((*turn.read(), turn))
        except DamagedError as error:
            _tell(error)
    for batches, samples, digest, turn in sorted(found, key=lambda each: each[0], reverse=True):
        try:
            turn.check(digest)
        except DamagedError as error:
            _tell(error)
        else:
            return batches, samples
    return 0, 0


def _tell(error: DamagedError) -> None:
    _log.warning("%s; the estimate goes on from older sums or begins anew", error)
