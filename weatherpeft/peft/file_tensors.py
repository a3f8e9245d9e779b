"""Tensors in files: what is as large as the model and must not stay in memory."""

from tempfile import NamedTemporaryFile

import torch


class FileTensors(dict[str, torch.Tensor]):
    """Flat tensors by name on the CPU, each mapped from a file in the temporary directory (``TMPDIR``).

    The system writes them out and takes their memory when it is needed elsewhere, given that the
    directory lies on a disk. A file loses its name as soon as it is mapped, so that its space is free
    again when the tensor is gone, also where the process is killed.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def add(self, name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
        """A new tensor of zeros ``(size,)``."""
        with NamedTemporaryFile(prefix=self._prefix) as file:
            self[name] = torch.from_file(file.name, shared=True, size=size, dtype=dtype)
        return self[name]
