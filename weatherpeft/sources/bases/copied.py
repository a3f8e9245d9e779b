"""The base of sources whose download job copies fields into a Zarr store of its own.

The copy keeps the provider's units. ``decode`` brings it to the canonical form, so that a change of that form
needs no new download.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.spans import SpanSource

if TYPE_CHECKING:
    import xarray as xr

    from weatherpeft.sources.formats.zarr import Selected

RAW_STORE = "fields.zarr"
"""File name of the store that a download job writes."""


class CopiedSource(SpanSource):
    """Fields of a store that are copied, one time to a chunk.

    A subclass says with ``address`` where the store is and with ``selected`` what of it a request needs.
    """

    names: ClassVar[Mapping[str, str]] = {}
    """The copy's names of variables, by the WeatherBench 2 names from which they differ."""
    together: ClassVar[bool] = False
    """Whether a chunk of the store has all variables, which are then copied time by time."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where the store is, for messages."""

    @abstractmethod
    def selected(self, request: DataRequest) -> list[Selected]:
        """Open the store and find the requested fields, without reading values.

        Raises:
            ValueError: the store cannot be opened, has another layout, or lacks a variable, level or time.
                The message names the store.
        """

    def check(self, request: DataRequest) -> None:
        """Refuse members (see ``interfaces.Source``)."""
        if request.members:
            raise ValueError(f"members: {self.address}: has no ensemble members, found {request.members}")

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Copy the fields of a request into a Zarr store in ``output``, with one chunk for each time.

        A killed job resumes after the last time that it wrote. Memory holds a few of the store's
        chunks, whatever the period.

        Args:
            request: fields, levels, period and time step. It must name no members.
            output: existing, empty directory.
            work: directory in which the copied fields survive a kill.

        Raises:
            ValueError: ``selected`` finds a fault, the store breaks off, or it holds NaN. The message names
                the store.
        """
        import shutil

        from weatherpeft.sources.formats.files import place
        from weatherpeft.sources.transfer.zarr_copy import copy_fields

        self.check(request)
        copied = work / RAW_STORE
        copy_fields(self.selected(request), self.address, copied, self.together)
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
        return canonical(select(dataset.data_vars, str(path), request, self.names), str(path))
