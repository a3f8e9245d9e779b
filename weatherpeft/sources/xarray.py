"""Any store that xarray opens: Zarr, NetCDF, OPeNDAP or kerchunk, in a folder or at a URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.stores import StoreSource

if TYPE_CHECKING:
    import xarray as xr


class Xarray(StoreSource):
    """A store of analyses under any names, in any order and in chunks of any shape.

    Coordinates and variables are found as those of ``local`` are: by their names and by the attributes of
    the CF conventions. Every array has a time axis of its own, which must hold all times of a request.
    """

    name: Literal["xarray"]
    """Selects this source."""
    engine: str | None = None
    """Engine of ``xarray.open_dataset``, such as ``zarr``, ``netcdf4``, ``h5netcdf`` or ``pydap``; by default
    what xarray guesses from the path, and ``pydap`` for a URL that is not Zarr's. ``kerchunk`` reads
    references to other files, at ``path``."""

    def opened(self, path: str, request: DataRequest) -> tuple[Mapping[str, xr.DataArray], list[str]]:
        """Open a store (see ``StoreSource``)."""
        from weatherpeft.sources.formats.coordinates import contents
        from weatherpeft.sources.formats.datasets import by_our_names, open_any
        from weatherpeft.sources.transfer.opendap import is_opendap, open_opendap

        open_one = open_opendap if is_opendap(path, self.engine) else open_any
        dataset = open_one(path, self.engine, self.options())
        return by_our_names(dataset, path, request, self.rename), contents(dataset)
