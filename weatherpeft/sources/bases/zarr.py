"""The base of sources that read a Zarr store.

A download job copies the requested fields into a Zarr store of its own and keeps the provider's names,
units and order. ``decode`` brings them to the canonical form, so that a change of that form needs no new
download.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.spans import SpanSource

if TYPE_CHECKING:
    import xarray as xr

RAW_STORE = "fields.zarr"
"""File name of the store that a download job writes."""


class ZarrSource(SpanSource):
    """A Zarr store of one layout, at any URL.

    A subclass narrows ``name``, gives ``url`` a default and describes the layout.
    """

    url: str
    """Store to read: a ``gs://`` (anonymous), ``http://`` or other URL that fsspec reads, or a folder."""

    names: ClassVar[Mapping[str, str]] = {}
    """The store's names of variables, by the WeatherBench 2 names from which they differ."""

    def files(self) -> list[Path]:
        """The metadata file of a store in a folder; no file of a store elsewhere.

        Raises:
            ValueError: the folder holds no store. The message names it.
        """
        if "://" in self.url:
            return []
        folder = Path(self.url).expanduser()
        found = [folder / name for name in ("zarr.json", ".zmetadata") if (folder / name).is_file()]
        if not found:
            raise ValueError(
                f"source {self.name}: expected a Zarr store with consolidated metadata in "
                f"{folder.absolute()}, found neither zarr.json nor .zmetadata"
            )
        return [found[0].resolve()]

    def check_valid(self, dataset: xr.Dataset, request: DataRequest) -> None:
        """Refuse days that are on the store's time axis but have no data.

        A layout that marks such days overrides this method, which accepts all days.

        Raises:
            ValueError: a day has no data. The message names the store and the day.
        """

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Copy the fields of a request into a Zarr store in ``output``, with one chunk for each time.

        A killed job resumes after the last time that it wrote. Memory holds a few of the store's
        chunks, whatever the period.

        Args:
            request: fields, levels, period and time step. It must name no members.
            output: existing, empty directory.
            work: directory in which the copied fields survive a kill.

        Raises:
            ValueError: the store cannot be opened, has another layout or breaks off, lacks a variable,
                level or time, or holds NaN. The message names the store.
        """
        import shutil

        from weatherpeft.sources.formats.files import place
        from weatherpeft.sources.formats.zarr import open_store, select
        from weatherpeft.sources.transfer.zarr_copy import copy_fields

        if request.members:
            raise ValueError(f"{self.url}: has no ensemble members, found {request.members}")
        dataset = open_store(self.url)
        self.check_valid(dataset, request)
        copied = work / RAW_STORE
        copy_fields(select(dataset, self.url, request, self.names), self.url, copied)
        # A killed write leaves files that are no part of the store.
        leftovers = shutil.ignore_patterns("*.partial")
        shutil.copytree(
            copied,
            output / RAW_STORE,
            copy_function=lambda file, target: place(Path(file), Path(target)),
            ignore=leftovers,
        )

    def decode(self, request: DataRequest, raw: Path) -> xr.Dataset:
        """Open the store that ``fetch`` wrote as the canonical dataset (see ``interfaces.Source``)."""
        from weatherpeft.sources.formats.zarr import canonical, select
        from weatherpeft.sources.transfer.zarr_copy import open_copy

        path = raw / RAW_STORE
        dataset = open_copy(path)
        return canonical(select(dataset, str(path), request, self.names), str(path))
