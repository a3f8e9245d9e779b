"""Backbones: weather foundation models. A backbone is one file and its name in this union."""

from typing import Annotated

from pydantic import Discriminator

from weatherpeft.backbones.aurora.spec import Aurora

AnyBackbone = Annotated[Aurora, Discriminator("name")]
