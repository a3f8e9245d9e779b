"""The samples of an ensemble's forecasts, as batches of tensors."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.batch import Batch, Fields, Samples
from weatherpeft.samples.ensemble_frames import EnsembleFrames
from weatherpeft.samples.window import Split, Window


def samples_of(
    window: Window,
    fields: FieldSet,
    directories: Sequence[Path],
    split: Split,
    forecasts: Sequence[Path] = (),
) -> Samples:
    """The samples of a task as batches; arguments as of ``ensemble_frames.frames_of``."""
    if window.ensemble is None:
        return Samples(window, fields, directories, split)
    return EnsembleSamples(window, fields, directories, split, forecasts)


class EnsembleSamples(EnsembleFrames, Samples):
    """Batches whose history is the ensemble's frames and whose target has the targets' variables alone.

    The model is told the valid time, and a lead time of 0.
    """

    def batch(self, indices: Sequence[int]) -> Batch:
        """Samples by index, as tensors on the CPU."""
        samples = [self.samples[index] for index in indices]
        seen, wanted, grid = self.fields.all, self.ensemble.variables, self.window.target_grid
        frames = [self.inputs(sample) for sample in samples]
        targets = [self.target(sample) for sample in samples]

        def history(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([[frame[name] for frame in window] for window in frames]))

        def moment(name: str) -> torch.Tensor:
            return torch.from_numpy(np.stack([target[name] for target in targets]))

        def of(make: Callable[[str], torch.Tensor], surface: Sequence[str], upper: Sequence[str]) -> Fields:
            return Fields({name: make(name) for name in surface}, {name: make(name) for name in upper})

        return Batch(
            inputs=of(history, seen.surface, seen.atmospheric),
            static={name: torch.from_numpy(field) for name, field in self.static.items()},
            target=of(moment, wanted.surface, wanted.atmospheric),
            times=tuple(self.valid(sample).astype("datetime64[s]").item() for sample in samples),
            latitude=torch.from_numpy(np.ascontiguousarray(grid.latitude, dtype=np.float32)),
            longitude=torch.from_numpy(np.ascontiguousarray(grid.longitude, dtype=np.float32)),
            levels_hpa=seen.levels_hpa,
            lead_hours=(0,) * len(samples),
        )
