"""Tensors in files: what is as large as the model and must not stay in memory."""

from mmap import MADV_DONTNEED, mmap
from tempfile import TemporaryFile

import torch


class FileTensors(dict[str, torch.Tensor]):
    """Flat tensors by name on the CPU, each mapped from a file in the temporary directory (``TMPDIR``).

    The system writes them out and takes their memory when it is needed elsewhere, given that the
    directory lies on a disk. The files have no name, so that their space is free again when the tensors
    are gone, also where the process is killed.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix
        self._maps: dict[str, mmap] = {}

    def add(self, name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
        """A new tensor of zeros ``(size,)``."""
        with TemporaryFile(prefix=self._prefix) as file:
            file.truncate(size * dtype.itemsize)
            self._maps[name] = mmap(file.fileno(), 0)
        self[name] = torch.frombuffer(self._maps[name], dtype=dtype)
        return self[name]

    def let_go(self, name: str) -> None:
        """Take a tensor out of the process's resident memory until it is next read or written."""
        self._maps[name].madvise(MADV_DONTNEED)
