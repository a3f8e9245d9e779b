"""Small files of a user's own: a globe in NetCDF, and a box around Greenwich in GRIB."""

from pathlib import Path

import numpy as np
import xarray as xr

GLOBE = np.arange(82.5, -90, -15), np.arange(0, 360, 15)
BOX = np.arange(58, 53.9, -0.25), np.arange(-2, 2.1, 0.25)


def fields(latitude: np.ndarray, longitude: np.ndarray, days: int, step: int = 6) -> xr.Dataset:
    """Waves of temperature at 2 m and on two levels, with noise, and a variable that no table has."""
    times = np.arange(0, 24 * days, step)
    random = np.random.default_rng(0)
    north, east = np.meshgrid(np.deg2rad(latitude), np.deg2rad(longitude), indexing="ij")
    values = 280 + 10 * np.cos(3 * east + times[:, None, None] / 30) * np.cos(north)
    values = (values + random.normal(size=values.shape)).astype("f4")
    flat, deep = ("time", "latitude", "longitude"), ("time", "level", "latitude", "longitude")
    return xr.Dataset(
        {
            "t2m": (flat, values, {"units": "K"}),
            "t": (deep, np.stack([values - 20, values - 5], 1), {"units": "K"}),
            "oddity": (flat, values, {"units": "K"}),
        },
        {
            "time": np.datetime64("2020-03-01", "ns") + times.astype("timedelta64[h]"),
            "level": ("level", [500, 850], {"units": "hPa"}),
            "latitude": latitude,
            "longitude": longitude,
        },
    )


def write_grib(dataset: xr.Dataset, path: Path) -> None:
    """The temperatures of a dataset as GRIB 2, and its oddity as the height of the boundary layer."""
    import eccodes

    with path.open("wb") as stream:
        for time in dataset.time.values:
            for name, level in (("2t", None), ("blh", None), ("t", 500), ("t", 850)):
                field = {"2t": dataset.t2m, "blh": dataset.oddity, "t": dataset.t}[name]
                field = field if level is None else field.sel(level=level)
                sample = "regular_ll_sfc_grib2" if level is None else "regular_ll_pl_grib2"
                handle = eccodes.codes_grib_new_from_samples(sample)
                day, hour = str(time)[:10].replace("-", ""), int(str(time)[11:13])
                keys = {"Ni": dataset.longitude.size, "Nj": dataset.latitude.size}
                keys |= {"dataDate": int(day), "dataTime": hour * 100}
                keys |= {"level": level} if level else {}
                for key, value in keys.items():
                    eccodes.codes_set(handle, key, value)
                eccodes.codes_set(handle, "shortName", name)
                latitude, longitude = dataset.latitude.values, dataset.longitude.values
                for word, axis in (("latitude", latitude), ("longitude", longitude % 360)):
                    for end, at in (("First", 0), ("Last", -1)):
                        eccodes.codes_set(handle, f"{word}Of{end}GridPointInDegrees", float(axis[at]))
                for word, axis in (("i", longitude), ("j", latitude)):
                    eccodes.codes_set(handle, f"{word}DirectionIncrementInDegrees", abs(axis[1] - axis[0]))
                eccodes.codes_set_values(handle, field.sel(time=time).values.astype("f8").ravel())
                eccodes.codes_write(handle, stream)
                eccodes.codes_release(handle)
