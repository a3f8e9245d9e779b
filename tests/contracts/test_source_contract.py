"""What every source of the union promises, on one day of the smallest data."""

import re
import warnings
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
import xarray as xr
import zarr

from tests.sources import cds_server
from weatherpeft.fields.variables import VARIABLES
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources import AnySource
from weatherpeft.sources.local import Local
from weatherpeft.sources.toy.spec import Toy
from weatherpeft.spec import Spec

KINDS: list[type[Spec]] = list(get_args(get_args(AnySource)[0]))
DAY = {"start": "2001-01-15", "end": "2001-01-15"}
REQUEST = DataRequest.parse(
    {
        "variables": {
            "surface": ["2m_temperature"],
            "accumulated": ["total_precipitation"],
            "atmospheric": ["temperature"],
            "levels_hpa": [500, 850],
            "static": ["land_sea_mask"],
        },
        "period": DAY,
    }
)
TOY = {
    "name": "toy",
    "spans": [DAY],
    "truncation": 21,
    "resolution_deg": 7.5,
    "coarse_spinup_days": 1,
    "fine_spinup_days": 0,
    "full_spinup_days": 1,
}
DIMS = {
    "2m_temperature": ("time", "latitude", "longitude"),
    "temperature": ("time", "level", "latitude", "longitude"),
    "land_sea_mask": ("latitude", "longitude"),
    "total_precipitation": ("hourly_time", "latitude", "longitude"),
}


class Fetched(NamedTuple):
    source: Any
    raw: Path

    def decoded(self, request: DataRequest = REQUEST) -> xr.Dataset:
        found: xr.Dataset = self.source.decode(request, self.raw)
        return found


def name_of(kind: type[Spec]) -> str:
    return str(get_args(kind.model_fields["name"].annotation)[0])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of the toy planet, for the sources that read files of the user's own."""
    raw = tmp_path_factory.mktemp("files")
    Toy.parse(TOY).fetch(REQUEST, raw, tmp_path_factory.mktemp("work"))
    return raw


@pytest.fixture(scope="module")
def stores(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same day as Zarr stores, one in each layout; every hour has the temperature of the last frame."""
    folder = tmp_path_factory.mktemp("stores")
    source = Local.parse({"name": "local", "paths": ["none"], "span": DAY})
    found = source.decode(REQUEST, files).load()
    hours = found["hourly_time"].values
    rain = found["total_precipitation"].rename(hourly_time="time")
    found = found.drop_vars(["total_precipitation", "hourly_time"]).reindex(time=hours, method="ffill")
    found = found.assign(total_precipitation=rain)
    days = {"valid_time_start": DAY["start"], "valid_time_stop": DAY["end"]}
    found.assign_attrs(days).to_zarr(folder / "arco.zarr", zarr_format=2)
    turned = found.transpose("time", "level", "longitude", "latitude").sortby("latitude")
    turned.to_zarr(folder / "wb2.zarr", zarr_format=2)
    anemoi(folder / "anemoi.zarr", found)
    return folder


def anemoi(path: Path, found: xr.Dataset) -> None:
    """Write the fields in the layout of anemoi-datasets, ``(dates, variables, ensemble, grid)``."""
    static = found["land_sea_mask"].expand_dims(time=found["time"])
    fields = {"2t": found["2m_temperature"], "tp": found["total_precipitation"], "lsm": static}
    fields |= {f"t_{level}": found["temperature"].sel(level=level) for level in found["level"].values}
    data = np.stack([field.values.reshape(found.sizes["time"], 1, -1) for field in fields.values()], axis=1)
    latitude, longitude = np.meshgrid(found["latitude"], found["longitude"], indexing="ij")
    group = zarr.create_group(path, zarr_format=2, attributes={"variables": list(fields)})
    group.create_array("data", data=data, chunks=(1, *data.shape[1:]))
    group.create_array("dates", data=found["time"].values.astype("datetime64[s]"))
    group.create_array("latitudes", data=latitude.ravel())
    group.create_array("longitudes", data=longitude.ravel())


@pytest.fixture(scope="module", params=KINDS, ids=name_of)
def fetched(
    request: pytest.FixtureRequest, files: Path, stores: Path, tmp_path_factory: pytest.TempPathFactory
) -> Fetched:
    """A tiny instance of every source, fetched once; a new one needs a line here."""
    tiny: dict[str, dict[str, Any]] = {
        "toy": TOY,
        "era5_cds": {"name": "era5_cds", "spans": [DAY]},
        "local": {"name": "local", "paths": [str(files / "*.grib")], "span": DAY},
        "arco_era5": {"name": "arco_era5", "url": str(stores / "arco.zarr"), "spans": [DAY]},
        "weatherbench2": {"name": "weatherbench2", "url": str(stores / "wb2.zarr"), "spans": [DAY]},
        "anemoi": {"name": "anemoi", "path": str(stores / "anemoi.zarr"), "spans": [DAY]},
        "xarray": {"name": "xarray", "path": str(stores / "wb2.zarr"), "spans": [DAY]},
    }
    name = name_of(request.param)
    assert name in tiny, f"no tiny instance of source {name}; add one"
    source = request.param.parse(tiny[name])
    raw = tmp_path_factory.mktemp(name)
    with cds_server.running() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMWF_DATASTORES_URL", server.url)
        patch.setenv("ECMWF_DATASTORES_KEY", cds_server.KEY)
        server.statuses = ("successful",)
        source.fetch(REQUEST, raw, tmp_path_factory.mktemp("work"))
    return Fetched(source, raw)


def test_periods_do_not_overlap(fetched: Fetched) -> None:
    periods = fetched.source.periods()
    assert REQUEST.period in periods
    assert not any(one.overlaps(other) for one, other in combinations(periods, 2))


def test_a_source_narrowed_to_a_period_has_it_and_decodes_the_same(fetched: Fetched) -> None:
    narrowed = fetched.source.narrowed(REQUEST.period)
    assert narrowed.periods() == (REQUEST.period,)
    xr.testing.assert_identical(narrowed.decode(REQUEST, fetched.raw).load(), fetched.decoded().load())


def test_a_source_says_that_it_brings_analyses_alone(fetched: Fetched) -> None:
    assert fetched.source.makes_forecasts is False


def test_files_of_the_users_own_are_there(fetched: Fetched) -> None:
    assert all(path.is_file() for path in fetched.source.files())


def test_fetch_writes_files_into_the_folder(fetched: Fetched) -> None:
    found = [path for path in fetched.raw.rglob("*") if not path.is_dir()]
    assert found and all(path.is_file() and path.stat().st_size for path in found)


def test_decode_gives_the_canonical_form(fetched: Fetched) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = fetched.decoded()
    assert {name: dataset[name].dims for name in map(str, dataset.data_vars)} == DIMS
    assert all(array.dtype == np.float32 for array in dataset.data_vars.values())

    latitude, longitude = dataset["latitude"].values, dataset["longitude"].values
    assert (np.diff(latitude) < 0).all() and -90 <= latitude[-1] < latitude[0] <= 90
    assert (np.diff(longitude) > 0).all() and 0 <= longitude[0] < longitude[-1] < 360
    assert dataset["level"].values.tolist() == [500, 850]
    hours = np.arange("2001-01-15", "2001-01-16", dtype="datetime64[h]")
    np.testing.assert_array_equal(dataset["time"].values, hours[::6])
    np.testing.assert_array_equal(dataset["hourly_time"].values, hours)


def test_values_are_read_one_time_at_a_time(fetched: Fetched) -> None:
    dataset = fetched.decoded()
    for name, dims in DIMS.items():
        array = dataset[name]
        if "latitude" == dims[0]:
            continue
        assert array.chunks is not None, f"{name} is not lazy"
        assert array.chunks[0] == (1,) * array.sizes[dims[0]]


def test_values_are_finite_and_in_si_units(fetched: Fetched) -> None:
    dataset = fetched.decoded().load()
    ranges = {
        "2m_temperature": (180, 340),
        "temperature": (180, 330),
        "land_sea_mask": (0, 1),
        "total_precipitation": (0, 0.2),
    }
    for name, (low, high) in ranges.items():
        values = dataset[name].values
        assert np.isfinite(values).all() and low <= values.min() and values.max() <= high, name
        assert dataset[name].attrs.get("units", VARIABLES[name].units) == VARIABLES[name].units
    # north is up: the poles are colder than the equator, lower levels warmer than upper ones
    zonal = dataset["temperature"].mean(["time", "longitude"])
    assert float(zonal.sel(level=850).mean()) > float(zonal.sel(level=500).mean()) + 10
    assert float(zonal.sel(level=850)[0]) < float(zonal.sel(level=850).max()) - 10


def test_winter_is_in_the_north_in_january(fetched: Fetched) -> None:
    zonal = fetched.decoded()["2m_temperature"].mean(["time", "longitude"]).values
    assert zonal[: len(zonal) // 2].mean() < zonal[len(zonal) // 2 + 1 :].mean()


def test_decoding_again_gives_the_same(fetched: Fetched) -> None:
    xr.testing.assert_identical(fetched.decoded().load(), fetched.decoded().load())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": {"surface": ["10m_u_component_of_wind"]}}, "10m_u_component_of_wind"),
        ({"variables": {"atmospheric": ["temperature"], "levels_hpa": [500, 700]}}, "temperature.* 700 hPa"),
        ({"period": {"start": "2001-01-15", "end": "2001-01-16"}}, "2001-01-16T00"),
    ],
)
def test_what_is_missing_is_named(fetched: Fetched, changes: dict[str, Any], message: str) -> None:
    request = DataRequest.parse({**REQUEST.model_dump(mode="json"), **changes})
    with pytest.raises(ValueError, match=message):
        fetched.decoded(request)


def test_a_truncated_file_is_named(fetched: Fetched, tmp_path: Path) -> None:
    found = [path for path in fetched.raw.rglob("*") if path.is_file()]
    largest = max(found, key=lambda path: path.stat().st_size)
    for file in found:
        copy = tmp_path / file.relative_to(fetched.raw)
        copy.parent.mkdir(parents=True, exist_ok=True)
        content = file.read_bytes()
        copy.write_bytes(content[:-100] if file == largest else content)
    name = largest.relative_to(fetched.raw).parts[0]  # the file, or the store that it is a part of
    with pytest.raises(ValueError, match=re.escape(name)):
        fetched.source.decode(REQUEST, tmp_path).load()
