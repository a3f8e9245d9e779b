"""WeatherBench 2's ERA5: 6-hourly or hourly, on its grids, as public Zarr stores in the cloud."""

from __future__ import annotations

from typing import Literal

from weatherpeft.sources.bases.zarr import ZarrSource


class WeatherBench2(ZarrSource):
    """A store of WeatherBench 2's ERA5 data sets, or another in its layout.

    Fields lie as ``(time, level, longitude, latitude)``, latitude in either direction. Sums over
    6 hours and longer are not read: an accumulated field needs an hourly store.
    """

    name: Literal["weatherbench2"]
    """Discriminator."""
    url: str = "gs://weatherbench2/datasets/era5/1959-2023_01_10-wb13-6h-1440x721_with_derived_variables.zarr"
    """``gs://`` (anonymous), ``http://``, what else fsspec reads, or a folder."""
