"""Raw and regridded data that experiments share: what one lacks is added, and nothing is disturbed."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.shared_parts import raw_of, store_of
from weatherpeft.artifacts import catalog, store
from weatherpeft.artifacts.fields import FieldReader
from weatherpeft.artifacts.manifest import DamagedError
from weatherpeft.cli import main
from weatherpeft.fields.grid import Grid
from weatherpeft.spec import Period
from weatherpeft.stages.download import DownloadSpec, download
from weatherpeft.stages.moments import MomentsSpec, moments
from weatherpeft.stages.pack import PackSpec, pack
from weatherpeft.stages.regrid import RegridSpec, regrid
from weatherpeft.stages.statistics import StatisticsSpec, statistics

SOURCE = Grid(resolution_deg=5, poles=True)
COARSE, FINE = Grid(resolution_deg=22.5), Grid(resolution_deg=10, poles=True)
DAY = {"start": "2001-01-01", "end": "2001-01-01"}
NAMES = {"t2m": "K", "u10": "m s-1", "v10": "m s-1", "lsm": "1", "tp": "m"}
LEVELS = [500, 850]
PERIOD = Period.parse(DAY)


@pytest.fixture
def project(tmp_path: Path) -> "Project":
    """A file for each variable: hourly fields of a day."""
    random = np.random.default_rng(3)
    times = np.arange("2001-01-01", "2001-01-02", dtype="datetime64[h]").astype("datetime64[ns]")
    axes: Any = {"latitude": SOURCE.latitude, "longitude": SOURCE.longitude}
    for name, units in NAMES.items():
        means = {"t2m": 280, "u10": 0, "v10": 0, "lsm": 0.5, "tp": 1e-3}
        dims: Any = ("latitude", "longitude") if name == "lsm" else ("time", "latitude", "longitude")
        shape: Any = SOURCE.shape if name == "lsm" else (24, *SOURCE.shape)
        values = np.abs(means[name] + random.uniform(-1, 1, shape) * min(means[name] + 1, 5) / 10)
        array = xr.DataArray(values.astype(np.float32), dims=dims, attrs={"units": units})
        array.to_dataset(name=name).assign_coords(time=times, **axes).to_netcdf(tmp_path / f"{name}.nc")
    shape = (24, 2, *SOURCE.shape)
    for name, units, mean in (("t", "K", 270), ("q", "kg kg-1", 0.002)):
        dims = ("time", "level", "latitude", "longitude")
        values = mean * random.uniform(0.9, 1.1, shape).astype(np.float32)
        level = xr.DataArray(LEVELS, dims="level", attrs={"units": "hPa"})
        array = xr.DataArray(values, dims=dims, attrs={"units": units})
        whole = array.to_dataset(name=name).assign_coords(time=times, level=level, **axes)
        whole.to_netcdf(tmp_path / f"{name}.nc")
    return Project(tmp_path)


class Project:
    """Experiments with other variables and the same source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def values(self, variables: dict[str, Any], **source: Any) -> dict[str, Any]:
        local = {"name": "local", "paths": [str(self.folder / "*.nc")], "span": DAY, **source}
        return {"source": local, "request": {"variables": variables, "period": DAY}}

    def spec(self, variables: dict[str, Any], grids: Iterable[Grid], **source: Any) -> RegridSpec:
        values = self.values(variables, **source)
        return RegridSpec.parse({**values, "grids": [grid.model_dump() for grid in grids]})

    def run(
        self,
        name: str,
        variables: dict[str, Any],
        grids: Iterable[Grid] = (FINE,),
        shared: str = "data",
        rename: dict[str, str] | None = None,
    ) -> Path:
        """Download and regrid; the catalog of regridded data."""
        raw, output = self.folder / name / "raw", self.folder / name / "regridded"
        spec, data = self.spec(variables, grids, rename=rename or {}), self.folder / shared
        download(
            DownloadSpec(source=spec.source, request=spec.request.in_files),
            raw,
            data / "raw",
            self.folder / "work",
        )
        regrid(spec, raw, output, data / "regridded")
        return output

    def parts(self) -> dict[Path, int]:
        """All artifacts of the shared folder, by when they were made."""
        found = (self.folder / "data").rglob("provenance.json")
        return {path.parent: path.stat().st_mtime_ns for path in found}


WIND = {"surface": ["10m_u_component_of_wind"]}
MORE: dict[str, Any] = {
    "surface": ["2m_temperature", "10m_u_component_of_wind"],
    "atmospheric": ["temperature"], "levels_hpa": LEVELS,
    "static": ["land_sea_mask"], "accumulated": ["total_precipitation"],
}  # fmt: skip


def fields(catalog_: Path, names: list[str], grid: Grid = FINE) -> list[np.ndarray]:
    reader = FieldReader([catalog_], grid, names)
    return [field for time in reader.times([PERIOD]) for field in reader.read(time, None).values()]


def test_one_more_variable_costs_that_variable_alone(project: Project) -> None:
    one = project.run("one", WIND)
    before = project.parts()
    two = project.run("two", MORE)
    added = {path: when for path, when in project.parts().items() if path not in before}
    assert {path: when for path, when in project.parts().items() if path in before} == before
    held = {path: store.read_provenance(path)["spec"]["request"]["variables"] for path in (*before, *added)}
    assert all(held[path]["surface"] == ["10m_u_component_of_wind"] for path in before)
    assert all(held[path]["surface"] == ["2m_temperature"] for path in added)
    assert len(before) == len(added) == 2, "raw and regridded"

    # Both read what they would have made alone.
    names = [*MORE["surface"], *MORE["atmospheric"], "total_precipitation_3hr"]
    alone = project.run("alone", MORE, shared="other")
    assert len(catalog.read(alone)) == 1 and len(catalog.read(two)) == 2
    for found, expected in zip(fields(two, names), fields(alone, names), strict=True):
        np.testing.assert_array_equal(found, expected)
    ours, theirs = (FieldReader([each], FINE, []).static("land_sea_mask") for each in (two, alone))
    np.testing.assert_array_equal(ours, theirs)
    assert len(fields(one, WIND["surface"])) == 4

    # An experiment that wants what is there makes nothing.
    now = project.parts()
    third = project.run("third", MORE)
    assert project.parts() == now
    assert store.artifact_digest(third) == store.artifact_digest(two)


def test_what_is_copied_are_the_files_that_hold_something(project: Project) -> None:
    project.run("one", WIND)
    assert [path.name for path in raw_of(project.folder / "one/raw").glob("*.nc")] == ["u10.nc"]


def test_one_more_grid_is_regridded_from_the_same_raw_data(project: Project) -> None:
    project.run("one", MORE)
    before = project.parts()
    two = project.run("two", MORE, (COARSE, FINE))
    (added,) = project.parts().keys() - before.keys()
    assert added == store_of(two, COARSE.label).parent
    assert store_of(two, FINE.label) == store_of(project.folder / "one/regridded", FINE.label)


def test_a_store_is_not_shared_by_who_wants_little_of_it(project: Project) -> None:
    """Training would read all of its fields; its raw data is shared all the same."""
    project.run("one", MORE)
    before = project.parts()
    two = project.run("two", WIND)
    (added,) = project.parts().keys() - before.keys()
    assert added == store_of(two, FINE.label).parent
    assert raw_of(project.folder / "two/raw") == raw_of(project.folder / "one/raw")


@pytest.mark.parametrize(
    ("change", "added"), [("source", 2), ("file", 2), ("time of a file", 1), ("levels", 1), ("level", 2)]
)
def test_other_data_is_kept_apart(project: Project, change: str, added: int) -> None:
    """Raw files may hold more levels than are taken, a store just those. Equal raw data is regridded once."""
    rename, file = {}, project.folder / "t.nc"
    fewer = {**MORE, "levels_hpa": LEVELS[:1]}
    project.run("one", fewer if change == "level" else MORE)
    before = project.parts()
    if change == "source":
        rename = {"unknown": "sea_surface_temperature"}
    elif change == "file":
        warmer = xr.load_dataset(file)
        warmer["t"] += 1
        warmer.to_netcdf(file)
    elif change == "time of a file":
        os.utime(file, ns=(0, 0))
    two = project.run("two", fewer if change == "levels" else MORE, rename=rename)
    now = project.parts()
    assert {path: when for path, when in now.items() if path in before} == before
    assert len(now) - len(before) == added
    assert len(fields(two, ["temperature"])) == 4


def test_own_variables_are_shared_as_far_as_they_are_defined_alike(project: Project) -> None:
    own = {"kind": "surface", "units": "m s-1", "short_name": "v10x", "aliases": ["v10"]}

    def variables(**changes: Any) -> dict[str, Any]:
        return {"surface": ["wind"], "define": {"wind": {**own, **changes}}}

    project.run("one", variables())
    before = project.parts()
    project.run("two", variables())
    assert project.parts() == before
    project.run("three", variables(plausible=[-50, 50]))
    assert len(project.parts()) == len(before) + 1, "raw files know nothing of plausible values"
    project.run("four", variables(aliases=["v10", "wind_v"]))
    assert len(project.parts()) == len(before) + 3


def test_packing_and_moments_read_several_stores(project: Project) -> None:
    names = {key: value for key, value in MORE.items() if key != "accumulated"}
    project.run("one", WIND)
    found = {}
    for name, shared in (("two", "data"), ("alone", "other")):
        data = project.run(name, names, shared=shared)
        folder = project.folder / name
        variables = project.spec(names, ()).request.variables
        split = {"periods": [DAY]}
        spec = MomentsSpec.parse(
            {"variables": variables.model_dump(), "grid": FINE.model_dump(), "train": split}
        )
        moments(spec, [data], folder / "moments")
        statistics(StatisticsSpec(variables=variables), [folder / "moments"], folder / "statistics")
        pack(PackSpec(variables=variables, grids=(FINE,)), data, folder / "statistics", folder / "packed")
        found[name] = [store.artifact_digest(folder / each) for each in ("moments", "statistics", "packed")]
    assert found["two"] == found["alone"]


def test_inspect_shows_the_parts_of_a_catalog(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.run("one", WIND)
    output = project.run("two", {**MORE, "accumulated": []})
    assert main(["inspect", str(output), "--picture", str(project.folder / "picture.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for part in catalog.read(output):
        assert f"part     {part.path}: {', '.join(part.variables.names)}" in lines
    assert {"10m_u_component_of_wind", "temperature", "land_sea_mask"} <= {
        line.split()[0] for line in lines if line
    }
    assert main(["inspect", str(project.folder / "two/raw")]) == 0
    assert {"u10.nc", "t.nc"} <= {line.split()[0] for line in capsys.readouterr().out.splitlines() if line}


def test_a_part_that_is_gone_damaged_or_another_one_is_named(project: Project) -> None:
    output = project.run("one", WIND)
    part = store_of(output, FINE.label).parent
    again = rf"; make it again with: snakemake --cores all --force {output} --configfile CONFIG"
    away = part.rename(project.folder / "away")
    with pytest.raises(DamagedError, match=f"{part}: missing{again}"):
        FieldReader([output], FINE, WIND["surface"])
    shutil.copytree(away, part)
    record = part / "provenance.json"
    record.write_text(record.read_text() + "\n")
    with pytest.raises(DamagedError, match=f"{record}: damaged.*{again}"):
        FieldReader([output], FINE, WIND["surface"])
    shutil.rmtree(part)
    with store.artifact(part, project.spec(WIND, (FINE,)), "weatherpeft.spec") as directory:
        (directory / "other").touch()
    with pytest.raises(DamagedError, match=f"{part}: made anew since, with other contents{again}"):
        FieldReader([output], FINE, WIND["surface"])

    # Its job makes it again, and takes what is whole.
    shutil.rmtree(output)
    digest = store.artifact_digest(project.run("two", WIND))
    assert store_of(project.folder / "two/regridded", FINE.label).parent == part
    assert digest == store.artifact_digest(project.run("alone", WIND, shared="other"))


def test_a_damaged_part_is_not_shared(project: Project) -> None:
    output = project.run("one", WIND)
    digest = store.artifact_digest(output)
    raw = raw_of(project.folder / "one/raw") / "u10.nc"
    for path in (store_of(output, FINE.label) / "fields/c/0/0/0/0", raw):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = project.run("two", WIND)
    assert store.artifact_digest(again) == digest
    assert fields(output, WIND["surface"]), "what was damaged is whole again"
