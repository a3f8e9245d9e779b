"""ERA5 from a data store on loopback: the real client, real HTTP, real GRIB, and all that goes wrong."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.shared_parts import raw_of
from tests.sources import era5_requests
from tests.sources.cds_server import KEY, DataStore, Fault, values
from tests.sources.era5_requests import BODY, DAYS, POLL, SUBMIT, fetched, refused, request, source
from weatherpeft.artifacts.manifest import MANIFEST, PROVENANCE
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.transfer import cds_requests, checksum
from weatherpeft.spec import Period
from weatherpeft.stages.download import DownloadSpec, download

server, key_is_nowhere = era5_requests.server, era5_requests.key_is_nowhere  # fixtures of this file, too


def test_jobs_are_calendar_months_clipped_to_the_spans() -> None:
    spans = [{"start": "2001-01-15", "end": "2001-03-02"}, {"start": "2003-12-01", "end": "2004-01-31"}]
    labels = [period.label for period in source(spans=spans).periods()]
    assert labels == [
        "20010115-20010131", "20010201-20010228", "20010301-20010302",
        "20031201-20031231", "20040101-20040131",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="overlap"):
        source(spans=[DAYS, DAYS])


def test_a_request_a_variable_and_month() -> None:
    variables = {
        "surface": ["2m_temperature", "10m_wind_gust"],
        "accumulated": ["total_precipitation"],
        "atmospheric": ["temperature"],
        "levels_hpa": [500, 850],
        "static": ["geopotential_at_surface", "land_sea_mask"],
    }
    period = {"start": "2001-01-30", "end": "2001-02-02"}
    wanted = DataRequest.parse({"variables": variables, "period": period, "step_hours": 12})
    found = source(area=[60, -10, 50, 2], resolution_deg=0.5).retrievals(wanted)
    assert [each.file for each in found] == [
        "2m_temperature_200101.grib", "10m_wind_gust_200101.grib", "total_precipitation_200101.grib",
        "temperature_200101.grib", "2m_temperature_200102.grib", "10m_wind_gust_200102.grib",
        "total_precipitation_200102.grib", "temperature_200102.grib", "static.grib",
    ]  # fmt: skip
    january, gust, rain, levels, *_, february, static = found
    assert january.label == "2m_temperature of 2001-01"
    assert january.collection == "reanalysis-era5-single-levels"
    assert january.inputs == {
        "product_type": ["reanalysis"], "variable": ["2m_temperature"],
        "year": ["2001"], "month": ["01"], "day": ["30", "31"], "time": ["00:00", "12:00"],
        "data_format": "grib", "download_format": "unarchived",
        "area": [60.0, -10.0, 50.0, 2.0], "grid": [0.5, 0.5],
    }  # fmt: skip
    assert gust.inputs["variable"] == ["10m_wind_gust_since_previous_post_processing"]
    assert rain.inputs["time"] == [f"{hour:02d}:00" for hour in range(24)]
    assert levels.collection == february.collection == "reanalysis-era5-pressure-levels"
    assert levels.inputs["pressure_level"] == ["500", "850"]
    assert (february.inputs["month"], february.inputs["day"]) == (["02"], ["01", "02"])
    assert static.inputs["variable"] == ["geopotential", "land_sea_mask"]
    assert [len(static.inputs[name]) for name in ("year", "month", "day", "time")] == [1, 1, 1, 1]


def test_hours_and_gaps_are_not_requested() -> None:
    """Rain comes for every hour of the days that are there."""
    period = {"start": "2001-01-28T06", "end": "2001-01-31T12", "hours": [12]}
    period["gaps"] = [{"start": "2001-01-29", "end": "2001-01-30"}]
    variables = {"surface": ["2m_temperature"], "accumulated": ["total_precipitation"]}
    wanted = DataRequest.parse({"variables": variables, "period": period, "step_hours": 24})
    field, rain = source().retrievals(wanted)
    assert (field.inputs["day"], field.inputs["time"]) == (["28", "31"], ["12:00"])
    assert (rain.inputs["day"], len(rain.inputs["time"])) == (["28", "31"], 24)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (request(step_hours=5), "step_hours: expected a divisor of 24 and multiple of 1, found 5"),
        (request(members=[0], step_hours=4), "multiple of 3, found 4"),
        (request(members=[0, 10]), r"members 0 to 9, found \[10\]"),
        (request(members=[0], accumulated=["total_precipitation"]), "no hourly sums, so no total_precipit"),
    ],
)
def test_what_era5_does_not_have_is_refused_before_it_is_queued(wanted: DataRequest, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source().retrievals(wanted)


@pytest.mark.parametrize("area", [[50, 0, 60, 10], [60, 10, 50, 0], [60, -181, 50, 0], [91, 0, 50, 10]])
def test_an_area_in_another_order_is_refused(area: list[float]) -> None:
    with pytest.raises(ValueError, match=r"north, west, south, east|area\.\d\n.*should be"):
        source(area=area)


def test_queued_running_successful(
    server: DataStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = request(
        surface=["2m_temperature"], accumulated=["total_precipitation"], atmospheric=["temperature"],
        levels_hpa=[500, 850], static=["land_sea_mask"],
    )  # fmt: skip
    found = fetched(tmp_path, wanted)
    assert server.submissions() == ["2m_temperature", "total_precipitation", "temperature", "land_sea_mask"]
    inputs = next(iter(server.jobs.values())).inputs
    for position, moment in ((3, datetime(2001, 1, 30, 18)), (4, datetime(2001, 1, 31))):
        expected = values("2m_temperature", 0, moment, 0, inputs)
        np.testing.assert_allclose(found["2m_temperature"][position], expected, atol=2e-3)
        expected = values("temperature", 850, moment, 0, inputs)
        np.testing.assert_allclose(found["temperature"][position, 1], expected, atol=2e-3)
    for hour in (0, 6, 7, 23, 24):  # across the forecasts' starts at 06 and 18 UTC
        moment = datetime(2001, 1, 30 + hour // 24, hour % 24)
        expected = values("total_precipitation", 0, moment, 0, inputs)
        np.testing.assert_allclose(found["total_precipitation"][hour], expected, atol=1e-6)
    assert "preliminary" not in found.coords
    for status in ("submitted as request 0000", "accepted", "running", "successful", "complete"):
        assert f"2m_temperature of 2001-01: {status}" in caplog.text
    # The key goes to the API alone, not to where the files lie.
    assert {headers.get("PRIVATE-TOKEN") for headers in server.asked("/retrieve/")} == {KEY}
    assert all("PRIVATE-TOKEN" not in headers for headers in server.asked("/store/"))
    assert KEY not in json.dumps([headers for headers in server.asked("/store/")])


def test_an_area_across_greenwich_and_a_grid(server: DataStore, tmp_path: Path) -> None:
    found = fetched(tmp_path, area=[60, -10, 50, 0], resolution_deg=5.0)
    assert found["latitude"].values.tolist() == [60, 55, 50]
    assert found["longitude"].values.tolist() == [0, 350, 355]
    (job,) = server.jobs.values()
    moment = datetime(2001, 1, 31, 6)
    expected = values("2m_temperature", 0, moment, 0, job.inputs)[:, [2, 0, 1]]
    np.testing.assert_allclose(found["2m_temperature"].sel(time=moment), expected, atol=2e-3)


def test_members_come_from_the_ensemble(server: DataStore, tmp_path: Path) -> None:
    found = fetched(tmp_path, request(members=[2, 9], surface=["2m_temperature"], static=["land_sea_mask"]))
    first, second = server.jobs.values()
    assert first.inputs["product_type"] == second.inputs["product_type"] == ["ensemble_members"]
    for position, member in enumerate((2, 9)):
        expected = values("2m_temperature", 0, datetime(2001, 1, 30), member, first.inputs)
        np.testing.assert_allclose(found["2m_temperature"][position, 0], expected, atol=2e-3)


def test_few_requests_are_queued_together(
    server: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cds_requests, "QUEUED", 2)
    winds = ["10m_u_component_of_wind", "10m_v_component_of_wind"]
    names = ["2m_temperature", "mean_sea_level_pressure", "surface_pressure", *winds]
    fetched(tmp_path, request(surface=names))
    assert server.submissions() == names
    assert server.most_open == 2


def test_a_failed_request_tells_why_and_is_submitted_anew_next_time(
    server: DataStore, tmp_path: Path
) -> None:
    server.statuses = ("accepted", "failed")
    refused(tmp_path, "^2m_temperature of 2001-01: .* failed: .*not produced a valid combination")
    server.statuses = ("successful",)
    fetched(tmp_path / "again")
    source().fetch(request(), tmp_path / "raw", tmp_path / "work")
    assert len(server.jobs) == 3


def test_a_rejected_request_waits_for_a_shorter_queue(
    server: DataStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.reason = "Number queued requests for this dataset is temporarily limited"
    server.statuses = ("rejected",)
    refused(tmp_path / "always", "2m_temperature of 2001-01: .*temporarily limited")
    assert len(server.jobs) == cds_requests.ATTEMPTS
    server.rejections = 2
    server.statuses = ("successful",)
    fetched(tmp_path / "twice")
    assert len(server.jobs) == cds_requests.ATTEMPTS + 3
    assert "temporarily limited; submitting again" in caplog.text


def test_429_is_waited_out(server: DataStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    start = time.monotonic()
    server.faults = [
        Fault(SUBMIT, 429, headers={"Retry-After": "1"}),
        Fault(POLL, 429, times=cds_requests.ATTEMPTS + 1),
        Fault(BODY, 429, headers={"Retry-After": "soon"}),
    ]
    fetched(tmp_path)
    assert time.monotonic() - start >= 1
    assert "execution answered HTTP 429 Too Many Requests; trying again in 1 s" in caplog.text
    assert len(server.jobs) == 1 and len(server.asked(SUBMIT)) == 2


@pytest.mark.parametrize("action", ["cut", "cut:5", 500, 503])
@pytest.mark.parametrize("place", [r"/messages", r"GET .*/processes/", SUBMIT, POLL, r"/results", BODY])
def test_a_server_that_is_gone_for_a_moment(
    server: DataStore, tmp_path: Path, place: str, action: int | str
) -> None:
    server.faults = [Fault(place, action, times=2)]
    fetched(tmp_path)
    assert [fault.times for fault in server.faults] == [0]
    if action != "cut:5":  # where the answer to a submission is lost, the server has it already
        assert len(server.jobs) == 1


def test_a_server_that_stays_away_is_given_up_and_the_request_kept(server: DataStore, tmp_path: Path) -> None:
    server.faults = [Fault(POLL, 503, times=cds_requests.ATTEMPTS)]
    refused(tmp_path, "^2m_temperature of 2001-01: 503 Server Error")
    assert len(server.asked(POLL)) == cds_requests.ATTEMPTS
    source().fetch(request(), tmp_path / "raw", tmp_path / "work")
    assert len(server.jobs) == 1


def test_a_cut_body_goes_on_where_it_ended(
    server: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cds_requests, "PROGRESS_S", 0)
    server.faults = [Fault(BODY, "cut:1000"), Fault(BODY, "cut:500"), Fault(BODY, "cut")]
    fetched(tmp_path)
    ranges = [headers.get("Range") for headers in server.asked(BODY)]
    assert ranges == [None, "bytes=1000-", "bytes=1500-", "bytes=1500-"]
    assert "2m_temperature of 2001-01: at byte 1000 of 5856: " in caplog.text
    assert "2m_temperature of 2001-01: 0 of 0 MB" in caplog.text


def test_a_server_without_ranges_sends_the_body_again(server: DataStore, tmp_path: Path) -> None:
    server.faults = [Fault(BODY, "cut:1000"), Fault(BODY, "no range")]
    fetched(tmp_path)
    assert len(server.asked(BODY)) == 2


@pytest.mark.parametrize("action", ["cut:1000", "short:1000"])
def test_a_body_that_never_gets_longer(server: DataStore, tmp_path: Path, action: str) -> None:
    server.faults = [Fault(BODY, action), Fault(BODY, "cut:0", times=99)]
    refused(tmp_path, r"^2m_temperature of 2001-01: .*truncated at byte 1000 of \d+, 4 times")


def test_a_file_that_the_store_itself_has_truncated(server: DataStore, tmp_path: Path) -> None:
    server.cut_files_to = 3000
    refused(tmp_path, "^2m_temperature of 2001-01: .*truncated")


def test_a_damaged_body_is_downloaded_once_more(server: DataStore, tmp_path: Path) -> None:
    server.faults = [Fault(BODY, "damage")]
    fetched(tmp_path)
    assert len(server.asked(BODY)) == 2


def test_a_wrong_checksum(server: DataStore, tmp_path: Path) -> None:
    server.checksum = "abc"
    refused(tmp_path, "^2m_temperature of 2001-01: .*with checksum abc, found another checksum")
    assert len(server.asked(BODY)) == 2
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("place", [r"GET .*/processes/", SUBMIT, POLL, r"/results", BODY])
@pytest.mark.parametrize("action", ["page", "page as grib"])
def test_an_html_page(server: DataStore, tmp_path: Path, place: str, action: str) -> None:
    server.faults = [Fault(place, action, times=99)]
    message = "HTML page" if action == "page" or place == BODY else "Expecting value"
    refused(tmp_path, f"^2m_temperature of 2001-01: .*{message}")
    assert len(server.asked(place)) == 1


def test_a_field_that_is_missing(server: DataStore, tmp_path: Path) -> None:
    server.missing = datetime(2001, 1, 31, 6)
    refused(tmp_path, "^2m_temperature of 2001-01: .*2001-01-31T06:00 UTC is missing")
    server.missing = None
    source().fetch(request(), tmp_path / "raw", tmp_path / "work")
    assert len(server.jobs) == 2


@pytest.mark.parametrize("name", ["2m_temperature", "total_precipitation"])
def test_preliminary_data_is_refused(server: DataStore, tmp_path: Path, name: str) -> None:
    server.preliminary_from = datetime(2001, 1, 31, 6)
    kind = "accumulated" if name == "total_precipitation" else "surface"
    variables: dict[str, Any] = {kind: [name]}
    refused(tmp_path, f"^{name} of 2001-01: .*ERA5T .* from 2001-01-31T06:00 UTC", request(**variables))
    assert not list((tmp_path / "work").iterdir())  # when it is final, it is asked for anew


def test_preliminary_data_is_recorded_where_allowed(server: DataStore, tmp_path: Path) -> None:
    server.preliminary_from = datetime(2001, 1, 31, 6)
    wanted = request(surface=["2m_temperature"], accumulated=["total_precipitation"])
    found = fetched(tmp_path, wanted, preliminary="allow")
    for axis, name in (("time", "preliminary"), ("hourly_time", "hourly_preliminary")):
        expected = found[axis].values >= np.datetime64(server.preliminary_from)
        np.testing.assert_array_equal(found[name], expected)
    assert "0005: 21 fields, 2001-01-31T06:00 to 2001-01-31T23:00" in found.attrs["expver"]


JOB = "import sys; from weatherpeft.sources.transfer import cds_requests as own\n"
JOB += "own.POLL_S, own.BLOCK = (0.02, 0.02), 100\n"
JOB += "from weatherpeft.cli import main; sys.exit(main(sys.argv[1:]))"


def await_(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_job_goes_on_with_its_requests(server: DataStore, tmp_path: Path) -> None:
    """Killed with one file finished, one request queued and one body half there."""
    names = ["2m_temperature", "mean_sea_level_pressure", "surface_pressure"]
    spec = DownloadSpec(source=source(), request=request(surface=names))
    server.statuses = ("successful",)
    server.statuses_of = {"mean_sea_level_pressure": ("accepted",)}
    server.faults = [Fault(r"GET /store/.*3\.grib", "stall:1000")]
    output, work = tmp_path / "raw" / DAYS["start"], tmp_path / "work"
    folders = {"output": output, "shared": tmp_path / "shared", "work": work}
    command = ["download", "--spec", spec.canonical_json(), *(f"--{k}={v}" for k, v in folders.items())]
    with (tmp_path / "log").open("w") as log:
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, *command], stderr=log, env={**os.environ, "WEATHERPEFT_LOG": "DEBUG"}
        )
        try:
            folder = work / spec.digest()
            part = folder / "surface_pressure_200101.grib.part"
            await_(lambda: job.poll() is not None or (part.exists() and part.stat().st_size == 1000))
        finally:
            job.send_signal(signal.SIGKILL)
            job.wait()
    assert job.returncode == -signal.SIGKILL, (tmp_path / "log").read_text()
    assert [path.name for path in folder.glob("*.grib")] == ["2m_temperature_200101.grib"]
    assert server.submissions() == names

    server.requests.clear()
    server.statuses_of = {"mean_sea_level_pressure": ("accepted", "running", "successful")}
    server.jobs["00000000-0000-4000-8000-000000000002"].polls = 0
    download(spec, output, tmp_path / "shared", work)
    assert server.submissions() == names and not server.asked(SUBMIT)
    assert not server.asked("8000-000000000001") and server.asked("8000-000000000002")
    (body,) = server.asked(r"GET /store/.*3\.grib")
    assert body["Range"] == "bytes=1000-"
    assert sorted(path.name for path in raw_of(output).iterdir()) == sorted(
        [*(f"{name}_200101.grib" for name in names), MANIFEST, PROVENANCE]
    )
    assert not list(work.iterdir())


def test_a_result_that_has_expired_is_asked_for_anew(server: DataStore, tmp_path: Path) -> None:
    server.faults = [Fault(POLL, 503, times=cds_requests.ATTEMPTS)]
    refused(tmp_path, "503")
    server.faults = [Fault(r"/results", 404)]
    source().fetch(request(), tmp_path / "raw", tmp_path / "work")
    assert server.submissions() == ["2m_temperature"] * 2


def test_a_finished_file_serves_the_same_request_only(server: DataStore, tmp_path: Path) -> None:
    for folder, jobs, rows, changes in (
        ("first", 1, 13, {}),
        ("same", 1, 13, {}),
        ("other", 2, 7, {"resolution_deg": 30.0}),
    ):
        raw = tmp_path / folder
        raw.mkdir()
        source(**changes).fetch(request(), raw, tmp_path / "work")
        assert len(server.jobs) == jobs
        assert source().decode(request(), raw).sizes["latitude"] == rows
    assert source().decode(request(), tmp_path / "first").sizes["latitude"] == 13


def test_checksum_of_a_file_in_one_piece_or_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    content = np.random.default_rng(0).bytes(3_500_000)
    path.write_bytes(content)
    whole = hashlib.md5(content).hexdigest()
    assert checksum.has_checksum(path, whole) and not checksum.has_checksum(path, whole[:-1])
    for part in (2**20, 2 * 2**20, 3 * 2**20):
        pieces = [content[start : start + part] for start in range(0, len(content), part)]
        stored = hashlib.md5(b"".join(hashlib.md5(piece).digest() for piece in pieces)).hexdigest()
        assert checksum.has_checksum(path, stored, f'"{stored}-{len(pieces)}"')
        assert not checksum.has_checksum(path, stored, f'"{stored}-{len(pieces) + 2}"')
        assert not checksum.has_checksum(path, stored)
        monkeypatch.setattr(checksum, "_USUAL_PART", part)
        assert checksum.has_checksum(path, stored)
        monkeypatch.undo()
    number = next(n for n in range(10_000) if hashlib.md5(b"%d" % n).hexdigest().startswith("00"))
    path.write_bytes(b"%d" % number)
    assert checksum.has_checksum(path, hashlib.md5(b"%d" % number).hexdigest().lstrip("0"))


def test_months_of_a_leap_year() -> None:
    year = source(spans=[{"start": "2004-01-01", "end": "2004-12-31"}]).periods()
    assert [period.days for period in year] == [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    assert year[1] == Period(start=date(2004, 2, 1), end=date(2004, 2, 29))
