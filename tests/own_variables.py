"""Files with variables that the table lacks, and the experiment that defines them."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml

from tests.sources.formats.test_files import grib
from weatherpeft.fields.grid import Grid

GRID = Grid(resolution_deg=11.25)
DAYS = 6
TIMES = [datetime(2020, 3, 1) + timedelta(hours=6 * step) for step in range(4 * DAYS)]
DEFINE: dict[str, Any] = {
    "hail_mass": {
        "kind": "surface",
        "units": "kg m**-2",
        "standard_name": "surface_hail_amount",
        "plausible": [-0.1, 500],
        "minimum": 0,
        "transformation": {"name": "log1p", "scale": 0.1},
        "starts_from": "2m_temperature",
    },
    "cloud_water": {
        "kind": "atmospheric",
        "units": "kg kg-1",
        "short_name": "clwc",
        "param_id": 246,
        "long_name": "Cloud liquid water",
        "minimum": 0,
        "transformation": {"name": "log1p", "scale": 1e-6},
        "starts_from": "specific_humidity",
    },
    "lake_depth": {"kind": "static", "units": "m", "aliases": ["dl"]},
}
VARIABLES = {
    "surface": ["2m_temperature", "hail_mass"],
    "atmospheric": ["temperature", "cloud_water"],
    "levels_hpa": [500, 850],
    "static": ["lake_depth"],
}


def hail(step: int) -> np.ndarray:
    """Hail of a time in kg m-2: none in most places, much in some."""
    random = np.random.default_rng((1, step))
    return random.exponential(3, GRID.shape) * (random.random(GRID.shape) < 0.3)


def cloud(step: int, level: int) -> np.ndarray:
    """Cloud water of a time in kg kg-1."""
    return np.random.default_rng((2, step, level)).lognormal(-12, 2, GRID.shape)


def write_files(folder: Path) -> None:
    """Write GRIB and NetCDF files as two centers might; hail is in g m-2 and tells only its standard name."""
    folder.mkdir()
    messages: list[dict[str, Any]] = []
    for step, time in enumerate(TIMES):
        when = {"dataDate": int(f"{time:%Y%m%d}"), "dataTime": time.hour * 100}
        random = np.random.default_rng((3, step))
        messages.append({"paramId": 167, **when, "values": random.normal(280, 5, GRID.shape)})
        for level in (500, 850):
            where = {"typeOfLevel": "isobaricInhPa", "level": level, **when}
            messages.append({"paramId": 130, **where, "values": random.normal(260, 5, GRID.shape)})
            messages.append({"paramId": 246, **where, "values": cloud(step, level)})
    grib(folder / "fields.grib", messages, GRID)
    axes = {
        "latitude": ("latitude", GRID.latitude, {"units": "degrees_north"}),
        "longitude": ("longitude", GRID.longitude, {"units": "degrees_east"}),
    }
    values = 1000 * np.stack([hail(step) for step in range(len(TIMES))]).astype("f4")
    attributes = {"standard_name": "surface_hail_amount", "units": "g m-2"}
    falling = {"h": (("time", "latitude", "longitude"), values, attributes)}
    xr.Dataset(falling, {"time": TIMES, **axes}).to_netcdf(folder / "hail.nc")
    depth = np.random.default_rng(4).uniform(0, 100, GRID.shape).astype("f4")
    xr.Dataset({"dl": (("latitude", "longitude"), depth, {"units": "m"})}, axes).to_netcdf(
        folder / "lakes.nc"
    )


def experiment(folder: Path, base: Path) -> dict[str, Any]:
    """An experiment on the files of ``write_files``, with the sizes of another one's configuration."""
    values: dict[str, Any] = yaml.safe_load(base.read_text())
    day = "2020-03-0{}".format
    return {
        **{key: values[key] for key in ("backbone", "training")},
        "name": "own",
        "data": "data/own",
        "define": DEFINE,
        "source": {
            "name": "local",
            "paths": [f"{folder}/*"],
            "span": {"start": day(1), "end": day(DAYS)},
        },
        "variables": VARIABLES,
        "splits": {
            "train": {"periods": [{"start": day(1), "end": day(3)}]},
            "validation": {"periods": [{"start": day(4), "end": day(4)}]},
            "test": {"periods": [{"start": day(5), "end": day(6)}]},
        },
        "task": {"name": "forecasting", "grid": {"resolution_deg": 11.25}, "residual": True},
        "pretraining": {
            "task": {"name": "forecasting", "grid": {"resolution_deg": 11.25}, "residual": True},
            "training": values["pretraining"]["training"],
        },
        "runs": {"full": {"methods": [{"name": "full"}]}},
        "baselines": ["persistence"],
    }
