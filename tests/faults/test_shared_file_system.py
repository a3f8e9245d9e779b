"""The trials for two machines, by two processes in a local folder that count as two machines."""

import multiprocessing
from pathlib import Path

import pytest

from tests.faults import shared_file_system
from weatherpeft.artifacts import claim


def follow(folder: Path) -> None:
    claim._machine.cache_clear()
    claim._machine = lambda: "00000000"  # type: ignore[assignment]
    shared_file_system.main([str(folder), "1"])


@pytest.mark.long
def test_two_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(claim, "LEASE_S", claim.LEASE_S)  # put back afterwards
    monkeypatch.setattr(claim, "HEARTBEAT_S", claim.HEARTBEAT_S)
    other = multiprocessing.get_context("fork").Process(target=follow, args=(tmp_path / "shared",))
    other.start()
    options = ["--pairs", "4", "--others", "1", "--lease", "6", "--address", "localhost"]
    try:
        status = shared_file_system.main([str(tmp_path / "shared"), "0", *options])
        other.join(60)
    finally:
        other.kill()
    said = capsys.readouterr()
    assert status == 0, said
    rows = [line.split()[:4] for line in said.out.splitlines()[1:]]
    assert rows == [
        ["race", "4", "4", "0"],
        *([kind, "1", "1", "0"] for kind in shared_file_system.KINDS[1:]),
    ]
    assert list((tmp_path / "shared").iterdir()) == []
