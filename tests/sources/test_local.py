"""Files of the user's own: found, placed whole, read."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.local import Local
from weatherpeft.spec import Period

SPAN = {"start": "2017-01-01", "end": "2017-01-02"}
REQUEST = DataRequest.parse({"variables": {"surface": ["2m_temperature"]}, "period": SPAN})


def local(*paths: str) -> Local:
    return Local.parse({"name": "local", "paths": list(paths), "span": SPAN})


def test_one_job_for_the_span() -> None:
    assert local("a.grib").periods() == (Period.parse(SPAN),)


def write(path: Path, times: slice = slice(None), value: float = 280) -> bytes:
    """Write some of the span's times, and return what the file holds."""
    path.parent.mkdir(exist_ok=True)
    axes = {
        "time": REQUEST.times().astype("datetime64[ns]"),
        "latitude": [50.0, 49.0],
        "longitude": [0.0, 1.0],
    }
    values = value + np.arange(32, dtype="f4").reshape(8, 2, 2)
    dataset = xr.Dataset({"t2m": (list(axes), values, {"units": "K"})}, axes).isel(time=times)
    dataset.to_netcdf(path)
    return path.read_bytes()


def test_files_that_are_needed_are_placed_under_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"one/a.nc": slice(0, 3), "one/b.nc": slice(3, 5), "two/a.nc": slice(5, 8)}
    written = {name: write(tmp_path / name, times) for name, times in files.items()}
    other = xr.open_dataset(tmp_path / "one/a.nc").rename(t2m="u10")
    other.assign(u10=other["u10"].assign_attrs(units="m s-1")).to_netcdf(tmp_path / "one/wind.nc")
    raw = tmp_path / "raw"
    raw.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Relative, with ~, and by a pattern that names a file again.
    local("one/*.nc", "~/two/a.nc", "**/b.nc").fetch(REQUEST, raw, tmp_path / "work")
    found = {path.name: path.read_bytes() for path in raw.iterdir()}
    names = {"a.nc": "one/a.nc", "b.nc": "one/b.nc", "3_a.nc": "two/a.nc"}
    assert found == {name: written[file] for name, file in names.items()}
    assert not any(path.is_symlink() for path in raw.iterdir())


def test_nothing_is_copied_of_files_that_lack_something(tmp_path: Path) -> None:
    write(tmp_path / "files/a.nc", slice(0, 7))
    (tmp_path / "raw").mkdir()
    with pytest.raises(ValueError, match=r"2m_temperature, 2017-01-02T18:00 UTC is missing"):
        local(str(tmp_path / "files/*")).fetch(REQUEST, tmp_path / "raw", tmp_path / "work")
    assert not list((tmp_path / "raw").iterdir())


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    content = write(tmp_path / "real.nc")
    (tmp_path / "link.nc").symlink_to(tmp_path / "real.nc")
    (tmp_path / "raw").mkdir()
    local(str(tmp_path / "link.nc")).fetch(REQUEST, tmp_path / "raw", tmp_path / "work")
    (tmp_path / "real.nc").unlink()
    assert [path.read_bytes() for path in (tmp_path / "raw").iterdir()] == [content]


def test_a_later_change_of_the_users_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.nc"
    content = write(file)
    (tmp_path / "raw").mkdir()
    local(str(file)).fetch(REQUEST, tmp_path / "raw", tmp_path / "work")
    with file.open("r+b") as stream:  # in place, as some editors and tools write
        stream.write(b"CHANGED")
    assert (tmp_path / "raw" / "a.nc").read_bytes() == content


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def test_an_archive_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    archive(tmp_path / "one.nc", {"a.nc": b"1", "folder/": b"", "folder/a.nc": b"2", "folder_a.nc": b"3"})
    (tmp_path / "two").mkdir()
    archive(tmp_path / "two/one.nc", {"a.nc": b"4"})
    local(str(tmp_path / "one.nc"), str(tmp_path / "two/one.nc")).fetch(REQUEST, tmp_path / "raw", tmp_path)
    found = {path.name: path.read_bytes() for path in (tmp_path / "raw").iterdir()}
    assert found == {
        "one_a.nc": b"1", "one_folder_a.nc": b"2", "0_one_folder_a.nc": b"3", "1_one_a.nc": b"4",
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.nc", "raw", "two"]


def test_a_damaged_or_empty_archive_is_named(tmp_path: Path) -> None:
    content = archive(tmp_path / "good.zip", {"a.nc": bytes(range(256)) * 20}).read_bytes()
    changed = bytearray(content)
    changed[60] ^= 0xFF
    for name, damage in (("cut", content[:-30]), ("changed", bytes(changed))):
        (tmp_path / f"{name}.nc").write_bytes(damage)
        (tmp_path / name).mkdir()
        with pytest.raises(ValueError, match=rf"{name}\.nc: cannot unpack the ZIP archive") as error:
            local(str(tmp_path / f"{name}.nc")).fetch(REQUEST, tmp_path / name, tmp_path)
        assert "\n" not in str(error.value)
    archive(tmp_path / "empty.nc", {})
    with pytest.raises(ValueError, match=r"empty\.nc: the ZIP archive is empty"):
        local(str(tmp_path / "empty.nc")).fetch(REQUEST, tmp_path, tmp_path)


def test_a_pattern_without_files_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no file matches '.*/none\*\.grib'"):
        local(str(tmp_path / "none*.grib")).fetch(REQUEST, tmp_path, tmp_path / "work")
    with pytest.raises(ValueError, match="expected at least one path"):
        local().fetch(REQUEST, tmp_path, tmp_path / "work")


@pytest.mark.shared
def test_fetch_and_decode_real_files(shared_data: Path, tmp_path: Path) -> None:
    source = local(str(shared_data / "*members*.grib"))
    variables = {"atmospheric": ["temperature"], "levels_hpa": [850]}
    request = DataRequest.parse({"variables": variables, "period": SPAN, "step_hours": 12, "members": [0, 9]})
    source.fetch(request, tmp_path, tmp_path / "work")
    found = source.decode(request, tmp_path)["temperature"]
    assert found.shape == (2, 4, 1, 61, 120)
    assert np.isfinite(found.values).all() and 220 < float(found.min()) < float(found.max()) < 320


@pytest.mark.shared
def test_the_real_archive(shared_data: Path, tmp_path: Path) -> None:
    """CDS packs instantaneous fields and sums of one request into one archive called ``.nc``."""
    path = shared_data / "zip_named_as.nc"
    names = {"10m_u_component_of_wind": "u10", "surface_pressure": "sp", "total_precipitation": "tp"}
    variables = {"surface": list(names)[:2], "accumulated": ["total_precipitation"]}
    week = {"start": "2023-09-01", "end": "2023-09-07"}
    request = DataRequest.parse({"variables": variables, "period": week, "step_hours": 1})
    (tmp_path / "raw").mkdir()
    source = local(str(path))
    source.fetch(request, tmp_path / "raw", tmp_path)
    found = source.decode(request, tmp_path / "raw")
    assert found.attrs["expver"].startswith("0001: 504 fields, 2023-09-01T00:00 to 2023-09-07T23:00")
    with zipfile.ZipFile(path) as opened:
        opened.extractall(tmp_path / "members")
    for file in (tmp_path / "members").iterdir():
        with xr.open_dataset(file, engine="netcdf4") as expected:
            for ours, theirs in names.items():
                if theirs in expected:
                    np.testing.assert_array_equal(found[ours], expected[theirs])
                    del variables[next(key for key in variables if ours in variables[key])][0]
    assert variables == {"surface": [], "accumulated": []}  # every variable was compared
