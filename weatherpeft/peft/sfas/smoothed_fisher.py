"""The Fisher information that SFAS remembers from step to step."""

from collections.abc import Iterable

import torch

from weatherpeft.peft.sfas.file_tensors import FileTensors
from weatherpeft.peft.sfas.pool import Pool


class SmoothedFisher(FileTensors):
    """F_t = beta·F_{t−1} + (1 − beta)·f_t by parameter, in file-backed float32 tensors ``(entry,)``.

    Args:
        start: F_0 by parameter, from the Fisher warm-up's store; None if there is no store.
        pool: the parameters.
        beta: memory of the Fisher information.

    Raises:
        ValueError: there is no store, or it does not fit the pool.
    """

    def __init__(self, start: Iterable[tuple[str, torch.Tensor]] | None, pool: Pool, beta: float) -> None:
        super().__init__("sfas-fisher-")
        if start is None:
            raise ValueError("sfas: this selection needs the Fisher warm-up's store, found none")
        self._pool, self._beta = pool, beta
        for name, values in start:
            if name not in pool.parameters:
                continue
            expected = pool.parameters[name].shape
            if values.shape != expected:
                found = f"{tuple(values.shape)}, expected {tuple(expected)}"
                raise ValueError(f"sfas: Fisher information of {name} has shape {found}")
            self.add(name, values.numel(), torch.float32).copy_(values.reshape(-1))
        if missing := pool.parameters.keys() - self.keys():
            raise ValueError(f"sfas: the Fisher warm-up's store lacks {min(missing)}")

    def smooth(self, name: str, chunk: slice, square: torch.Tensor | None) -> torch.Tensor:
        """Take in f_t of some entries of a parameter.

        Args:
            name: name of the parameter.
            chunk: the entries.
            square: f_t of them ``(entry,)``; None to leave the memory as it is.

        Returns:
            F_t of the entries ``(entry,)``, in the pool's type and on its device.
        """
        stored = self[name][chunk]
        if square is not None:
            stored.mul_(self._beta).add_(square.to(stored), alpha=1 - self._beta)
        return stored.to(self._pool.device, self._pool.dtype)
