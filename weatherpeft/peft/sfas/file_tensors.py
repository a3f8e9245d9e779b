"""Tensors in files: what is as large as the model and must not stay in memory."""

import ctypes
import os
from mmap import MADV_DONTNEED
from tempfile import NamedTemporaryFile

import torch


class FileTensors(dict[str, torch.Tensor]):
    """Flat tensors by name on the CPU, each mapped from a file in the temporary directory (``TMPDIR``).

    The system writes them out and takes their memory when it is needed elsewhere, given that the
    directory lies on a disk. A file loses its name as soon as it is mapped, and is not held open, since there
    may be thousands: its space is free again when the tensor is gone, also where the process is killed.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def add(self, name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
        """A new tensor of zeros ``(size,)``."""
        with NamedTemporaryFile(prefix=self._prefix) as file:
            self[name] = torch.from_file(file.name, shared=True, size=size, dtype=dtype)
        return self[name]

    def let_go(self, name: str) -> None:
        """Take a tensor out of the process's resident memory until it is next read or written."""
        tensor = self[name]
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.madvise(ctypes.c_void_p(tensor.data_ptr()), ctypes.c_size_t(tensor.nbytes), MADV_DONTNEED):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
