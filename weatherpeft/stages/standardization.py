"""Stage ``standardization``: mean and scale of the input frames of ensemble forecasts at every grid point."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import FieldSet, channel_label
from weatherpeft.samples.ensemble_window import EnsembleWindow
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Spec

if TYPE_CHECKING:
    import numpy as np

SMALLEST_SCALE = 0.01
"""Smallest scale of a grid point, as a share of the root mean square of the scale over the grid. It prevents
a division by zero at a point that does not vary."""


class StandardizationSpec(Spec):
    """Frames and samples of the statistics."""

    window: EnsembleWindow
    """Ensemble, frames and grids of a sample."""
    fields: FieldSet
    """Variables of the forecasts and declared placeholders."""
    train: Split
    """Samples of the training period."""


def standardization(
    spec: StandardizationSpec, data: Sequence[Path], forecasts: Sequence[Path], output: Path
) -> None:
    """Compute mean and scale of forecast ensembles at every grid point of the training period.

    Moments are over the training samples only, in float64. Frames of a variable with a transformation are
    transformed, the standard deviation like the mean. Memory holds one sample and the moments, whatever
    the number of samples.

    Args:
        spec: frames and samples.
        data: artifacts of the regrid stage with the analyses of the training period.
        forecasts: artifacts of the regrid stage with the forecasts of the training period.
        output: artifact with ``standardization.zarr``. ``mean`` and ``scale`` have dims ``(frame, channel,
            latitude, longitude)``. The scale is at least the standard deviation. Both are NaN where a
            variable is never defined.

    Raises:
        ValueError: a field varies at no grid point.

    Example:
        weatherpeft standardization --spec @standardization.json
            --data results/postprocessing_toy/regridded/20010111-20010201
            --forecasts results/postprocessing_toy/forecasts/20010111-20010201
            --output results/postprocessing_toy/standardization
    """
    import logging

    import numpy as np
    import xarray as xr

    from weatherpeft.fields.moments import Moments
    from weatherpeft.samples.ensemble_frames import EnsembleFrames
    from weatherpeft.samples.standardization import FRAMES, STORE

    samples = EnsembleFrames(spec.window, spec.fields, data, spec.train, forecasts)
    variables, grid = spec.fields.measured, spec.window.input_grid
    total: Moments | None = None
    for number, sample in enumerate(samples.samples, 1):
        frames = [
            np.concatenate(
                [frame[name][None] for name in variables.surface]
                + [frame[name] for name in variables.atmospheric]
            )
            for frame in map(variables.transformed, samples.inputs(sample))
        ]
        # Members are draws of one frame; standard deviation and mean are two frames, drawn once.
        draws = np.expand_dims(np.stack(frames), 1 if samples.ensemble.frames == "members" else 0)
        part = Moments.of(draws, np.ones(()), axis=0)
        total = part if total is None else Moments.stacked([total, part]).merged(axis=0)
        if number % 100 == 0:
            logging.getLogger(__name__).info("%d of %d samples", number, len(samples))
    assert total is not None
    frame_names = FRAMES[samples.ensemble.frames]
    labels = [channel_label(name, level) for name, level in variables.channels()]
    scale = total.standard_deviation
    typical = _root_mean_square(scale, grid.area_weights())
    for frame, channel in np.argwhere(~(typical > 0)):
        what = f"{labels[channel]} of the frame {frame_names[frame]}"
        raise ValueError(f"{what} does not vary over the training period at any grid point")
    scale = np.maximum(scale, SMALLEST_SCALE * typical[..., None, None])
    dims = ("frame", "channel", "latitude", "longitude")
    dataset = xr.Dataset(
        {"mean": (dims, total.mean.astype(np.float32)), "scale": (dims, scale.astype(np.float32))},
        coords={
            "frame": list(frame_names),
            "channel": labels,
            "latitude": grid.latitude,
            "longitude": grid.longitude,
        },
        attrs={"samples": len(samples)},
    )
    with store.artifact(output, spec, __name__, [*data, *forecasts]) as directory:
        store.write_dataset(dataset, directory / STORE)


def _root_mean_square(values: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    """Area-weighted root mean square over the points of ``(..., latitude, longitude)`` that are not NaN."""
    import numpy as np

    shares = np.where(np.isnan(values), 0, weights[:, None])
    squares = np.where(np.isnan(values), 0, values) ** 2
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = (shares * squares).sum(axis=(-2, -1)) / shares.sum(axis=(-2, -1))
    return np.sqrt(mean)
