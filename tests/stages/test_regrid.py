"""Stages ``download`` and ``regrid``, from files on disk to canonical stores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.shared_parts import raw_of, store_of
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.fields.regridding import Regridder
from weatherpeft.sources.formats import grib
from weatherpeft.sources.formats.files import HOURLY_TIME
from weatherpeft.stages.download import DownloadSpec, download
from weatherpeft.stages.regrid import RegridSpec, regrid

SOURCE = Grid(resolution_deg=5, poles=True)
COARSE, FINE = Grid(resolution_deg=22.5), Grid(resolution_deg=10, poles=True)
DAYS = {"start": "2001-01-01", "end": "2001-01-02"}
VARIABLES = {
    "surface": ["2m_temperature"], "atmospheric": ["temperature"], "levels_hpa": [500, 850],
    "accumulated": ["total_precipitation"], "static": ["land_sea_mask"],
}  # fmt: skip


@pytest.fixture
def raw_dataset() -> xr.Dataset:
    """Two days on a 5° grid in NetCDF's names, south to north, hourly in all fields."""
    random = np.random.default_rng(3)
    times = np.arange("2001-01-01", "2001-01-03", dtype="datetime64[h]").astype("datetime64[ns]")
    coordinates = {"valid_time": times, "pressure_level": [850.0, 500.0]}
    axes = {"latitude": SOURCE.latitude[::-1], "longitude": SOURCE.longitude}
    shape = (times.size, 2, *SOURCE.shape)
    dims = ("valid_time", "pressure_level", "latitude", "longitude")
    flat = ("valid_time", "latitude", "longitude")
    return xr.Dataset(
        {
            "t": (dims, random.normal(270, 9, shape).astype(np.float32), {"units": "K"}),
            "t2m": (
                flat,
                random.normal(280, 9, (times.size, *SOURCE.shape)).astype(np.float32),
                {"units": "K"},
            ),
            "tp": (flat, random.random((times.size, *SOURCE.shape)).astype(np.float32) / 9, {"units": "m"}),
            "lsm": (flat[1:], random.random(SOURCE.shape).astype(np.float32), {"units": "(0 - 1)"}),
        },
        {**coordinates, **axes},
    )


def specs(
    path: Path, grids: tuple[Grid, ...] = (COARSE, FINE), **changes: Any
) -> tuple[DownloadSpec, RegridSpec]:
    source = {"name": "local", "paths": [str(path)], "span": DAYS}
    values = {"source": source, "request": {"variables": VARIABLES, "period": DAYS, **changes}}
    return DownloadSpec.parse(values), RegridSpec.parse({**values, "grids": [g.model_dump() for g in grids]})


def downloaded(dataset: xr.Dataset, folder: Path, **options: Any) -> RegridSpec:
    dataset.to_netcdf(folder / "data.nc")
    first, second = specs(folder / "data.nc", **options)
    download(first, folder / "raw", folder / "shared/raw", folder / "work")
    return second


@pytest.mark.parametrize(("shard_bytes", "times"), [(1, 1), (25_000, 3), (2**26, 8)])
def test_stores_are_canonical(
    raw_dataset: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_bytes: int, times: int
) -> None:
    monkeypatch.setattr("weatherpeft.artifacts.field_store._SHARD_BYTES", shard_bytes)
    regrid(
        downloaded(raw_dataset, tmp_path), tmp_path / "raw", tmp_path / "grid", tmp_path / "shared/regridded"
    )
    for grid in (COARSE, FINE):
        found = store.open_dataset(store_of(tmp_path / "grid", grid.label))
        assert dict(found.sizes) == {
            "time": 8, HOURLY_TIME: 48, "level": 2, "latitude": grid.shape[0], "longitude": grid.shape[1],
        }  # fmt: skip
        assert found["temperature"].dims == ("time", "level", "latitude", "longitude")
        stored = store.open_stored(store_of(tmp_path / "grid", grid.label))
        assert stored["fields"].dims == ("time", "channel", "latitude", "longitude")
        assert stored["fields"].channel.values.tolist() == ["2t", "t500", "t850"]
        assert stored["fields"].encoding["chunks"] == (1, 3, *grid.shape)
        assert stored["fields"].encoding["shards"] == (times, 3, *grid.shape)
        assert stored["total_precipitation"].encoding["chunks"] == (1, *grid.shape)
        assert found["level"].values.tolist() == [500, 850]
        np.testing.assert_array_equal(found["latitude"], grid.latitude)
        np.testing.assert_array_equal(found["longitude"], grid.longitude)
        assert (found.attrs["grid"], found.attrs["region"]) == (grid.label, "global")
        assert found.attrs["regridding"] == "conservative"
        regridder = Regridder(SOURCE.latitude, SOURCE.longitude, grid, "conservative")
        north_first = raw_dataset.isel(latitude=slice(None, None, -1))
        pairs = {
            "2m_temperature": north_first["t2m"][::6],
            "temperature": north_first["t"][::6, ::-1],
            "total_precipitation": north_first["tp"],
            "land_sea_mask": north_first["lsm"],
        }
        for name, expected in pairs.items():
            assert found[name].dtype == np.float32
            np.testing.assert_array_equal(found[name], regridder(expected.values))


def test_equal_inputs_give_equal_bytes(raw_dataset: xr.Dataset, tmp_path: Path) -> None:
    spec = downloaded(raw_dataset, tmp_path)
    regrid(spec, tmp_path / "raw", tmp_path / "one", tmp_path / "shared/one")
    regrid(spec, tmp_path / "raw", tmp_path / "two", tmp_path / "shared/two")
    assert store.artifact_digest(tmp_path / "one") == store.artifact_digest(tmp_path / "two")


def test_nan_is_named_and_leaves_nothing(raw_dataset: xr.Dataset, tmp_path: Path) -> None:
    raw_dataset["t"][18, 0, 3, 4] = np.nan
    spec = downloaded(raw_dataset, tmp_path)
    with pytest.raises(ValueError, match=r"temperature, time 2001-01-01T18.*, level 850: .* found 1 NaN"):
        regrid(spec, tmp_path / "raw", tmp_path / "grid", tmp_path / "shared/regridded")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.nc", "raw", "shared"]
    assert not [path for path in (tmp_path / "shared/regridded").rglob("*") if path.is_file()]


def test_nan_in_a_static_field_is_named(raw_dataset: xr.Dataset, tmp_path: Path) -> None:
    raw_dataset["lsm"][:] = np.nan
    spec = downloaded(raw_dataset, tmp_path)
    with pytest.raises(ValueError, match="land_sea_mask: expected finite values, found 2664 NaN"):
        regrid(spec, tmp_path / "raw", tmp_path / "grid", tmp_path / "shared/regridded")


def with_classes_and_sea(raw_dataset: xr.Dataset) -> xr.Dataset:
    """Soil types, and a sea surface temperature that is not defined in the north."""
    random = np.random.default_rng(5)
    raw_dataset["slt"] = raw_dataset["lsm"].copy(data=random.integers(0, 8, SOURCE.shape).astype(np.float32))
    sst = (190 + raw_dataset["t2m"] / 3).where(raw_dataset["latitude"] < 30).assign_attrs(units="K")
    return raw_dataset.assign(sst=sst)


PARTIAL = {
    "surface": ["sea_surface_temperature"], "static": ["soil_type"], "atmospheric": [], "levels_hpa": [],
}  # fmt: skip


def test_classes_stay_classes_and_undefined_stays_undefined(raw_dataset: xr.Dataset, tmp_path: Path) -> None:
    raw_dataset = with_classes_and_sea(raw_dataset)
    spec = downloaded(raw_dataset, tmp_path, variables=PARTIAL)
    regrid(spec, tmp_path / "raw", tmp_path / "grid", tmp_path / "shared/regridded")
    for grid in (COARSE, FINE):
        found = store.open_dataset(store_of(tmp_path / "grid", grid.label))
        assert found.attrs["minimum_valid_share"] == 0.5
        regridder = Regridder(SOURCE.latitude, SOURCE.longitude, grid, "conservative")
        np.testing.assert_array_equal(found["soil_type"], regridder.classes(raw_dataset["slt"].values[::-1]))
        assert set(np.unique(found["soil_type"])) <= set(range(8))
        missing = np.isnan(found["sea_surface_temperature"].values)
        np.testing.assert_array_equal(missing, np.broadcast_to((grid.latitude > 28)[:, None], missing.shape))


def test_a_field_that_is_defined_nowhere_is_named(raw_dataset: xr.Dataset, tmp_path: Path) -> None:
    raw_dataset = with_classes_and_sea(raw_dataset)
    raw_dataset["sst"][6] = np.nan
    spec = downloaded(raw_dataset, tmp_path, variables=PARTIAL)
    with pytest.raises(ValueError, match=r"sea_surface_temperature, time 2001-01-01T06.* found 2664 NaN"):
        regrid(spec, tmp_path / "raw", tmp_path / "grid", tmp_path / "shared/regridded")


def test_an_incomplete_download_is_refused(raw_dataset: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"total_precipitation, 2001-01-02T23:00 UTC is missing"):
        downloaded(raw_dataset.isel(valid_time=slice(0, -1)), tmp_path)
    assert not (tmp_path / "raw").exists()


def test_grids_must_differ(raw_dataset: xr.Dataset, tmp_path: Path) -> None:
    spec = downloaded(raw_dataset, tmp_path, grids=(COARSE, COARSE))
    with pytest.raises(ValueError, match="expected one or more different grids, found 22.5deg, 22.5deg"):
        regrid(spec, tmp_path / "raw", tmp_path / "grid", tmp_path / "shared/regridded")


@pytest.mark.shared
def test_real_ensemble(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    span = {"start": "2017-01-01", "end": "2017-01-02"}
    variables = {"atmospheric": ["geopotential", "temperature"], "levels_hpa": [500, 850]}
    values = {
        "source": {
            "name": "local",
            "paths": [str(shared_data / "era5_ensemble_members_3deg.grib")],
            "span": span,
        },
        "request": {"variables": variables, "period": span, "step_hours": 12, "members": list(range(10))},
    }
    grid = Grid(resolution_deg=5.625)
    download(DownloadSpec.parse(values), tmp_path / "raw", tmp_path / "shared/raw", tmp_path / "work")
    read: list[int] = []
    plain = grib._read_message

    def counted(*place: Any) -> Any:
        read.append(place[1].offset)
        return plain(*place)

    monkeypatch.setattr(grib, "_read_message", counted)
    regrid(
        RegridSpec.parse({**values, "grids": [grid.model_dump()]}),
        tmp_path / "raw",
        tmp_path / "grid",
        tmp_path / "shared/regridded",
    )
    assert len(read) == len(set(read)) == 10 * 4 * 4, "not every message is decoded once"
    dataset = store.open_dataset(store_of(tmp_path / "grid", "5.625deg"))
    found = dataset["geopotential"]
    assert found.dims == ("member", "time", "level", "latitude", "longitude")
    assert found.shape == (10, 4, 2, 32, 64)
    stored = store.open_stored(store_of(tmp_path / "grid", "5.625deg"))["fields"]
    assert stored.encoding["chunks"] == (1, 1, 4, 32, 64) and stored.encoding["shards"] == (1, 4, 4, 32, 64)
    native = Grid(resolution_deg=3, poles=True)
    spec = DownloadSpec.parse(values)
    decoded = spec.source.decode(spec.request, raw_of(tmp_path / "raw"))
    raw = decoded["geopotential"]
    regridder = Regridder(native.latitude, native.longitude, grid, "conservative")
    for name in ("geopotential", "temperature"):
        np.testing.assert_array_equal(dataset[name], regridder(decoded[name].values))
    before = np.average(raw.values.mean(axis=-1, dtype=float), axis=-1, weights=native.area_weights())
    after = np.average(found.values.mean(axis=-1, dtype=float), axis=-1, weights=grid.area_weights())
    np.testing.assert_allclose(after, before, rtol=1e-6)
