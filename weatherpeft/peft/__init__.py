"""Parameter-efficient methods. A method is one file and its name in this union."""

from typing import Annotated

from pydantic import Discriminator

from weatherpeft.peft.full import Full
from weatherpeft.peft.linear_probe import LinearProbe
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.sfas.spec import Sfas
from weatherpeft.peft.tadp.spec import Tadp

AnyMethod = Annotated[Full | LinearProbe | Lora | Sfas | Tadp, Discriminator("name")]
