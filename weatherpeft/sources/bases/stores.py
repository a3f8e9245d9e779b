"""The base of sources that read a store of the user's choice, under whatever names it has."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.area import Area
from weatherpeft.sources.bases.copied import CopiedSource
from weatherpeft.sources.bases.rename import Rename
from weatherpeft.sources.bases.spans import months, years
from weatherpeft.sources.transfer.secrets import check_encrypted
from weatherpeft.spec import Period

if TYPE_CHECKING:
    import xarray as xr

    from weatherpeft.sources.formats.zarr import Selected

_METADATA = ("zarr.json", ".zmetadata", ".zgroup")


class StoreSource(CopiedSource):
    """Stores in folders, files or at URLs. A subclass says with ``opened`` what is in one."""

    path: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Store to read, or several that hold different variables: a folder or a file, relative to the working
    directory or with ``~``, or a URL that fsspec reads: ``https://``, ``s3://`` or ``gs://`` (without an
    account if there are no options)."""
    storage_options: dict[str, Any] = {}
    """Options of fsspec for the URL. ``$NAME`` in a text stands for that environment variable of the job.
    Keep keys there, since the config is part of every result."""
    rename: Rename = {}
    """Our names of variables by the store's, where names and attributes do not tell what a variable is. A
    height in m is called ``geopotential_height`` or ``surface_altitude``. A variable named here is taken from
    nowhere else."""
    area: Area | None = None
    """North, west, south and east border in degrees of the part to copy; west may be negative. By default all
    of it."""
    job: Literal["month", "year", "span"] = "month"
    """What one download job brings. Where the store's chunks are long in time, take ``year`` or ``span``:
    every job reads the chunks of its days whole."""

    @property
    def address(self) -> str:
        """The URLs, folders or files."""
        return ", ".join(self.paths)

    @property
    def paths(self) -> tuple[str, ...]:
        """The stores."""
        return (self.path,) if isinstance(self.path, str) else self.path

    def periods(self) -> tuple[Period, ...]:
        """The download jobs, in the order of the spans."""
        if self.job == "span":
            return self.spans
        cut = months if self.job == "month" else years
        return tuple(part for span in self.spans for part in cut(span))

    def files(self) -> list[Path]:
        """The files, and the metadata files of stores in folders; no file of a store elsewhere.

        Raises:
            ValueError: there is no such file, or a folder holds no store. The message names it.
        """
        return [self._file(Path(path).expanduser()) for path in self.paths if "://" not in path]

    def _file(self, path: Path) -> Path:
        found = [path] if path.is_file() else [path / name for name in _METADATA if (path / name).is_file()]
        if not found:
            raise ValueError(f"source {self.name}: expected a store, found none at {path.absolute()}")
        return found[0].resolve()

    def options(self) -> dict[str, Any]:
        """The options of fsspec, with the environment's variables in place of ``$NAME``.

        Raises:
            ValueError: there is no such variable, or it would be sent to a server without TLS.
        """
        from weatherpeft.sources.formats.datasets import with_environment

        options: dict[str, Any] = with_environment(self.storage_options)
        if options != self.storage_options:
            for path in self.paths:
                if path.startswith("http"):
                    check_encrypted(path)
        return options

    @abstractmethod
    def opened(self, path: str, request: DataRequest) -> tuple[Mapping[str, xr.DataArray], list[str]]:
        """Open a store: those of the requested variables that it has, lazy, and what it holds, for messages.

        Dimensions and coordinates are among ``time``, ``level`` (in hPa), ``latitude`` and ``longitude``, and
        the attribute ``units`` states units.

        Raises:
            ValueError: see ``selected``.
        """

    def selected(self, request: DataRequest) -> list[Selected]:
        """Open the stores and find the requested fields (see ``CopiedSource``)."""
        from weatherpeft.sources.formats.fields import listed, variable_rows
        from weatherpeft.sources.formats.zarr import check_one_grid, select_fields

        found: dict[str, tuple[str, xr.DataArray]] = {}
        held: list[str] = []
        for path in self.paths:
            arrays, names = self.opened(path, request)
            held += names
            for name, array in arrays.items():
                if name in found:
                    raise ValueError(f"{path}: {name} is in {found[name][0]} too; give one of the two stores")
                found[name] = path, array
        selected = []
        for row in variable_rows(request.variables):
            if row.name not in found:
                raise ValueError(f"{self.address}: {row.name} is missing; found {listed(held)}")
            path, array = found[row.name]
            selected.append(select_fields(array, path, request, row, self.area))
        if not selected:
            raise ValueError("the request names no variable")
        check_one_grid(selected, self.address)
        return selected
