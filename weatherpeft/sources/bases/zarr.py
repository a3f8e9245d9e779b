"""The base of sources that read a public Zarr store of one layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.copied import CopiedSource

if TYPE_CHECKING:
    import xarray as xr

    from weatherpeft.sources.formats.zarr import Selected


class ZarrSource(CopiedSource):
    """A Zarr store of one layout, at any URL.

    A subclass narrows ``name``, gives ``url`` a default and describes the layout.
    """

    url: str
    """Store to read: a ``gs://`` (anonymous), ``http://`` or other URL that fsspec reads, or a folder."""

    @property
    def address(self) -> str:
        """The URL or folder."""
        return self.url

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

    def selected(self, request: DataRequest) -> list[Selected]:
        """Open the store and find the requested fields (see ``CopiedSource``)."""
        from weatherpeft.sources.formats.stores import open_store
        from weatherpeft.sources.formats.zarr import select

        dataset = open_store(self.url)
        self.check_valid(dataset, request)
        return select(dataset.data_vars, self.url, request, self.names)
