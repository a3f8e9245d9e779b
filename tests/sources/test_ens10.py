"""ENS-10: its layout read through an index, against cfgrib and against the formula that wrote it."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import ValidationError

from tests.sources import ens10_layout
from tests.sources.file_server import FileServer, running
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.ens10 import files as ens10_files
from weatherpeft.sources.ens10.spec import DAYS, Ens10
from weatherpeft.sources.formats.files import open_canonical
from weatherpeft.sources.formats.grib_header import inventory
from weatherpeft.sources.local import Local
from weatherpeft.sources.transfer import mirror
from weatherpeft.spec import Period

SURFACE = {
    "sea_surface_temperature": "sst", "total_column_water": "tcw", "total_column_water_vapour": "tcwv",
    "convective_precipitation_48hr": "cp", "mean_sea_level_pressure": "msl", "total_cloud_cover": "tcc",
    "10m_u_component_of_wind": "10u", "10m_v_component_of_wind": "10v", "2m_temperature": "2t",
    "total_precipitation_48hr": "tp", "skin_temperature": "skt",
}  # fmt: skip
UPPER = {
    "geopotential": "z", "temperature": "t", "specific_humidity": "q", "vertical_velocity": "w",
    "divergence": "d", "u_component_of_wind": "u", "v_component_of_wind": "v",
}  # fmt: skip
YEAR_1999 = {"start": "1999-01-01", "end": "1999-12-31"}
PAPER = {"surface": list(SURFACE), "atmospheric": list(UPPER), "levels_hpa": [500, 850]}


def source(folder: Path, **changes: Any) -> Ens10:
    span = {"start": "1998-01-03", "end": "1999-12-31"}
    values = {"name": "ens10", "folder": str(folder), "spans": [span], "days": ["0101", "1231"]}
    return Ens10.parse(values | changes)


def request(**changes: Any) -> DataRequest:
    values = {"variables": PAPER, "period": YEAR_1999, "members": [1, 2, 3], "lead_hours": 48}
    return DataRequest.parse(values | changes)


def valid_in(period: Period) -> DataRequest:
    return request(period=period.model_dump(mode="json"))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days, two years, three members, three steps."""
    folder = tmp_path_factory.mktemp("ens10")
    for day in ("0101", "1231"):
        for kind in ("sfc", "pl"):
            ens10_layout.write(folder / f"output.{kind}.2018{day}", (1998, 1999), (1, 2, 3))
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """Links to the files, so that a test may add, remove and replace."""
    linked = tmp_path / "folder"
    linked.mkdir()
    for file in written.glob("output.*.2018????"):
        (linked / file.name).symlink_to(file)
    return linked


def fetched(tmp_path: Path, own: Ens10, wanted: DataRequest) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    own.fetch(wanted, raw, tmp_path / "work")
    return raw


def test_the_days_are_the_data_sets() -> None:
    assert len(DAYS) == 105
    assert DAYS[:5] == ("0101", "0104", "0108", "0111", "0115") and DAYS[-1] == "1231"
    assert {"0226", "0301", "0329", "0402", "1227"} < set(DAYS) and "0229" not in DAYS


def test_a_job_is_a_calendar_year_of_valid_times(tmp_path: Path) -> None:
    own = source(tmp_path, spans=[{"start": "1998-01-03", "end": "2018-01-02"}], days=list(DAYS))
    periods = own.periods()
    assert [period.label for period in periods[:2]] == ["19980103-19981231", "19990101-19991231"]
    assert periods[-1].label == "20180101-20180102" and len(periods) == 21
    # Every forecast of the data set belongs to exactly one job.
    starts = [start for period in periods for start in own.starts(valid_in(period))]
    assert len(starts) == len(set(starts)) == 105 * 20
    first = own.starts(valid_in(periods[1]))
    assert min(first) == datetime(1998, 12, 31) and max(first) == datetime(1999, 12, 27)


def test_forecasts_look_like_analyses_of_an_ensemble(folder: Path, tmp_path: Path) -> None:
    own = source(folder)
    dataset = own.decode(request(), fetched(tmp_path, own, request()))
    assert dataset["2m_temperature"].dims == ("member", "time", "latitude", "longitude")
    assert dataset["divergence"].dims == ("member", "time", "level", "latitude", "longitude")
    times = ["1999-01-02T00", "1999-01-03T00"]
    starts = ["1998-12-31T00", "1999-01-01T00"]
    np.testing.assert_array_equal(dataset["time"], np.array(times, "datetime64[ns]"))
    np.testing.assert_array_equal(dataset["init_time"], np.array(starts, "datetime64[ns]"))
    assert dataset["init_time"].dims == ("time",) and dataset["member"].values.tolist() == [1, 2, 3]
    assert dataset["total_precipitation_48hr"].attrs["units"] == "m"


def test_every_value_is_the_one_that_was_written(folder: Path, tmp_path: Path) -> None:
    own = source(folder)
    dataset = own.decode(request(), fetched(tmp_path, own, request())).load()
    land = np.zeros(ens10_layout.SHAPE, bool)
    land[2:4, 3:6] = True
    for time, start in enumerate((datetime(1998, 12, 31), datetime(1999, 1, 1))):
        for member in (1, 2, 3):
            moment = dataset.isel(time=time).sel(member=member)
            for name, short in SURFACE.items():
                expected = ens10_layout.values(ens10_layout.SURFACE[short], 0, start, 48, member)
                expected[land] = np.nan if short == "sst" else expected[land]
                np.testing.assert_allclose(moment[name].values, expected, atol=5e-5, err_msg=name)
            for name, short in UPPER.items():
                for level in (500, 850):
                    expected = ens10_layout.values(ens10_layout.UPPER[short], level, start, 48, member)
                    found = moment[name].sel(level=level).values
                    np.testing.assert_allclose(found, expected, atol=5e-5, err_msg=name)


@pytest.mark.parametrize("lead_hours", [24, 48])
def test_decoding_agrees_with_cfgrib(folder: Path, tmp_path: Path, lead_hours: int) -> None:
    names = {"2m_temperature": "t2m", "total_column_water_vapour": "tcwv", "sea_surface_temperature": "sst"}
    variables = {"surface": list(names), "atmospheric": ["vertical_velocity"], "levels_hpa": [850]}
    wanted = request(variables=variables, lead_hours=lead_hours, members=[2, 3])
    own = source(folder, days=["0101"])
    found = own.decode(wanted, fetched(tmp_path, own, wanted)).isel(time=0)

    def oracle(kind: str, key: str) -> xr.DataArray:
        settings = {"indexpath": "", "filter_by_keys": {"cfVarName": key}}
        path = folder / f"output.{kind}.20180101"
        array = xr.open_dataset(path, engine="cfgrib", backend_kwargs=settings)[key]
        return array.sel(time="1999-01-01", step=np.timedelta64(lead_hours, "h"), number=[2, 3]).squeeze()

    for name, key in names.items():
        np.testing.assert_array_equal(found[name].values, oracle("sfc", key).values)
    upper = oracle("pl", "w").sel(isobaricInhPa=850)
    np.testing.assert_array_equal(found["vertical_velocity"].squeeze("level").values, upper.values)
    assert oracle("sfc", "t2m").valid_time.values == found["time"].values


def test_local_files_with_several_lead_times_give_the_one_that_is_asked_for(folder: Path) -> None:
    paths = [str(folder / f"output.sfc.2018{day}") for day in ("0101", "1231")]
    local = Local.parse({"name": "local", "paths": paths, "span": YEAR_1999})
    day = {"start": "1999-01-02", "end": "1999-01-02"}
    for lead_hours, start in ((48, datetime(1998, 12, 31)), (24, datetime(1999, 1, 1))):
        wanted = request(
            variables={"surface": ["2m_temperature"]}, period=day, step_hours=24, lead_hours=lead_hours
        )
        found = open_canonical(local.files(), wanted)
        expected = ens10_layout.values(167, 0, start, lead_hours, 2)
        np.testing.assert_allclose(
            found["2m_temperature"].sel(member=2).squeeze("time").values, expected, atol=5e-5
        )
        np.testing.assert_array_equal(found["init_time"], np.array([start], "datetime64[ns]"))


def test_only_the_messages_of_the_request_are_taken(folder: Path, tmp_path: Path) -> None:
    wanted = request(variables={"surface": ["2m_temperature", "skin_temperature"]}, members=[1, 3])
    raw = fetched(tmp_path, source(folder), wanted)
    names = ["output.sfc.19981231", "output.sfc.19990101"]
    assert sorted(os.listdir(raw)) == names
    whole = (folder / "output.sfc.20180101").read_bytes()
    taken = (raw / names[1]).read_bytes()
    messages = [(row.param_id, row.lead_hours, row.member) for row in inventory(raw / names[1])]
    assert sorted(messages) == [(167, 48, 1), (167, 48, 3), (235, 48, 1), (235, 48, 3)]
    assert all(part + b"7777" in whole for part in taken.split(b"7777")[:-1]), "the bytes as they are"


def test_headers_are_indexed_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "output.sfc.20180101"
    rows = ens10_files.index(path)
    assert len(rows) == 2 * 3 * 3 * 11
    with monkeypatch.context() as patch:
        patch.setattr(ens10_files, "inventory", lambda _: pytest.fail("scanned again"))
        np.testing.assert_array_equal(ens10_files.index(path), rows)
    path.unlink()
    ens10_layout.write(path, (1998,), (1,))  # another file under the name: its own index
    assert len(ens10_files.index(path)) == 3 * 11
    assert not list(folder.glob("*.npz.*"))


def test_a_folder_that_cannot_be_written_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(np, "savez", refuse)
    with pytest.raises(ValueError, match=rf"{re.escape(str(folder))}: expected a folder that an index"):
        ens10_files.index(folder / "output.sfc.20180101")


@pytest.mark.parametrize(
    ("rewritten", "message"),
    [
        ({"members": (1, 2)}, r"sfc.20180101: 2m_temperature, member 3 of 1999-01-01 \+ 48 h is missing"),
        ({"members": (1, 2)}, "found members 1, 2$"),
        ({"steps": (0, 24)}, r"1999-01-01 \+ 48 h is missing; found steps 0, 24 h"),
        ({"years": (1998,)}, "no forecast started on 1999-01-01"),
        ({"without": (167, 48, 2)}, r"2m_temperature, member 2 of 1999-01-01 \+ 48 h is missing"),
        ({"members": (1, 2, 3, 3)}, "member 3 of 1999-01-01 .* is there twice"),
    ],
)
def test_what_a_file_lacks_is_named(
    folder: Path, tmp_path: Path, rewritten: dict[str, Any], message: str
) -> None:
    path = folder / "output.sfc.20180101"
    path.unlink()
    ens10_layout.write(path, **({"years": (1998, 1999), "members": (1, 2, 3)} | rewritten))
    wanted = request(variables={"surface": ["2m_temperature"]})
    with pytest.raises(ValueError, match=message):
        fetched(tmp_path, source(folder), wanted)


def test_a_missing_level_a_missing_file_and_a_truncated_one_are_named(folder: Path, tmp_path: Path) -> None:
    own, upper = source(folder), {"atmospheric": ["temperature"], "levels_hpa": [500, 925]}
    with pytest.raises(ValueError, match="temperature at 925 hPa, member 1 of .* found members none at all"):
        fetched(tmp_path, own, request(variables=upper))
    path = folder / "output.pl.20181231"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(ValueError, match=r"output.pl.20181231 is missing \(1 of 4 files are\)"):
        own.files()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="output.pl.20181231: message .* truncated"):
        ens10_files.index(path)
    path.write_bytes(b"<!doctype html>")
    with pytest.raises(ValueError, match="output.pl.20181231: expected GRIB, found HTML page"):
        ens10_files.index(path)


def test_files_of_one_kind_are_enough(folder: Path) -> None:
    for path in folder.glob("output.pl.*"):
        path.unlink()
    assert [path.name for path in source(folder).files()] == ["output.sfc.20180101", "output.sfc.20181231"]
    assert source(folder, url="http://127.0.0.1:9").files() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": [0, 1]}, r"members 1 to 10, found \(0, 1\)"),
        ({"members": []}, r"members 1 to 10, found \(\)"),
        ({"lead_hours": 72, "variables": {"surface": ["2m_temperature"]}}, "24 and 48 hours, found .* 72"),
        ({"period": {"start": "1997-01-01", "end": "1997-12-31"}}, "no forecasts that are valid from 1997"),
        ({"variables": {"static": ["land_sea_mask"]}}, "no static fields, found land_sea_mask"),
    ],
)
def test_what_ens10_has_not_is_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fetched(tmp_path, source(folder), request(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lead_hours": 24}, r"total_precipitation_48hr is a sum over forecasts of 48 h.* found 24"),
        ({"lead_hours": 0}, r"expected lead_hours 48, found 0"),
        (
            {"variables": {"accumulated": ["total_precipitation"]}},
            "no hourly sums, found total_precipitation",
        ),
    ],
)
def test_impossible_requests_are_refused(changes: dict[str, Any], message: str) -> None:
    variables = {"surface": ["total_precipitation_48hr"]}
    with pytest.raises(ValidationError, match=message):
        request(**({"variables": variables} | changes))


def test_unknown_days_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="no forecasts of 0102; it has Mondays and Thursdays of 2018"):
        source(tmp_path, days=["0101", "0102"])


# From a server


@pytest.fixture
def server(written: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(mirror, "BACKOFF_S", (0.01, 0.02))
    monkeypatch.setattr(mirror, "BLOCK_BYTES", 1000)
    with running(written) as state:
        yield state


def test_missing_files_are_brought_once_and_kept(server: FileServer, folder: Path, tmp_path: Path) -> None:
    expected = source(folder).decode(request(), fetched(tmp_path, source(folder), request())).load()
    own = source(tmp_path / "mirror", url=f"{server.url}/")
    for number in range(2):
        (tmp_path / f"job{number}").mkdir()
        raw = fetched(tmp_path / f"job{number}", own, request())
        xr.testing.assert_identical(own.decode(request(), raw).load(), expected)
    assert sorted(server.asked) == sorted(
        f"/output.{kind}.2018{day}" for kind in ("pl", "sfc") for day in ("0101", "1231")
    ), "each once"
    assert not list((tmp_path / "mirror").glob("*.part"))


def test_a_body_that_is_cut_goes_on_where_it_was(server: FileServer, written: Path, tmp_path: Path) -> None:
    name = "output.sfc.20180101"
    server.faults = ["cut:5000", 503, "cut:20000"]
    mirror.bring(f"{server.url}/{name}", tmp_path / name, check=inventory)
    assert (tmp_path / name).read_bytes() == (written / name).read_bytes()
    assert server.ranges == [None, "bytes=5000-", "bytes=5000-", "bytes=25000-"]


def test_what_a_killed_job_left_is_used(server: FileServer, written: Path, tmp_path: Path) -> None:
    name = "output.sfc.20180101"
    content = (written / name).read_bytes()
    for left, ranges in ((content[:7000], ["bytes=7000-"]), (content, [f"bytes={len(content)}-"])):
        server.ranges.clear()
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / f"{name}.part").write_bytes(left)
        mirror.bring(f"{server.url}/{name}", tmp_path / name, check=inventory)
        assert (tmp_path / name).read_bytes() == content and server.ranges == ranges


def test_a_server_without_ranges_and_a_part_that_is_too_long(
    server: FileServer, written: Path, tmp_path: Path
) -> None:
    name = "output.sfc.20180101"
    content = (written / name).read_bytes()
    for left in (content[:7000], content + b"more"):
        server.faults = ["no range"] if len(left) < len(content) else []
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / f"{name}.part").write_bytes(left)
        mirror.bring(f"{server.url}/{name}", tmp_path / name, check=inventory)
        assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([404], "HTTP 404"),
        ([503] * mirror.ATTEMPTS, f"HTTP 503 .*gave up after {mirror.ATTEMPTS} attempts"),
        (["cut:0"] * mirror.ATTEMPTS, f"gave up after {mirror.ATTEMPTS} attempts"),
        (["page"], "expected data, found an HTML page"),
        (["damage"], "truncated or damaged GRIB"),
    ],
)
def test_what_a_server_does_wrong_is_named(
    server: FileServer, tmp_path: Path, faults: list[int | str], message: str
) -> None:
    server.faults = list(faults)
    target = tmp_path / "output.sfc.20180101"
    with pytest.raises(ValueError, match=message):
        mirror.bring(f"{server.url}/{target.name}", target, check=inventory)
    assert not target.exists() and server.faults == []


def test_jobs_that_want_the_same_file_wait_for_each_other(server: FileServer, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    name = "output.sfc.20180101"

    def job(_: int) -> None:
        mirror.bring(f"{server.url}/{name}", tmp_path / name, check=inventory)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(job, range(4)))
    assert server.asked == [f"/{name}"]
    assert os.listdir(tmp_path) == [name]
