"""Many parameters addressed as one long vector, and sets of its entries."""

from collections.abc import Iterator, Mapping

import torch

from weatherpeft.peft.sfas.file_tensors import FileTensors


class Pool:
    """Parameters laid end to end: entry ``i`` of the pool is one scalar of one parameter.

    Attributes:
        parameters: by name, in the order in which they are laid.
        start: pool index of each parameter's first entry.
        size: number of entries.
        dtype: of everything computed from the pool, float32 or wider.
        device: that all parameters share.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Lay out the parameters; an empty mapping is a ValueError."""
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
            Of each parameter that holds at least one of them: its name, the slice of ``index`` that
            is its own, and these entries counted from the parameter's start.
        """
        starts = torch.tensor([*self.start.values(), self.size], device=index.device)
        bounds = torch.searchsorted(index, starts).tolist()
        for (name, start), first, last in zip(self.start.items(), bounds, bounds[1:], strict=False):
            if last > first:
                yield name, slice(first, last), index[first:last] - start


class EntrySet:
    """A set of pool indices at one bit an entry of the pool, in a file-backed tensor."""

    def __init__(self, size: int) -> None:
        """An empty set of indices below ``size``."""
        self._files = FileTensors("entry-set-")
        self._bytes = self._files.add("members", (size + 7) // 8, torch.uint8)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, index: torch.Tensor) -> None:
        """Add pool indices ``(entry,)``, each at most once."""
        index = index.cpu()
        for bit in range(8):
            position = index[index % 8 == bit] // 8
            before = self._bytes[position]
            after = before | (1 << bit)
            self._bytes[position] = after
            self._size += int((before != after).sum())
        self._files.let_go("members")

    def mask(self, start: int, end: int) -> torch.Tensor:
        """Which of the indices from ``start`` to before ``end`` are members, bool ``(index,)`` on the CPU."""
        packed = self._bytes[start // 8 : (end + 7) // 8]
        bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        return bits.flatten()[start % 8 :][: end - start].bool()

    def between(self, start: int, end: int) -> torch.Tensor:
        """The members from ``start`` to before ``end``, ascending, counted from ``start``, on the CPU."""
        return self.mask(start, end).nonzero().squeeze(1)
