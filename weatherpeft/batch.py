"""The tensor container, and the only crossing from xarray to tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import torch

from weatherpeft.frames import SampleFrames


@dataclass(frozen=True)
class Fields:
    """Fields by WeatherBench 2 name, in physical units.

    Attributes:
        surface: ``(batch, [history,] latitude, longitude)`` each.
        atmospheric: ``(batch, [history,] level, latitude, longitude)`` each.
    """

    surface: dict[str, torch.Tensor]
    atmospheric: dict[str, torch.Tensor]

    def channels(self) -> torch.Tensor:
        """All fields of one time stacked, ``(batch, channel, latitude, longitude)``.

        The order is that of ``VariableSet.channels``: surface, then atmospheric variables × levels.
        """
        surface = [field[:, None] for field in self.surface.values()]
        return torch.cat(surface + list(self.atmospheric.values()), dim=1)

    def to(self, device: torch.device) -> "Fields":
        """The same fields on a device."""
        return Fields(
            {name: field.to(device) for name, field in self.surface.items()},
            {name: field.to(device) for name, field in self.atmospheric.items()},
        )


@dataclass(frozen=True)
class Batch:
    """Samples as a model takes them.

    Attributes:
        inputs: fields with a ``history`` dim, on the model's grid.
        static: ``(latitude, longitude)`` each.
        target: fields of one time.
        times: time of the last input frame of every sample, naive UTC.
        latitude: degrees, north to south.
        longitude: degrees, increasing from 0.
        levels_hpa: pressure levels.
    """

    inputs: Fields
    static: dict[str, torch.Tensor]
    target: Fields
    times: tuple[datetime, ...]
    latitude: torch.Tensor
    longitude: torch.Tensor
    levels_hpa: tuple[int, ...]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(
            self.inputs.to(device),
            {name: field.to(device) for name, field in self.static.items()},
            self.target.to(device),
            self.times,
            self.latitude.to(device),
            self.longitude.to(device),
            self.levels_hpa,
        )


class Samples(SampleFrames):
    """The samples of one split of a task, as batches of tensors (see ``frames.SampleFrames``)."""

    def batch(self, indices: Sequence[int]) -> Batch:
        """Samples by index, as tensors on the CPU."""
        samples = [self.samples[index] for index in indices]
        variables = self.fields.all
        frames = [self.inputs(sample) for sample in samples]
        targets = [self.target(sample) for sample in samples]
        grid = self.window.target_grid

        def history(name: str) -> torch.Tensor:
            return torch.from_numpy(
                np.stack([np.stack([frame[name] for frame in window]) for window in frames])
            )

        def moment(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([target[name] for target in targets]))

        return Batch(
            inputs=Fields(
                {name: history(name) for name in variables.surface},
                {name: history(name) for name in variables.atmospheric},
            ),
            static={name: torch.from_numpy(field) for name, field in self.static.items()},
            target=Fields(
                {name: moment(name) for name in variables.surface},
                {name: moment(name) for name in variables.atmospheric},
            ),
            times=tuple(sample.time.astype("datetime64[s]").item() for sample in samples),
            latitude=torch.from_numpy(np.ascontiguousarray(grid.latitude, dtype=np.float32)),
            longitude=torch.from_numpy(np.ascontiguousarray(grid.longitude, dtype=np.float32)),
            levels_hpa=variables.levels_hpa,
        )

    def order(self, seed: int) -> Iterator[int]:
        """Sample indices without end: a new permutation each epoch, a function of the seed alone."""
        epoch = 0
        while True:
            yield from np.random.default_rng((seed, epoch)).permutation(len(self)).tolist()
            epoch += 1
