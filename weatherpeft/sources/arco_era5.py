"""ARCO-ERA5: hourly ERA5 at 0.25° on 37 levels, as a public Zarr store in the cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from weatherpeft.interfaces import DataRequest
from weatherpeft.sources.bases.zarr import ZarrSource

if TYPE_CHECKING:
    import xarray as xr


class ArcoEra5(ZarrSource):
    """The analysis-ready store of ARCO-ERA5, or another in its layout.

    The time axis reaches decades beyond the data. The attributes ``valid_time_start`` and
    ``valid_time_stop`` say where final ERA5 begins and ends. The source refuses the preliminary data
    (ERA5T) that the store has for some months after that.
    """

    name: Literal["arco_era5"]
    """Selects this source."""
    url: str = "gs://gcp-public-data-arco-era5/ar/full_37-1h-0p25deg-chunk-1.zarr-v3"
    """Store to read: a ``gs://`` (anonymous), ``http://`` or other URL that fsspec reads, or a folder."""

    names: ClassVar[Mapping[str, str]] = {"10m_wind_gust": "10m_wind_gust_since_previous_post_processing"}

    def check_valid(self, dataset: xr.Dataset, request: DataRequest) -> None:
        """Refuse days outside the store's final data.

        Raises:
            ValueError: the period is not all final data, or an attribute is missing. The message names
                the store and the period or the attribute.
        """
        from datetime import date

        bounds = []
        for attribute in ("valid_time_start", "valid_time_stop"):
            text = str(dataset.attrs.get(attribute, "none"))
            try:
                bounds.append(date.fromisoformat(text[:10]))
            except ValueError as error:
                raise ValueError(
                    f"{self.url}: expected the layout of ARCO-ERA5, with a date as attribute {attribute}, "
                    f"found {text}"
                ) from error
        first, last = bounds
        days = request.period.dates
        if not (first.toordinal() <= days[0] and days[-1] <= last.toordinal()):
            preliminary = dataset.attrs.get("valid_time_stop_era5t")
            more = f", preliminary data (ERA5T) until {preliminary}" if preliminary else ""
            raise ValueError(
                f"{self.url}: expected a period of final data, which is from {first} to {last}{more}; "
                f"found {request.period}"
            )
