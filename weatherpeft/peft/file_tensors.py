"""Tensors in files: what is as large as the model and must not stay in memory."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch


class FileTensors(dict[str, torch.Tensor]):
    """Flat tensors by name on the CPU, each mapped from a file of a temporary directory.

    The system writes them out and takes their memory when it is needed elsewhere, given that the
    directory (by default ``TMPDIR``) lies on a disk.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._directory = TemporaryDirectory(prefix=prefix)

    def add(self, name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
        """A new tensor of zeros ``(size,)``."""
        path = Path(self._directory.name) / str(len(self))
        self[name] = torch.from_file(str(path), shared=True, size=size, dtype=dtype)
        return self[name]
