"""Providers of raw data, each source in a file or folder of its own."""

from typing import Annotated

from pydantic import Field

from weatherpeft.sources.anemoi import Anemoi
from weatherpeft.sources.arco_era5 import ArcoEra5
from weatherpeft.sources.ens10.spec import Ens10
from weatherpeft.sources.era5_cds import Era5Cds
from weatherpeft.sources.local import Local
from weatherpeft.sources.toy.spec import Toy
from weatherpeft.sources.weatherbench2 import WeatherBench2
from weatherpeft.sources.xarray import Xarray

AnySource = Annotated[
    Toy | Local | Era5Cds | ArcoEra5 | WeatherBench2 | Xarray | Anemoi, Field(discriminator="name")
]
AnyForecastSource = Annotated[Ens10 | Local, Field(discriminator="name")]
"""A source of ensemble forecasts. The toy planet, which makes them beside its analyses, needs none."""
