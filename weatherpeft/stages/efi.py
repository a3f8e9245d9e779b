"""Stage ``efi``: the extreme forecast index, which says how far the raw ensemble departs from its climate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weatherpeft.artifacts import store
from weatherpeft.fields.variables import FieldSet
from weatherpeft.samples.ensemble_window import EnsembleWindow
from weatherpeft.samples.splits import Split
from weatherpeft.spec import Days, Spec

if TYPE_CHECKING:
    import numpy as np

    from weatherpeft.samples.ensemble_frames import EnsembleFrames


class EfiSpec(Spec):
    """Forecasts that get an index, and forecasts that are their climate."""

    window: EnsembleWindow
    """Ensemble, frames and grids of a sample."""
    fields: FieldSet
    """Variables of the forecasts and declared placeholders."""
    train: Split
    """Forecasts that make up the model's climate."""
    test: Split
    """Forecasts that get an index."""
    form: Literal["ens10", "exact"] = "exact"
    """Form of the index; see ``probabilistic.extreme_forecast_index``."""
    window_days: Days = 9
    """Number of days of the year, centered on that of a forecast, whose forecasts are its climate."""


def efi(spec: EfiSpec, data: Sequence[Path], forecasts: Sequence[Path], output: Path) -> None:
    """Compute the extreme forecast index of every target of every test forecast.

    The climate of a forecast is the members of all training forecasts whose valid time is near the same day
    of the year. No test forecast is part of it. Memory holds the targets of one day's climate.

    Args:
        spec: forecasts of the training and test splits, form and window of the index.
        data: artifacts of the regrid stage with the analyses of both splits.
        forecasts: artifacts of the regrid stage with the forecasts of both splits.
        output: artifact with ``efi.zarr``. ``efi`` has dims ``(time, channel, latitude, longitude)``, where
            ``time`` is the valid time.

    Raises:
        ValueError: a test forecast has no climate.

    Example:
        weatherpeft efi --spec @efi.json
            --data results/postprocessing_toy/regridded/20010111-20010201
            results/postprocessing_toy/regridded/20050111-20050201
            --forecasts results/postprocessing_toy/forecasts/20010111-20010201
            results/postprocessing_toy/forecasts/20050111-20050201 --output results/postprocessing_toy/efi
    """
    import numpy as np
    import xarray as xr

    from weatherpeft.samples.ensemble_frames import EnsembleFrames
    from weatherpeft.verification.ensemble import EFI_STORE
    from weatherpeft.verification.probabilistic import extreme_forecast_index

    past = EnsembleFrames(spec.window, spec.fields, data, spec.train, forecasts)
    test = EnsembleFrames(spec.window, spec.fields, data, spec.test, forecasts)
    grid, targets = spec.window.target_grid, test.ensemble.targets
    times = np.array([test.valid(sample) for sample in test.samples], "datetime64[ns]")
    index = np.empty((times.size, len(targets), *grid.shape), np.float32)
    days = np.array([str(time)[5:10] for time in times])
    for day in np.unique(days):
        places = np.flatnonzero(days == day)
        climate = _climate(past, times[places[0]], spec.window_days)
        for place in places:
            members = test.of_targets(test.forecast(test.samples[place]))
            for channel in range(len(targets)):
                index[place, channel] = extreme_forecast_index(
                    members[:, channel], climate[:, channel], spec.form
                )
    dataset = xr.Dataset(
        {"efi": (("time", "channel", "latitude", "longitude"), index)},
        coords={
            "time": times,
            "channel": [target.label for target in targets],
            "latitude": grid.latitude,
            "longitude": grid.longitude,
        },
        attrs={"form": spec.form},
    )
    with store.artifact(output, spec, __name__, [*data, *forecasts]) as directory:
        store.write_dataset(dataset, directory / EFI_STORE)


def _climate(past: "EnsembleFrames", time: "np.datetime64", window_days: int) -> "np.ndarray":
    """Members of the forecasts near a day of the year, ``(sample, target, latitude, longitude)``."""
    import numpy as np

    near = [
        sample for sample in past.samples if _days_apart(past.valid(sample), time) <= (window_days - 1) // 2
    ]
    if not near:
        raise ValueError(
            f"no training forecast is valid within {window_days // 2} days of the year around {time}: "
            "the extreme forecast index has no climate"
        )
    return np.concatenate([past.of_targets(past.forecast(sample)) for sample in near])


def _days_apart(one: "np.datetime64", other: "np.datetime64") -> int:
    """Whole days between two days of the year by the shorter way; their years do not count.

    >>> import numpy as np
    >>> _days_apart(np.datetime64("2001-12-30"), np.datetime64("2016-01-02T12"))
    3
    """
    day, month = (other.astype(f"datetime64[{unit}]") for unit in "DM")
    into_month, year = day - month.astype("datetime64[D]"), one.astype("datetime64[Y]")
    months = month - other.astype("datetime64[Y]").astype("datetime64[M]")
    moved = [
        (near.astype("datetime64[M]") + months).astype("datetime64[D]") + into_month
        for near in (year - 1, year, year + 1)
    ]
    return int(min(abs((each - one.astype("datetime64[D]")).astype(int)) for each in moved))
