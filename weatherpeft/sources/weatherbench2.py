"""WeatherBench 2's ERA5, 6-hourly or hourly on several grids, as public Zarr stores in the cloud."""

from __future__ import annotations

from typing import Literal

from weatherpeft.sources.bases.zarr import ZarrSource


class WeatherBench2(ZarrSource):
    """A store of WeatherBench 2's ERA5 data sets, or another in its layout.

    Fields have the dimensions ``(time, level, longitude, latitude)``, with latitude in either direction.
    The source does not read sums over 6 hours or longer: an accumulated field needs an hourly store.
    """

    name: Literal["weatherbench2"]
    """Selects this source."""
    url: str = "gs://weatherbench2/datasets/era5/1959-2023_01_10-wb13-6h-1440x721_with_derived_variables.zarr"
    """Store to read: a ``gs://`` (anonymous), ``http://`` or other URL that fsspec reads, or a folder."""
