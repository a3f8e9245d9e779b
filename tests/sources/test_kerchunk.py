"""References that kerchunk made to files in other formats (see kerchunk_made/make.py)."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kerchunk.combine import MultiZarrToZarr
from kerchunk.netCDF3 import NetCDF3ToZarr

from tests.loopback import Handler, serving
from tests.sources.cloud_stores import check_values, fetch, request
from tests.sources.test_xarray import dataset, source

MADE = Path(__file__).with_name("kerchunk_made")
FIELDS: dict[str, Any] = {
    "surface": ["2m_temperature"], "atmospheric": ["temperature"], "levels_hpa": [500, 850],
    "static": ["land_sea_mask"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "days"), [("one", 1), ("both", 2)])
def test_netcdf4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, days: int) -> None:
    monkeypatch.chdir(MADE)  # to which the references are relative
    wanted = request("2001-01-05", f"2001-01-{4 + days:02}", **FIELDS)
    found = fetch(source(f"{name}.json", engine="kerchunk"), wanted, tmp_path)
    check_values(found)
    assert len(found) == 3
    assert found.sizes == {"time": 4 * days, "level": 2, "latitude": 12, "longitude": 24}


@contextmanager
def ranges(folder: Path, asked: list[str]) -> Iterator[str]:
    """Base URL of a server of files, of which ``asked`` lists the parts that were asked for."""

    class Ranges(Handler):
        def answer(self) -> None:
            body = (folder / self.path.lstrip("/")).read_bytes()
            if self.headers["Range"] is None:
                self.reply(200, body, {})
                return
            asked.append(f"{self.path} {self.headers['Range']}")
            start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
            part = body[int(start) : int(end) + 1]
            self.reply(206, part, {"Content-Range": f"bytes {start}-{end}/{len(body)}"})

    with serving(Ranges) as url:
        yield url


@pytest.mark.parametrize("remote", [False, True])
def test_files_elsewhere(tmp_path: Path, remote: bool) -> None:
    for name in ("5.nc", "6.nc"):
        shutil.copy(MADE / name, tmp_path)
    asked: list[str] = []
    with ranges(tmp_path, asked) as url:
        references = (MADE / "both.json").read_text()
        (tmp_path / "both.json").write_text(
            references.replace("5.nc", f"{url}/5.nc").replace("6.nc", f"{url}/6.nc")
        )
        path = f"{url}/both.json" if remote else str(tmp_path / "both.json")
        wanted = request("2001-01-06", "2001-01-06", **FIELDS | {"static": []})
        check_values(fetch(source(path, engine="kerchunk"), wanted, tmp_path / "copy"))
        parts = [one for one in asked if one.startswith("/6.nc")]
        assert len(parts) == 4 + 2 * 2 == len(set(parts))
        assert not any(one.startswith("/5.nc") for one in asked)


def test_netcdf3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = dataset("2m_temperature", "temperature", "land_sea_mask")
    made = []
    for day in ("05", "06"):
        units = {"time": {"units": "hours since 1970-01-01", "dtype": "f8"}}
        one = data.sel(time=f"2001-01-{day}")
        one.to_netcdf(f"{day}.nc", format="NETCDF3_64BIT", unlimited_dims=["time"], encoding=units)
        made.append(NetCDF3ToZarr(f"{day}.nc").translate())
    both = MultiZarrToZarr(made, concat_dims=["time"], identical_dims=["lat", "lon", "plev", "mask"])
    Path("both.json").write_text(json.dumps(both.translate()))
    wanted = request("2001-01-05", "2001-01-06", **FIELDS)
    check_values(fetch(source("both.json", engine="kerchunk"), wanted, tmp_path / "copy"))


@pytest.mark.parametrize("left", [None, 5000])
def test_a_file_that_is_missing_or_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int | None
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("5.nc", "both.json"):
        shutil.copy(MADE / name, name)
    if left is not None:
        Path("6.nc").write_bytes((MADE / "6.nc").read_bytes()[:left])
    one = source("both.json", engine="kerchunk")
    variables: dict[str, dict[str, Any]] = {
        "2m_temperature": {"surface": ["2m_temperature"]},
        "temperature": {"atmospheric": ["temperature"], "levels_hpa": [500]},
    }
    for name, wanted in variables.items():
        with pytest.raises(ValueError, match=f"both.json: {name}, .*: cannot read the values") as error:
            fetch(one, request("2001-01-05", "2001-01-06", **wanted), tmp_path / name)
        assert "\n" not in str(error.value)


def test_parquet(tmp_path: Path) -> None:
    (tmp_path / ".zmetadata").write_text(json.dumps({"metadata": {".zgroup": {"zarr_format": 2}}}))
    with pytest.raises(ValueError, match="cannot open the store .*; write the references as JSON"):
        source(tmp_path, engine="kerchunk").selected(request("2001-01-05", "2001-01-05", **FIELDS))
