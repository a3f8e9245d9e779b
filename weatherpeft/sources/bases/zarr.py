"""What the sources that read a Zarr store share: the spec, months as jobs, raw stores.

A job copies what is asked for, in the provider's names, units and order, into a Zarr store of its own;
``decode`` brings that to the canonical form, so that a download outlives a change of the form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, model_validator

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.spans import check_apart, months
from weatherpeft.spec import Period, Spec

if TYPE_CHECKING:
    import xarray as xr

RAW_STORE = "fields.zarr"
"""The raw store of a download."""


class ZarrSource(Spec):
    """A Zarr store of one layout, at any URL; a subclass adds ``name``, ``url`` and the layout."""

    name: str
    url: str
    """``gs://`` (anonymous), ``http://``, what else fsspec reads, or a folder."""
    spans: tuple[Period, ...] = Field(min_length=1)
    """What to copy, a job for each calendar month."""

    names: ClassVar[Mapping[str, str]] = {}
    """The store's names, where they are not WeatherBench 2's."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        check_apart(self.spans)
        return self

    def periods(self) -> tuple[Period, ...]:
        """The download jobs: every calendar month, clipped to the spans."""
        return tuple(month for span in self.spans for month in months(span))

    def narrowed(self, period: Period) -> Self:
        """The source with this span alone (see ``interfaces.Source``)."""
        return self.model_copy(update={"spans": (period,)})

    def files(self) -> list[Path]:
        """The metadata file of a store in a folder; of a store elsewhere, none.

        Raises:
            ValueError: naming a folder that holds no store.
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
        """Refuse days that a store has an axis but no data for; a layout may say how it tells.

        Raises:
            ValueError: naming the store and the day.
        """

    def fetch(self, request: DataRequest, output: Path, work: Path) -> None:
        """Copy the fields of a request into a Zarr store in ``output``, a chunk a time.

        A killed job goes on after the last time that it has written. Memory holds a few of the
        store's chunks, whatever the period.

        Args:
            request: fields, levels, period and time step; no members.
            output: existing, empty directory.
            work: where what is copied survives a kill.

        Raises:
            ValueError: a store that cannot be opened, is of another layout or breaks off; a variable,
                level or time that it has not; NaN. The message names the store.
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
        # What a killed write leaves is no part of the store.
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
