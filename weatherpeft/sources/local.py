"""GRIB or NetCDF files that are already on disk, in the layout of any provider."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.defaults import SourceDefaults
from weatherpeft.sources.bases.rename import Rename
from weatherpeft.spec import Period

if TYPE_CHECKING:
    import xarray as xr

_log = logging.getLogger(__name__)


class Local(SourceDefaults):
    """The user's own raw files. One download job copies those that hold something of the experiment."""

    name: Literal["local"]
    """Selects this source."""
    paths: tuple[str, ...]
    """Files or glob patterns, relative to the working directory. ``**`` stands for any folders, and ``~`` for
    the home folder."""
    span: Period
    """Period that the files cover; they may hold more."""
    rename: Rename = {}
    """Our names of variables by the names in the files, for files whose names and attributes do not tell what
    a variable is. In GRIB the name is ecCodes' short name or the param id. A height in m is called
    ``geopotential_height`` or ``surface_altitude``. A variable named here is taken from nowhere else."""

    def periods(self) -> tuple[Period, ...]:
        """One job for the whole span."""
        return (self.span,)

    def narrowed(self, period: Period) -> Self:
        """The source unchanged, because one job copies all files."""
        return self

    def files(self) -> list[Path]:
        """The files that match the patterns, each once, sorted by name within a pattern.

        Raises:
            ValueError: a pattern matches no file. The message names it.
        """
        import glob

        found: dict[Path, None] = {}
        for pattern in self.paths:
            names = sorted(glob.glob(os.path.expanduser(pattern), recursive=True))
            files = [Path(name).resolve() for name in names if Path(name).is_file()]
            if not files:
                raise ValueError(f"source local: no file matches {pattern!r} in {Path.cwd()}")
            found.update(dict.fromkeys(files))
        if not found:
            raise ValueError("source local: expected at least one path, found none")
        return list(found)

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Copy the files that hold something of a request, so that a later change of them changes no result.

        Their headers are checked before anything is copied. A ZIP archive is unpacked, whatever its name: the
        Climate Data Store packs requests for several kinds of fields that way. What it holds is not known
        before, so all files are copied then. Copies keep their names. Where two files share a name, the
        later one gets a number before it.

        Args:
            request: fields, period, time step and members that the files must hold.
            output: existing, empty directory.
            work: not used.

        Raises:
            ValueError: a pattern matches no file, the files lack something of the request (see
                ``files.open_canonical``), or an archive is refused (see ``archive.unpack``). The message
                names it.
        """
        import shutil
        from functools import partial

        from weatherpeft.sources.formats.archive import unpack
        from weatherpeft.sources.formats.files import open_canonical, sniff

        files = self.files()
        archives = {file for file in files if sniff(file) == "ZIP archive"}
        needed = set(files) if archives else _used(open_canonical(files, request, rename=self.rename))
        for index, file in enumerate(files):
            if file in archives:
                unpack(file, output, partial(_free, output, index))
            elif file in needed:
                target = _free(output, index, file.name)
                shutil.copyfile(file, target)
                _log.info("took %s as %s", file, target.name)
            else:
                _log.info("%s holds nothing of the experiment", file)

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Check the files in ``raw`` and read them lazily (see ``files.open_canonical``)."""
        from weatherpeft.sources.formats.files import open_canonical, raw_files

        return open_canonical(raw_files(raw), request, rename=self.rename)


def _used(dataset: xr.Dataset) -> set[Path]:
    """The files that the fields of a dataset come from."""
    return {file for array in dataset.data_vars.values() for file in array.encoding["files"].flat}


def _free(output: Path, index: int, name: str) -> Path:
    """The path in ``output`` for a file of that name; the index goes before a name that is taken."""
    return output / f"{index}_{name}" if (output / name).exists() else output / name
