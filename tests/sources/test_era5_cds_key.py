"""The key of a data store: where it is looked for, and that no redirect, link or log gets it."""

from pathlib import Path

import pytest

from tests.loopback import recording
from tests.sources import era5_requests
from tests.sources.cds_server import KEY, DataStore, Fault
from tests.sources.era5_requests import BODY, POLL, SUBMIT, fetched, refused

server, key_is_nowhere = era5_requests.server, era5_requests.key_is_nowhere  # fixtures of this file, too


def test_the_older_clients_file_holds_url_and_key(
    server: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("URL", "KEY"):
        monkeypatch.delenv(f"ECMWF_DATASTORES_{name}")
    with pytest.raises(ValueError, match="no access .* ECMWF_DATASTORES_KEY.* found none"):
        fetched(tmp_path / "none")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".cdsapirc").write_text(f"url: {server.url}\nkey: {KEY}\n")
    fetched(tmp_path / "old")
    (home / ".ecmwfdatastoresrc").write_text(f"url: {server.url}\nkey: another\n")
    refused(tmp_path / "new", r"401 .*no such token: \*\*\*")


def test_a_refused_key_is_not_repeated(
    server: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "a-key-of-another-store"
    monkeypatch.setenv("ECMWF_DATASTORES_KEY", f" {secret}\n")
    with pytest.raises(ValueError, match=r"401 .*authentication failed.*\*\*\*") as error:
        fetched(tmp_path)
    assert secret not in f"{error.value} {error.value.__cause__} {caplog.text}"
    assert "no such token" in caplog.text  # the client's own log is ours


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("status", [302, 307, 308])
@pytest.mark.parametrize("place", [r"/messages", r"GET .*/processes/", SUBMIT, POLL, r"/results"])
def test_a_redirect_does_not_take_the_key_along(
    server: DataStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str, status: int, host: str
) -> None:
    asked: list[tuple[str, dict[str, str]]] = []
    with recording(asked) as url:
        elsewhere = url.replace("127.0.0.1", host)
        server.faults = [Fault(place, status, times=99, headers={"Location": f"{elsewhere}/here"})]
        if place == "/messages":  # not needed
            fetched(tmp_path)
        else:
            refused(tmp_path, "^2m_temperature of 2001-01: (the server's answer is not that|link not found)")
    assert asked and KEY not in str(asked)
    assert f"the key stays behind: {elsewhere}/here is another server than {server.url}" in caplog.text


def test_a_link_does_not_get_the_key(server: DataStore, tmp_path: Path) -> None:
    asked: list[tuple[str, dict[str, str]]] = []
    with recording(asked) as url:
        server.url = f"{url}/api"  # which the store's answers name
        refused(tmp_path, "^2m_temperature of 2001-01: the server's answer is not that of a data store")
    assert [line.partition("?")[0] for line, _ in asked] == [
        "GET /api/retrieve/v1/jobs/00000000-0000-4000-8000-000000000001"
    ]
    assert KEY not in str(asked)


def test_a_redirect_at_the_store_itself_keeps_the_key(server: DataStore, tmp_path: Path) -> None:
    job = f"{server.url}/retrieve/v1/jobs/00000000-0000-4000-8000-000000000001"
    server.faults = [Fault(POLL, 307, headers={"Location": job})]
    fetched(tmp_path)


def test_nothing_is_asked_without_tls(
    server: DataStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (SUBMIT, POLL, BODY):
        server.faults = [Fault(place, 307, headers={"Location": "http://store.invalid/x?signature=1"})]
        message = "^2m_temperature of 2001-01: http://store.invalid: expected https"
        refused(tmp_path / place[-5:-1], message)
    monkeypatch.setenv("ECMWF_DATASTORES_URL", "http://store.invalid/api")
    refused(tmp_path / "url", "^http://store.invalid: expected https")
