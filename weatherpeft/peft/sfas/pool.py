"""Many parameters as one long vector, and sets of its entries."""

from collections.abc import Iterator, Mapping

import torch

from weatherpeft.peft.sfas.file_tensors import FileTensors


class Pool:
    """Parameters laid end to end: entry ``i`` of the pool is one scalar of one parameter.

    Attributes:
        parameters: the parameters by name, in their order.
        start: pool index of each parameter's first entry.
        size: number of entries.
        dtype: type of everything that is computed from the pool, float32 or wider.
        device: device of all parameters.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Lay out the parameters.

        Raises:
            ValueError: there are none.
        """
        if not parameters:
            raise ValueError("a pool needs at least one parameter, found none")
        self.parameters = dict(parameters)
        self.start: dict[str, int] = {}
        self.size = 0
        self.dtype = torch.float32
        self.device = next(iter(self.parameters.values())).device
        for name, parameter in self.parameters.items():
            self.start[name] = self.size
            self.size += parameter.numel()
            self.dtype = torch.promote_types(self.dtype, parameter.dtype)

    def locate(self, index: torch.Tensor) -> Iterator[tuple[str, slice, torch.Tensor]]:
        """Distribute entries over the parameters.

        Args:
            index: pool indices ``(entry,)``, ascending.

        Yields:
            For each parameter that holds at least one of them: its name, its slice of ``index``, and
            the entries of this slice counted from the parameter's start.
        """
        bounds = self._bounds(index).tolist()
        for (name, start), first, last in zip(self.start.items(), bounds, bounds[1:], strict=False):
            if last > first:
                yield name, slice(first, last), index[first:last] - start

    def count(self, index: torch.Tensor) -> torch.Tensor:
        """Number of entries in each parameter.

        Args:
            index: pool indices ``(entry,)``, ascending.

        Returns:
            Counts ``(parameter,)`` int64, on the CPU.
        """
        return self._bounds(index).diff().cpu()

    def _bounds(self, index: torch.Tensor) -> torch.Tensor:
        """Where each parameter begins and the last one ends in ascending pool indices."""
        starts = torch.tensor([*self.start.values(), self.size], device=index.device)
        return torch.searchsorted(index, starts)


class EntrySet:
    """A set of pool indices: a file-backed tensor with one bit for each entry of the pool."""

    def __init__(self, size: int) -> None:
        """Start an empty set of indices below ``size``."""
        self._files = FileTensors("entry-set-")
        self._bytes = self._files.add("members", (size + 7) // 8, torch.uint8)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, index: torch.Tensor) -> None:
        """Add pool indices ``(entry,)``, each of them once."""
        index = index.cpu()
        for bit in range(8):
            position = index[index % 8 == bit] // 8
            before = self._bytes[position]
            after = before | (1 << bit)
            self._bytes[position] = after
            self._size += int((before != after).sum())
        self._files.let_go("members")

    def mask(self, start: int, end: int) -> torch.Tensor:
        """Whether each index from ``start`` to before ``end`` is a member, bool ``(index,)`` on the CPU."""
        packed = self._bytes[start // 8 : (end + 7) // 8]
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        return bits.flatten()[start % 8 :][: end - start].bool()

    def between(self, start: int, end: int) -> torch.Tensor:
        """The members from ``start`` to before ``end``, ascending and counted from ``start``, on the CPU."""
        return self.mask(start, end).nonzero().squeeze(1)
