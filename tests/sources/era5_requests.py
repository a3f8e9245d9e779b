"""Requests of ERA5 to a data store on loopback, whose key must stay nowhere."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sources.cds_server import KEY, DataStore, running
from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.era5_cds import Era5Cds
from weatherpeft.sources.transfer import cds_requests

DAYS = {"start": "2001-01-30", "end": "2001-01-31"}
BODY = r"GET /store/"
POLL = r"GET .*/jobs/[\w-]+$"
SUBMIT = r"POST .*/execution$"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DataStore]:
    """A store that the client finds by its own variables, with waits that suit a test."""
    monkeypatch.setattr(cds_requests, "BACKOFF_S", (0.005, 0.01))
    monkeypatch.setattr(cds_requests, "POLL_S", (0.005, 0.01))
    monkeypatch.setattr(cds_requests, "ATTEMPTS", 4)
    monkeypatch.setattr(cds_requests, "BLOCK", 100)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with running() as store:
        monkeypatch.setenv("ECMWF_DATASTORES_URL", store.url)
        monkeypatch.setenv("ECMWF_DATASTORES_KEY", KEY)
        yield store


@pytest.fixture(autouse=True)
def key_is_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """After each test: not in a log of any level of ours, nor in a file."""
    caplog.set_level(logging.DEBUG, "weatherpeft")
    yield
    assert KEY not in "".join(record.getMessage() for record in caplog.get_records("call"))
    for path in tmp_path.rglob("*"):
        if path.is_file() and not path.is_relative_to(tmp_path / "home"):
            assert KEY.encode() not in path.read_bytes(), path


def source(**changes: Any) -> Era5Cds:
    return Era5Cds.parse({"name": "era5_cds", "spans": [DAYS], **changes})


def request(members: list[int] | None = None, step_hours: int = 6, **variables: Any) -> DataRequest:
    chosen = variables or {"surface": ["2m_temperature"]}
    return DataRequest.parse(
        {"variables": chosen, "period": DAYS, "members": members or [], "step_hours": step_hours}
    )


def fetched(folder: Path, wanted: DataRequest | None = None, **changes: Any) -> Any:
    """Fetch into ``folder/raw`` by way of ``folder/work``, and decode."""
    wanted = wanted or request()
    raw = folder / "raw"
    raw.mkdir(parents=True)
    source(**changes).fetch(wanted, raw, folder / "work")
    return source(**changes).decode(wanted, raw)


def refused(folder: Path, message: str, wanted: DataRequest | None = None, **changes: Any) -> None:
    """A fetch must fail with a message and leave no file under a final name."""
    with pytest.raises(ValueError, match=message) as error:
        fetched(folder, wanted, **changes)
    assert KEY not in str(error.value)
    assert not list((folder / "raw").iterdir()) and not list((folder / "work").glob("*.grib"))
