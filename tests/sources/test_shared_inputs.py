"""The files that ``../shared/inputs`` writes come out as it says, each through download and regridding."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.shared_parts import raw_of, store_of
from weatherpeft.artifacts import store
from weatherpeft.fields.grid import Grid
from weatherpeft.stages.download import DownloadSpec, download
from weatherpeft.stages.regrid import RegridSpec, regrid

PERIOD = {"start": "2020-02-28", "end": "2020-03-01"}
PERIODS = {
    "noon_only": {**PERIOD, "hours": [12]},
    "partial_days": {"start": "2020-02-28T06", "end": "2020-03-01T12"},
}
REFUSED = {
    "level_no_units": r"level.*50000",
    "infinite": r"temperature, time 2020-02-28T18:00 UTC, level 850: .* found inf at 49°N 1.25°E",
    "fill_9999": r"temperature, time 2020-02-28T18:00 UTC, level 850: .* found 9999 at 49°N 1.25°E",
    "fill_1e20": r"temperature, time 2020-02-28T18:00 UTC, level 850: .* found 1e\+20 at 49°N 1.25°E",
    "anomalies": r"temperature, time 2020-02-28T00:00 UTC, level 500: expected values from 1\d\d to \d\d\d K",
}
GRID = Grid.parse({"resolution_deg": 1, "region": {"north": 49, "south": 46, "west": 1, "east": 5}})


@pytest.fixture(scope="module")
def inputs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The folder of the files, and what is expected of each."""
    script = request.config.rootpath.parent / "shared/inputs/make_inputs.py"
    if not script.is_file():
        pytest.skip("../shared/inputs is not there")
    made = runpy.run_path(str(script))
    folder = tmp_path_factory.mktemp("inputs")
    made["main"](folder)
    yield folder, made["EXPECTED"]


def through(file: Path, folder: Path) -> tuple[xr.Dataset, xr.Dataset]:
    """A file as it is decoded, and on the grid."""
    period = PERIODS.get(file.stem, PERIOD)
    source = {"name": "local", "paths": [str(file)], "span": period}
    variables = {"atmospheric": ["temperature"], "levels_hpa": [500, 850]}
    values = {"source": source, "request": {"variables": variables, "period": period}}
    wanted = DownloadSpec.parse(values)
    download(wanted, folder / "raw", folder / "shared/raw", folder / "work")
    spec = RegridSpec.parse({**values, "grids": [GRID.model_dump(mode="json")]})
    regrid(spec, folder / "raw", folder / "grid", folder / "shared/regridded")
    decoded = wanted.source.decode(wanted.request, raw_of(folder / "raw"))
    return decoded.load(), store.open_dataset(store_of(folder / "grid", GRID.label)).load()


@pytest.mark.shared
def test_every_file_comes_out_as_it_should(inputs: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    folder, expected = inputs
    plain, on_grid = through(folder / "plain.nc", tmp_path / "reference")
    checked = 0
    for name, outcome in expected.items():
        if outcome.startswith("refuse"):
            with pytest.raises(ValueError, match=REFUSED[name]) as caught:
                through(folder / f"{name}.nc", tmp_path / name)
            text = str(caught.value)
            assert f"{name}.nc" in text and "\n" not in text
            assert not (tmp_path / name / "grid").exists()
        else:
            found, regridded = through(folder / f"{name}.nc", tmp_path / name)
            rows = slice(found["latitude"].size)  # the Gaussian file has fewer
            same = plain["temperature"].sel(time=found["time"]).isel(latitude=rows)
            np.testing.assert_allclose(found["temperature"].values, same.values, rtol=2e-7, err_msg=name)
            assert found["time"].size == {"noon_only": 3, "partial_days": 10}.get(name, 12), name
            if name != "gaussian_latitudes":
                whole = on_grid["temperature"].sel(time=regridded["time"]).values
                np.testing.assert_allclose(regridded["temperature"].values, whole, rtol=2e-7, err_msg=name)
            else:
                assert not np.allclose(found["latitude"], plain["latitude"][rows], atol=1e-4)
                means = regridded["temperature"].values
                assert np.isfinite(means).all() and abs(means.mean() - 280) < 0.5
        checked += 1
    assert checked == len(expected) >= 19
