"""Files that are already on disk: GRIB or NetCDF, as any provider ships them."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weatherpeft.interfaces import DataRequest
from weatherpeft.spec import Period, Spec

if TYPE_CHECKING:
    import xarray as xr

_log = logging.getLogger(__name__)


class Local(Spec):
    """Raw files of the user's own; one download job takes them all."""

    name: Literal["local"]
    """The source."""
    paths: tuple[str, ...]
    """Files or globs, ``**`` for any folders; relative to the working directory, ``~`` is expanded."""
    span: Period
    """What the files cover; they may hold more."""

    def periods(self) -> tuple[Period, ...]:
        """One job for the whole span."""
        return (self.span,)

    def files(self) -> list[Path]:
        """The files that the patterns name, each once, a pattern's in order of their names.

        Raises:
            ValueError: naming a pattern that matches no file.
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

    def fetch(self, request: DataRequest, output: Path) -> None:
        """Place the files in ``output``: hard links where the file system allows it, otherwise copies.

        Names are kept; where two files share a name, the later one gets its index as a prefix.

        Args:
            request: not used; every file is taken, and ``decode`` checks what it holds.
            output: existing, empty directory.

        Raises:
            ValueError: naming a pattern that matches no file.
        """
        for index, file in enumerate(self.files()):
            target = output / file.name
            if target.exists():
                target = output / f"{index}_{file.name}"
            try:
                os.link(file, target)
            except OSError:  # another file system, or a file of another user
                shutil.copyfile(file, target)
            _log.info("took %s as %s", file, target.name)

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Check the files in ``raw`` and read them lazily; see ``files.open_canonical``."""
        from weatherpeft.sources.files import open_canonical, raw_files

        return open_canonical(raw_files(raw), request)
