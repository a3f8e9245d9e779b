"""Hostile archives: refused in one line, before anything is written."""

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from weatherpeft.sources.formats import archive
from weatherpeft.sources.formats.archive import unpack

MIB = 2**20
PLAIN = stat.S_IFREG | 0o644


def member(name: str, mode: int = PLAIN, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.external_attr, found.compress_type = mode << 16, method
    return found


def named(name: str, mode: int = PLAIN, method: int = zipfile.ZIP_DEFLATED) -> Callable[[Path], None]:
    """An archive with a good member and one that is not."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as opened:
            opened.writestr(member("good.nc"), b"good")
            opened.writestr(member(name, mode, method), b"content")

    return write


def patched(field: int, size: int, value: int) -> Callable[[Path], None]:
    """An archive whose central directory states another value for its last member."""

    def write(path: Path) -> None:
        named("bad.nc")(path)
        content = bytearray(path.read_bytes())
        start = content.rindex(b"PK\x01\x02") + field
        content[start : start + size] = value.to_bytes(size, "little")
        path.write_bytes(content)

    return write


def bomb(path: Path) -> None:
    """70 MiB of zeros in 70 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        with opened.open("zeros.grib", "w") as stream:
            for _ in range(70):
                stream.write(bytes(MIB))


def overlapping(path: Path) -> None:
    """Two names of one member's bytes."""
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(member("a.nc", method=zipfile.ZIP_STORED), b"x" * 1000)
    content = path.read_bytes()
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    entry = content[start:end]
    both = entry + entry.replace(b"a.nc", b"b.nc")
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(both), start, 0)
    path.write_bytes(content[:start] + both + tail)


def many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        for number in range(11):
            opened.writestr(f"{number}.nc", b"")


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "bomb": (bomb, r"bytes unpack to 73400320, more than 200 times as many"),
    "claims 4 GB": (patched(24, 4, 2**32 - 2), "more than 200 times as many"),
    "claims too many packed bytes": (patched(20, 4, 2**31), "its members share some"),
    "overlapping members": (overlapping, "its members share some"),
    "too many members": (many, "expected at most 10 members, found 11"),
    "absolute": (named("/etc/cron.d/job"), "'/etc/cron.d/job' leaves the folder"),
    "parent": (named("../../evil.nc"), r"'../../evil.nc' leaves the folder"),
    "parent inside": (named("a/../../evil.nc"), "leaves the folder"),
    "backslash": (named("..\\evil.nc"), "leaves the folder"),
    "new line": (named("a\nb.nc"), r"'a\\nb.nc' is no file name"),
    "escape": (named("a\x1b[2Jb.nc"), "is no file name"),
    "long": (named("a" * 300), "is no file name"),
    "link": (named("link", stat.S_IFLNK | 0o777), "'link' is a link, a device or a pipe"),
    "device": (named("null", stat.S_IFCHR | 0o666), "is a link, a device or a pipe"),
    "pipe": (named("pipe", stat.S_IFIFO | 0o666), "is a link, a device or a pipe"),
    "lzma": (named("a.nc", method=zipfile.ZIP_LZMA), "packed by method 14; expected stored or deflated"),
    "unknown method": (patched(10, 2, 99), "packed by method 99"),
    "encrypted": (patched(8, 2, 1), "'bad.nc' is encrypted"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_hostile_archive_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(archive, "MEMBERS", 10)
    write, message = HOSTILE[name]
    path, folder = tmp_path / "data.nc", tmp_path / "raw"
    folder.mkdir()
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        unpack(path, folder, lambda name: folder / name)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert not list(folder.iterdir())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data.nc", "raw"]


def test_a_full_disk_is_told_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named("other.nc")(tmp_path / "data.nc")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5))
    with pytest.raises(ValueError, match=r"data\.nc: unpacks to 11 bytes, and .* has 5 free"):
        unpack(tmp_path / "data.nc", tmp_path, lambda name: tmp_path / name)


def test_a_small_archive_of_constant_fields_is_taken(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.nc", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("zeros.grib", bytes(MIB))
    unpack(tmp_path / "data.nc", tmp_path, lambda name: tmp_path / name)
    assert (tmp_path / "data_zeros.grib").read_bytes() == bytes(MIB)
