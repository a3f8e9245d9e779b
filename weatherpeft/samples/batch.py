"""Batches of tensors, and the only place where arrays become tensors."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice

import numpy as np
import torch

from weatherpeft.fields.variables import VariableSet
from weatherpeft.samples.frames import SampleFrames


@dataclass(frozen=True)
class Fields:
    """Fields by WeatherBench 2 name, in physical units, or transformed (see ``SampleFrames.seen``).

    Attributes:
        surface: ``(batch, [history,] latitude, longitude)`` each.
        atmospheric: ``(batch, [history,] level, latitude, longitude)`` each.
    """

    surface: dict[str, torch.Tensor]
    atmospheric: dict[str, torch.Tensor]

    def channels(self) -> torch.Tensor:
        """All fields of one time, stacked to ``(batch, channel, latitude, longitude)``.

        The order is that of ``VariableSet.channels``: surface, then atmospheric variables × levels.
        """
        surface = [field[:, None] for field in self.surface.values()]
        return torch.cat(surface + list(self.atmospheric.values()), dim=1)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Fields":
        """Apply a function to every field."""
        return Fields(
            {name: change(field) for name, field in self.surface.items()},
            {name: change(field) for name, field in self.atmospheric.items()},
        )

    def to(self, device: torch.device) -> "Fields":
        """The same fields on a device."""
        return self.map(lambda field: field.to(device))


@dataclass(frozen=True)
class Batch:
    """Samples as the input of a model.

    Attributes:
        inputs: input fields with a ``history`` dim, on the model's grid.
        static: fields without time, ``(latitude, longitude)`` each.
        target: target fields of one time.
        times: time of the last input frame of every sample, in UTC without a time zone.
        latitude: latitudes in degrees, north to south, ``(latitude,)``.
        longitude: longitudes in degrees, increasing from 0, ``(longitude,)``.
        levels_hpa: pressure levels in hPa.
        lead_hours: lead time in hours of every sample's target; empty if the model uses its own.
        later: target fields of the times that a rollout reaches after the target's.
    """

    inputs: Fields
    static: dict[str, torch.Tensor]
    target: Fields
    times: tuple[datetime, ...]
    latitude: torch.Tensor
    longitude: torch.Tensor
    levels_hpa: tuple[int, ...]
    lead_hours: tuple[int, ...] = ()
    later: tuple[Fields, ...] = ()

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """Apply a function to every tensor."""
        return Batch(
            self.inputs.map(change),
            {name: change(field) for name, field in self.static.items()},
            self.target.map(change),
            self.times,
            change(self.latitude),
            change(self.longitude),
            self.levels_hpa,
            self.lead_hours,
            tuple(fields.map(change) for fields in self.later),
        )

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device. A copy from page-locked memory is asynchronous."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin_memory(self) -> "Batch":
        """The same batch in page-locked memory, from which a GPU reads while the CPU continues."""
        return self.map(torch.Tensor.pin_memory)


class Samples:
    """The samples of one split of a task, as batches of tensors.

    Args:
        frames: the same samples as arrays.
    """

    def __init__(self, frames: SampleFrames) -> None:
        self.frames = frames

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, indices: Sequence[int]) -> Batch:
        """The samples with some indices, as tensors on the CPU."""
        own = self.frames
        samples = [own.samples[index] for index in indices]
        seen, wanted, grid = own.fields.all, own.target_variables, own.window.target_grid
        frames = [[own.seen(frame) for frame in own.inputs(sample)] for sample in samples]
        targets = [own.seen(own.target(sample)) for sample in samples]
        later = [[own.seen(each) for each in own.later_targets(sample)] for sample in samples]
        times, leads = zip(*(own.told(sample) for sample in samples), strict=True)

        def history(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([[frame[name] for frame in window] for window in frames]))

        def moment(name: str, targets: Sequence[Mapping[str, np.ndarray]] = targets) -> torch.Tensor:
            return torch.from_numpy(np.stack([target[name] for target in targets]))

        def fields(of: Callable[[str], torch.Tensor], variables: VariableSet) -> Fields:
            return Fields(
                {name: of(name) for name in variables.surface},
                {name: of(name) for name in variables.atmospheric},
            )

        return Batch(
            inputs=fields(history, seen),
            static={name: torch.from_numpy(field) for name, field in own.static.items()},
            target=fields(moment, wanted),
            times=tuple(time.astype("datetime64[s]").item() for time in times),
            latitude=torch.from_numpy(np.ascontiguousarray(grid.latitude, dtype=np.float32)),
            longitude=torch.from_numpy(np.ascontiguousarray(grid.longitude, dtype=np.float32)),
            levels_hpa=seen.levels_hpa,
            lead_hours=leads,
            later=tuple(fields(partial(moment, targets=each), wanted) for each in zip(*later, strict=True)),
        )

    def order(self, seed: int, start: int = 0) -> Iterator[int]:
        """Sample indices without end, with a new permutation in each epoch.

        The permutations depend on the seed alone.

        Args:
            seed: seed of the permutations.
            start: number of indices to skip.
        """
        epoch, offset = divmod(start, len(self))
        while True:
            order = np.random.default_rng((seed, epoch)).permutation(len(self))
            yield from order[offset:].tolist()
            epoch, offset = epoch + 1, 0

    def batches(
        self, seed: int, size: int, start: int = 0, rank: int = 0, world: int = 1, ahead: int = 2
    ) -> Generator[Batch, None, None]:
        """One rank's share of every batch of a training, without end, read ahead of its use.

        Batch ``i`` of all ranks together is ``order[i * size : (i + 1) * size]`` of ``order(seed)``. Each
        rank takes an equal, contiguous share of it, rank 0 the first. The training samples thus depend on
        seed and size alone, whatever the number of ranks and wherever a killed training resumes.

        Args:
            seed: seed of the order.
            size: number of samples in a batch of all ranks together.
            start: number of batches to skip, which are those of the finished steps.
            rank: rank of this process, from 0.
            world: number of ranks; a divisor of ``size``.
            ahead: number of batches that a background thread reads while one is in use. It changes no result.

        Yields:
            Batches of ``size // world`` samples on the CPU, page-locked if there is a GPU.

        Raises:
            ValueError: the ranks cannot share a batch evenly.
        """
        if size % world or not 0 <= rank < world:
            raise ValueError(f"a batch of {size} samples cannot be shared evenly: rank {rank} of {world}")
        share = size // world
        order = self.order(seed, start * size)
        pin = torch.cuda.is_available()

        def read(indices: Sequence[int]) -> Batch:
            batch = self.batch(indices)
            return batch.pin_memory() if pin else batch

        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(1, "batches") as reader:
            try:
                while True:
                    indices = list(islice(order, size))[rank * share : (rank + 1) * share]
                    waiting.append(reader.submit(read, indices))
                    if len(waiting) > ahead:
                        yield waiting.popleft().result()
            finally:
                reader.shutdown(cancel_futures=True)
