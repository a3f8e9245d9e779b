"""ZIP archives of raw files, checked as a whole before anything is written."""

import logging
import shutil
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

MEMBERS = 10_000
"""Most members of an archive."""
RATIO = 200
"""Most bytes that a byte of an archive may become; packed GRIB and NetCDF become some two or three."""
SMALL_BYTES = 64 * 2**20
"""Size up to which the ratio does not matter, so that small archives of constant fields are taken."""
_log = logging.getLogger(__name__)


def unpack(archive: Path, folder: Path, place: Callable[[str], Path]) -> None:
    """Write the files of an archive; their folders become part of their names.

    Args:
        archive: ZIP archive, whatever its name.
        folder: folder of the files.
        place: gives the path of a new file in the folder for a name without folders.

    Raises:
        ValueError: the archive is damaged, empty or encrypted, has too many members, unpacks to more than the
            disk has free or to more than ``RATIO`` times its size, or a member is no plain file or leaves the
            folder. The message names the archive. Nothing is written then, except where damage shows only in
            the contents.
    """
    try:
        with ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            if not members:
                raise ValueError(f"{archive}: the ZIP archive is empty")
            if len(members) > MEMBERS:
                raise ValueError(f"{archive}: expected at most {MEMBERS} members, found {len(members)}")
            for member in members:
                if fault := _fault(member):
                    raise ValueError(f"{archive}: {member.filename!r} {fault}")
            _check_size(archive, members, folder)
            for member in members:
                target = place(f"{archive.stem}_{member.filename.replace('/', '_')}")
                with opened.open(member) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
                _log.info("took %s of %s as %s", member.filename, archive, target.name)
    except (BadZipFile, zlib.error, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{archive}: cannot unpack the ZIP archive ({error})") from error


def _fault(member: ZipInfo) -> str | None:
    """What is wrong with a member's header."""
    name, kind = member.filename, stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or ".." in name.split("/") or "\\" in name:
        return "leaves the folder"
    if not name.isprintable() or len(name.encode()) > 200:
        return "is no file name: expected up to 200 bytes that can be printed"
    if kind not in (0, stat.S_IFREG):
        return "is a link, a device or a pipe; expected a file"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return f"is packed by method {member.compress_type}; expected stored or deflated"
    return None


def _check_size(archive: Path, members: list[ZipInfo], folder: Path) -> None:
    """Refuse an archive that unpacks to too much; reading a member never gives more than its header says."""
    there, packed = archive.stat().st_size, sum(member.compress_size for member in members)
    size, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
    if packed > there:
        raise ValueError(f"{archive}: has {there} bytes, and its members share some: they claim {packed}")
    if size > SMALL_BYTES and size > RATIO * there:
        raise ValueError(f"{archive}: {there} bytes unpack to {size}, more than {RATIO} times as many")
    if size > free:
        raise ValueError(f"{archive}: unpacks to {size} bytes, and {folder} has {free} free")
