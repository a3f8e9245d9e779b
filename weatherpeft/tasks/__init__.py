"""Tasks say what is predicted from what. A task is one file and its name in this union."""

from typing import Annotated

from pydantic import Field

from weatherpeft.tasks.downscaling import Downscaling
from weatherpeft.tasks.forecasting import Forecasting
from weatherpeft.tasks.postprocessing import Postprocessing
from weatherpeft.tasks.precipitation import Precipitation

AnyTask = Annotated[Downscaling | Forecasting | Postprocessing | Precipitation, Field(discriminator="name")]
