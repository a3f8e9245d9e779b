"""Files of the user's own: found, placed whole, read."""

from pathlib import Path

import numpy as np
import pytest

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.local import Local
from weatherpeft.spec import Period

SPAN = {"start": "2017-01-01", "end": "2017-01-02"}
REQUEST = DataRequest.parse({"variables": {"surface": ["2m_temperature"]}, "period": SPAN})


def local(*paths: str) -> Local:
    return Local.parse({"name": "local", "paths": list(paths), "span": SPAN})


def test_one_job_for_the_span() -> None:
    assert local("a.grib").periods() == (Period.parse(SPAN),)


def test_files_are_placed_under_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in (("one", "a.grib"), ("one", "b.grib"), ("two", "a.grib")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(f"{folder} {name}")
    raw = tmp_path / "raw"
    raw.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Relative, with ~, and by a pattern that names a file again.
    local("one/*.grib", "~/two/a.grib", "**/b.grib").fetch(REQUEST, raw)
    found = {path.name: path.read_text() for path in raw.iterdir()}
    assert found == {"a.grib": "one a.grib", "b.grib": "one b.grib", "2_a.grib": "two a.grib"}
    assert not any(path.is_symlink() for path in raw.iterdir())


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.grib").write_text("content")
    (tmp_path / "link.grib").symlink_to(tmp_path / "real.grib")
    (tmp_path / "raw").mkdir()
    local(str(tmp_path / "link.grib")).fetch(REQUEST, tmp_path / "raw")
    (tmp_path / "real.grib").unlink()
    assert [path.read_text() for path in (tmp_path / "raw").iterdir()] == ["content"]


def test_where_links_cannot_be_made_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "a.grib").write_text("content")
    (tmp_path / "raw").mkdir()
    local(str(tmp_path / "*.grib")).fetch(REQUEST, tmp_path / "raw")
    assert (tmp_path / "raw" / "a.grib").read_text() == "content"


def test_a_pattern_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file matches '.*/none\*\.grib'"):
        local(str(tmp_path / "none*.grib")).fetch(REQUEST, tmp_path)
    with pytest.raises(ValueError, match="expected at least one path"):
        local().fetch(REQUEST, tmp_path)


@pytest.mark.shared
def test_fetch_and_decode_real_files(shared_data: Path, tmp_path: Path) -> None:
    source = local(str(shared_data / "*members*.grib"))
    variables = {"atmospheric": ["temperature"], "levels_hpa": [850]}
    request = DataRequest.parse({"variables": variables, "period": SPAN, "step_hours": 12, "members": [0, 9]})
    source.fetch(request, tmp_path)
    found = source.decode(request, tmp_path)["temperature"]
    assert found.shape == (2, 4, 1, 61, 120)
    assert np.isfinite(found.values).all() and 220 < float(found.min()) < float(found.max()) < 320
