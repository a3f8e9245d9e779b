"""The checksums of an artifact's files, against which whatever is opened is compared.

``SHA256SUMS`` lists the files of an artifact in the format of ``sha256sum``, ``provenance.json`` included.
The record's ``digest`` follows from the list, so a change in either of the two shows in the other. A file is
compared as a whole when it is opened. Of a Zarr store these are the metadata and the list of its chunks. The
chunks themselves carry checksums, which are compared when they are read.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FORMAT = 2
"""Version of the layout of artifacts, which the record states. Format 1 had no checksums."""
PROVENANCE = "provenance.json"
MANIFEST = "SHA256SUMS"
BOOKKEEPING = (PROVENANCE, MANIFEST, ".snakemake_timestamp")
"""Names of files that are no content of an artifact."""
_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


class DamagedError(ValueError):
    """An artifact is not what its job wrote. The message names the file and the command that makes it again.

    Attributes:
        file: the file at fault.
        problem: what is wrong with it.

    Args:
        file: the file at fault.
        problem: what is wrong with it.
        artifact: the artifact that it belongs to; None if it belongs to none.
    """

    def __init__(self, file: Path, problem: str, artifact: Path | None) -> None:
        self.file, self.problem = file, problem
        advice = f"; make it again with: {remake_command(artifact)}" if artifact else ""
        super().__init__(f"{shown(file)}: {problem}{advice}")


def remake_command(artifact: Path) -> str:
    """The command that runs the job of an artifact again, in the folder of the experiment.

    What a job has made for all experiments is made again by the job of the catalog that it was made for.
    """
    target = artifact
    with suppress(OSError, ValueError, TypeError, KeyError):
        target = Path(json.loads((artifact / PROVENANCE).read_bytes())["catalog"])
    return f"snakemake --cores all --force {shlex.quote(str(shown(target)))} --configfile CONFIG"


def shown(path: Path) -> Path:
    """A path as the user and Snakemake write it: relative, if it lies below the current folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def artifact_of(path: Path) -> Path | None:
    """The artifact that a path is, or is a part of; None if there is none."""
    for directory in (path, *path.parents):
        if (directory / PROVENANCE).is_file() or (directory / MANIFEST).is_file():
            return directory
    return None


def file_digests(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below a directory without bookkeeping, by its relative path, sorted by path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(file.relative_to(directory)): _sha256(file) for file in files if file.name not in BOOKKEEPING}


def total_digest(digests: Mapping[str, str], left_out: Sequence[str] = ()) -> str:
    """SHA-256 over names and digests of files.

    Args:
        digests: digests of files as ``file_digests`` gives them.
        left_out: names that do not count.
    """
    total = hashlib.sha256()
    for name, digest in digests.items():
        if name not in left_out:
            total.update(os.fsencode(name) + b"\0" + bytes.fromhex(digest))
    return total.hexdigest()


def seal(directory: Path, record: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    """Write the record and the checksums of a finished artifact.

    Args:
        directory: the artifact, with all other files in it.
        record: its record without ``format`` and ``digest``. ``varying`` names files that do not count.
        digests: digests of its files as ``file_digests`` gives them.

    Raises:
        ValueError: the name of a file has a line break.
    """
    for name in digests:
        if "\n" in name:
            raise ValueError(f"{directory}: expected names of files without line breaks, found {name!r}")
    total = total_digest(digests, record.get("varying", ()))
    text = json.dumps({**record, "format": FORMAT, "digest": total}, indent=1, sort_keys=True) + "\n"
    (directory / PROVENANCE).write_text(text)
    lines = {**digests, PROVENANCE: _sha256(directory / PROVENANCE)}
    (directory / MANIFEST).write_bytes(_listed(lines))


def _listed(digests: Mapping[str, str]) -> bytes:
    """The lines of ``sha256sum``."""
    return b"".join(
        b"%s  %s\n" % (digest.encode(errors="replace"), os.fsencode(name)) for name, digest in digests.items()
    )


@dataclass(frozen=True)
class Manifest:
    """Record and checksums of an artifact, which agree with each other.

    Attributes:
        root: the artifact.
        record: what ``provenance.json`` holds.
        digests: SHA-256 of every file by its path below the artifact.
    """

    root: Path
    record: Mapping[str, Any]
    digests: Mapping[str, str]

    def check(self, name: str) -> None:
        """Compare a file with its checksum.

        Raises:
            DamagedError: it is missing, unknown, or has other bytes.
        """
        path = self.root / name
        if name not in self.digests:
            raise DamagedError(path, "foreign, the artifact was made without it", self.root)
        if not path.is_file():
            raise DamagedError(path, "missing", self.root)
        if _sha256(path) != self.digests[name]:
            raise DamagedError(path, "damaged, its bytes are not those that were written", self.root)

    def misplaced(self, part: str = "") -> Iterator[DamagedError]:
        """Missing and foreign files.

        Args:
            part: path of a folder in the artifact to look at; by default everything.
        """
        prefix = f"{part}/" if part else ""
        expected = {name for name in self.digests if name.startswith(prefix)}
        found = {f"{prefix}{name}" for name in _names(self.root / part)}
        for name in sorted(expected - found):
            yield DamagedError(self.root / name, "missing", self.root)
        for name in sorted(found - expected):
            yield DamagedError(self.root / name, "foreign, the artifact was made without it", self.root)


def look_anew(paths: Iterable[Path]) -> None:
    """Let the file system look again at what some paths are, and what the folders are in which they lie.

    NFS answers from caches for up to a minute: where another machine has made or replaced an artifact, the
    old one seems to be there, without files, or none. Listing a folder asks the server.
    """
    folders = {folder for path in paths for folder in (path.parent.parent, path.parent)}
    for folder in sorted(folders):  # parents first
        with suppress(OSError):
            os.listdir(folder)


def read_manifest(root: Path) -> Manifest:
    """Read record and checksums of an artifact, and check that they agree.

    Raises:
        ValueError: the directory is no artifact, or one of another version of this package.
        DamagedError: record and checksums do not agree.
    """
    if not (root / PROVENANCE).is_file():
        look_anew([root])
    if not (root / PROVENANCE).is_file():
        if (root / MANIFEST).is_file():
            raise DamagedError(root / PROVENANCE, "missing", root)
        raise ValueError(f"{shown(root)}: no {PROVENANCE}; not a complete artifact of weatherpeft")
    if not (root / MANIFEST).is_file():
        again = remake_command(root)
        raise ValueError(
            f"{shown(root)}: no {MANIFEST}; made by an older version of weatherpeft, or not complete; "
            f"make it again with: {again}"
        )
    states = [(root / name).stat() for name in (PROVENANCE, MANIFEST)]
    return _manifest(root, *((state.st_ino, state.st_mtime_ns, state.st_size) for state in states))


@lru_cache(maxsize=64)
def _manifest(root: Path, *states: tuple[int, ...]) -> Manifest:
    """Read a manifest. The states of its files only tell its versions apart in the cache."""
    text = (root / PROVENANCE).read_bytes()
    listed = (root / MANIFEST).read_bytes()
    digests: dict[str, str] = {}
    for line in listed.split(b"\n")[:-1]:
        digest, _, name = line.partition(b"  ")
        digests[os.fsdecode(name)] = digest.decode("ascii", "replace").lower()
    if listed != _listed(digests):
        raise DamagedError(root / MANIFEST, "damaged, it is not as it was written", root)
    if digests.pop(PROVENANCE, None) != hashlib.sha256(text).hexdigest():
        raise DamagedError(root / PROVENANCE, f"damaged, it does not agree with {MANIFEST}", root)
    record = json.loads(text)
    if record.get("format") != FORMAT:
        found = record.get("format")
        raise ValueError(
            f"{shown(root)}: expected an artifact of format {FORMAT}, found {found}, of another version of "
            f"weatherpeft; make it again with: {remake_command(root)}"
        )
    try:
        total = total_digest(digests, record.get("varying", ()))
    except ValueError:  # not hexadecimal
        total = ""
    if total != record["digest"]:
        raise DamagedError(root / MANIFEST, f"damaged, it does not agree with {PROVENANCE}", root)
    return Manifest(root, record, digests)


def checked(path: Path) -> Path:
    """A file that is about to be read, after a comparison with the artifact's checksum.

    A file outside of artifacts is returned as it is.

    Raises:
        ValueError: the artifact is of another version.
        DamagedError: the file is missing, foreign or damaged.
    """
    root = artifact_of(path.parent)
    if root is not None:
        read_manifest(root).check(str(path.relative_to(root)))
    return path


def check_store(path: Path) -> None:
    """Check that a Zarr store has all its files and no others, and the metadata that was written.

    A store outside of artifacts, or in one that is not finished, is not checked.

    Raises:
        ValueError: the artifact is of another version.
        DamagedError: a file is missing or foreign, or metadata is damaged.
    """
    root = artifact_of(path)
    if root is None:
        return
    manifest, part = read_manifest(root), str(path.relative_to(root))
    part = "" if part == "." else part
    for error in manifest.misplaced(part):
        raise error
    for name in manifest.digests:
        if name.startswith(f"{part}/" if part else "") and name.rpartition("/")[2] in _METADATA:
            manifest.check(name)


def check_artifact(root: Path) -> None:
    """Compare all files of an artifact with their checksums.

    Raises:
        ValueError: the directory is no artifact, or one of another version.
        DamagedError: a file is missing, foreign or damaged.
    """
    for error in faults(root):
        raise error


def faults(root: Path) -> Iterator[DamagedError]:
    """What is wrong with the files of an artifact, one after the other.

    Raises:
        ValueError: the directory is no artifact, or one of another version.
        DamagedError: record and checksums do not agree.
    """
    manifest, missing = read_manifest(root), set()
    for error in manifest.misplaced():
        missing.add(error.file)
        yield error
    for name in manifest.digests:
        if root / name not in missing:
            try:
                manifest.check(name)
            except DamagedError as error:
                yield error


def _names(directory: Path) -> Iterator[str]:
    """Relative paths of the files below a directory, without bookkeeping."""
    for folder, _, files in os.walk(directory):
        prefix = os.path.relpath(folder, directory)
        for name in files:
            if name not in BOOKKEEPING:
                yield name if prefix == "." else f"{prefix}/{name}"


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
