"""Small Zarr stores in the layouts of ARCO-ERA5 and WeatherBench 2, and an HTTP server for them."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import unquote

import dask.array
import numpy as np
import xarray as xr
import zarr

from tests.loopback import serving
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.copied import CopiedSource

LEVELS = [
    1, 2, 3, 5, 7, 10, 20, 30, 50, 70, 100, 125, 150, 175, 200, 225, 250, 300, 350, 400, 450, 500, 550,
    600, 650, 700, 750, 775, 800, 825, 850, 875, 900, 925, 950, 975, 1000,
]  # fmt: skip
UNITS = {
    "2m_temperature": "K", "10m_wind_gust": "m s**-1", "temperature": "K", "geopotential": "m**2 s**-2",
    "total_precipitation": "m", "land_sea_mask": "(0 - 1)", "geopotential_at_surface": "m**2 s**-2",
    "soil_type": "~",
}  # fmt: skip
STATIC = ("land_sea_mask", "geopotential_at_surface", "soil_type")
BASE = dict(zip(UNITS, (280, 5, 250, 50_000, 0.001, 0.5, 1000, 3), strict=True))


def value(name: str, time: Any, level: Any, latitude: Any, longitude: Any) -> Any:
    """What stands in every store: a formula that tells places and times apart, NumPy broadcasting."""
    hours = (np.asarray(time).astype("datetime64[h]") - np.datetime64("2001-01-01", "h")).astype(int)
    latitude, longitude, level = (np.asarray(axis, np.float64) for axis in (latitude, longitude, level))
    place = latitude / 90 + longitude / 3600 + level / 1e4
    return np.float32(BASE[name] * (1 + 0.1 * place + hours / 1e4))


def expected(name: str, times: Any, latitude: Any, longitude: Any, levels: Any = None) -> Any:
    """The canonical field, ``([time,] [level,] latitude, longitude)``, from the formula."""
    axes = [np.asarray(axis) for axis in (times, levels, latitude, longitude) if axis is not None]
    grids: dict[str, Any] = dict.fromkeys(("time", "level", "latitude", "longitude"))
    names = [n for n, a in zip(grids, (times, levels, latitude, longitude), strict=True) if a is not None]
    for position, (one, axis) in enumerate(zip(names, axes, strict=True)):
        grids[one] = axis.reshape([-1 if position == i else 1 for i in range(len(axes))])
    time = np.datetime64("2001-01-01") if times is None else grids["time"]
    level = 0 if levels is None else grids["level"]
    return value(name, time, level, grids["latitude"], grids["longitude"])


def hours(start: str, end: str, step: int = 1) -> Any:
    """Times from 00 UTC of a day to the end of another."""
    stop = np.datetime64(end, "h") + np.timedelta64(1, "D")
    return np.arange(np.datetime64(start, "h"), stop, np.timedelta64(step, "h"))


def write(
    path: Path, names: list[str], dims: tuple[str, ...], axes: dict[str, Any], filled: Any, **more: Any
):
    """Write a store of format 2, of whose time axis only the times in ``filled`` have values.

    Args:
        path: where the store goes.
        names: of the variables, with a colon and the store's name where that is another.
        dims: order of the dimensions.
        axes: coordinates.
        filled: times that are written.
        more: ``attrs`` of the store; ``chunk``, times to a chunk; ``change``, called with each array.
    """
    chunk = more.get("chunk", 1)
    arrays, encoding = {}, {}
    for name in names:
        known, _, other = name.partition(":")
        static = known in STATIC
        levels = axes["level"] if known in ("temperature", "geopotential") else None
        used = [d for d in dims if (d != "time" or not static) and (d != "level" or levels is not None)]
        canonical = [d for d in ("time", "level", "latitude", "longitude") if d in used]
        values = expected(
            known, None if static else axes["time"], axes["latitude"], axes["longitude"], levels
        )  # fmt: skip
        array = xr.DataArray(values, dims=canonical).transpose(*used)
        attributes = {"units": UNITS[known], "long_name": known, "short_name": known}
        arrays[other or known] = (used, array.values, attributes)
        encoding[other or known] = {"chunks": [chunk if d == "time" else len(axes[d]) for d in used]}
    first, last = np.searchsorted(axes["time"].astype("datetime64[h]"), filled[[0, -1]])
    dataset = xr.Dataset(arrays, axes, attrs=more.get("attrs", {}))
    if "change" in more:
        dataset = more["change"](dataset)
    template = dataset.copy(
        data={n: dask.array.zeros(a.shape, a.dtype, chunks=a.shape) for n, a in dataset.data_vars.items()}
    )  # fmt: skip
    encoding = {name: encoding[name] for name in dataset.data_vars if name in encoding}
    template.to_zarr(path, zarr_format=2, compute=False, consolidated=True, encoding=encoding,
                     safe_chunks=False)  # fmt: skip
    group = zarr.open_group(path, mode="r+", zarr_format=2)
    for own, array in dataset.data_vars.items():
        part = ... if own in STATIC else slice(first, last + 1)
        stored: Any = group[str(own)]
        stored[part] = array.values[part]


def arco(path: Path, resolution: float = 15.0, names: list[str] | None = None, **more: Any) -> Path:
    """Hourly, 37 levels, from the north pole; three days with data on an axis of twenty."""
    axes = {
        "time": hours("2000-12-25", "2001-01-13").astype("datetime64[ns]"),
        "level": LEVELS,
        "latitude": np.arange(90, -90.1, -resolution, dtype=np.float32),
        "longitude": np.arange(0, 360, resolution, dtype=np.float32),
    }
    names = names or [
        "2m_temperature", "10m_wind_gust:10m_wind_gust_since_previous_post_processing", "temperature",
        "total_precipitation", "land_sea_mask", "geopotential_at_surface", "soil_type",
    ]  # fmt: skip
    attributes = {"valid_time_start": "2000-12-31", "valid_time_stop": "2001-01-02",
                  "valid_time_stop_era5t": "2001-01-05", "last_updated": "2001-01-06"}  # fmt: skip
    dims = ("time", "level", "latitude", "longitude")
    write(path, names, dims, axes, hours("2000-12-31", "2001-01-02"), attrs=attributes, **more)
    return path


def weatherbench2(path: Path, step: int = 6, north_first: bool = False, chunk: int = 3, **more: Any) -> Path:
    """``(time, level, longitude, latitude)`` on a grid without poles; a few times to a chunk."""
    latitude = np.arange(-82.5, 90, 15)
    axes = {
        "time": hours("2000-12-31", "2001-02-02", step).astype("datetime64[ns]"),
        "level": [50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 850, 925, 1000],
        "latitude": latitude[::-1] if north_first else latitude,
        "longitude": np.arange(0, 360, 15.0),
    }
    names = [name for name in UNITS if name not in ("10m_wind_gust", "total_precipitation")]
    names.append("total_precipitation" if step == 1 else "total_precipitation:total_precipitation_6hr")
    dims = ("time", "level", "longitude", "latitude")
    write(path, names, dims, axes, hours("2000-12-31", "2001-02-02", step), chunk=chunk, **more)
    return path


class Server:
    """What a server was asked for, and what it answers instead of files.

    Attributes:
        url: of the served folder.
        asked: how often each path was asked for.
        status: answers these paths with a status.
        limit: after this many answers, further ones wait until ``go`` is set.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: Counter[str] = Counter()
        self.status: dict[str, int] = {}
        self.limit: int | None = None
        self.headers: list[dict[str, str]] = []
        self.go = Event()

    def chunks(self, name: str = "") -> dict[str, int]:
        """How often each chunk of a variable was asked for."""
        return {
            path: n for path, n in self.asked.items() if name in path and path.rsplit("/")[-1][0].isdigit()
        }


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, server_state: Server, **options: Any) -> None:
        self.state = server_state
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        # A file of the folder, or an object of a bucket in Google's storage, whose name is the folder's.
        path = self.path = re.sub(r"^/download/storage/v1/b/[^/]*/o", "", unquote(self.path.split("?")[0]))
        if self.state.limit is not None and sum(self.state.asked.values()) >= self.state.limit:
            self.state.go.wait(60)
        self.state.asked[path] += 1
        self.state.headers.append(dict(self.headers))
        if path in self.state.status:
            self.send_error(self.state.status[path])
        else:
            with suppress(BrokenPipeError, ConnectionResetError):  # of a client that was killed
                super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serve a folder over HTTP on the loopback interface."""
    state = Server()
    with serving(partial(_Handler, directory=str(folder), server_state=state)) as state.url:
        try:
            yield state
        finally:
            state.go.set()


def request(start: str, end: str, step_hours: int = 6, **variables: Any) -> DataRequest:
    period = {"start": start, "end": end}
    return DataRequest.parse({"variables": variables, "period": period, "step_hours": step_hours})


def fetch(one: CopiedSource, wanted: DataRequest, folder: Path) -> xr.Dataset:
    """Fetch into ``folder/raw`` by way of ``folder/work``, and decode."""
    raw = folder / "raw"
    raw.mkdir(parents=True)
    one.fetch(wanted, raw, folder / "work")
    return one.decode(wanted, raw)


def check_values(dataset: xr.Dataset) -> None:
    """Every value of a canonical dataset is the formula's, at the place and time that its axes say."""
    assert (np.diff(dataset["latitude"]) < 0).all() and (np.diff(dataset["longitude"]) > 0).all()
    for name, array in dataset.data_vars.items():
        time = next((array[d].values for d in array.dims if str(d).endswith("time")), None)
        levels = array["level"].values if "level" in array.dims else None
        values = expected(str(name), time, array["latitude"].values, array["longitude"].values, levels)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array.values, values, err_msg=str(name))
