"""Datasets of ECMWF's anemoi, in which European weather services keep ERA5 and their own analyses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.stores import StoreSource

if TYPE_CHECKING:
    import xarray as xr


class Anemoi(StoreSource):
    """A dataset that anemoi-datasets made, on a grid of rows and columns.

    Variables have ECMWF's names, ``2t`` and ``t_850``, and its units where the dataset states none. Those of
    other names need ``rename``, which takes names without levels. Reduced Gaussian and unstructured grids are
    refused.
    """

    name: Literal["anemoi"]
    """Selects this source."""

    together: ClassVar[bool] = True

    def opened(self, path: str, request: DataRequest) -> tuple[Mapping[str, xr.DataArray], list[str]]:
        """Open a dataset (see ``StoreSource``)."""
        from weatherpeft.sources.formats.anemoi import anemoi_arrays, open_anemoi

        group = open_anemoi(path, self.options())
        return anemoi_arrays(group, path, request, self.rename), list(map(str, group.attrs["variables"]))
