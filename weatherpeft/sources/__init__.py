"""Providers of raw data: a source a file, or a package."""

from typing import Annotated

from pydantic import Field

from weatherpeft.sources.local import Local
from weatherpeft.sources.toy import Toy

AnySource = Annotated[Toy | Local, Field(discriminator="name")]
