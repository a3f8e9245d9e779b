"""Tensors in files, for what is as large as the model and must not stay in memory."""

import ctypes
import os
from mmap import MADV_DONTNEED
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch


def mapped(path: Path, size: int, dtype: torch.dtype) -> torch.Tensor:
    """A flat tensor ``(size,)`` whose values are those of a file. What the file lacks is zero.

    Args:
        path: the file; it exists.
        size: number of entries.
        dtype: type of the entries.

    Raises:
        OSError: the disk has no room for it. A file with holes would end the process when they are filled.
    """
    if size:
        with path.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, size * dtype.itemsize)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
    return torch.from_file(str(path), shared=True, size=size, dtype=dtype)


class FileTensors(dict[str, torch.Tensor]):
    """Flat tensors by name on the CPU, each mapped from a file in the temporary directory (``TMPDIR``).

    If the directory lies on a disk, the system writes the tensors out and reuses their memory when it needs
    to. A file loses its name as soon as it is mapped: its space is free again when the tensor is gone, even
    if the process is killed. Files are not held open, because there may be thousands.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self._prefix = prefix

    def add(self, name: str, size: int, dtype: torch.dtype) -> torch.Tensor:
        """Add a tensor of zeros ``(size,)``."""
        with NamedTemporaryFile(prefix=self._prefix) as file:
            self[name] = mapped(Path(file.name), size, dtype)
        return self[name]

    def let_go(self, name: str) -> None:
        """Drop a tensor from the process's resident memory until it is next read or written."""
        tensor = self[name]
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.madvise(ctypes.c_void_p(tensor.data_ptr()), ctypes.c_size_t(tensor.nbytes), MADV_DONTNEED):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
