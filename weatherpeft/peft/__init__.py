"""Parameter-efficient methods. A method is one file and its name in this union."""

from typing import Annotated

from pydantic import AfterValidator, Discriminator, Field

from weatherpeft.peft.adapters.composition import composed
from weatherpeft.peft.adaptformer import AdaptFormer
from weatherpeft.peft.aprompt import APrompt
from weatherpeft.peft.bitfit import BitFit
from weatherpeft.peft.dora import Dora
from weatherpeft.peft.full import Full
from weatherpeft.peft.huggingface import HuggingFace
from weatherpeft.peft.light_decoder import LightDecoder
from weatherpeft.peft.linear_probe import LinearProbe
from weatherpeft.peft.lora import Lora
from weatherpeft.peft.lora_plus import LoraPlus
from weatherpeft.peft.sct import Sct
from weatherpeft.peft.sfas.spec import Sfas
from weatherpeft.peft.ssf import Ssf
from weatherpeft.peft.tadp.spec import Tadp
from weatherpeft.peft.vpt import Vpt

AnyMethod = Annotated[
    AdaptFormer
    | APrompt
    | BitFit
    | Dora
    | Full
    | HuggingFace
    | LightDecoder
    | LinearProbe
    | Lora
    | LoraPlus
    | Sct
    | Sfas
    | Ssf
    | Tadp
    | Vpt,
    Discriminator("name"),
]
AnyMethods = Annotated[tuple[AnyMethod, ...], Field(min_length=1), AfterValidator(composed)]
"""Methods that are trained together."""
