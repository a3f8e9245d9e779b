"""Names of tuned tensors in an adapter's folder: those of HF peft for its methods, otherwise ours."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from weatherpeft.interfaces import Backbone, PeftMethod, TuningContext
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.shapes import unfilled

PEFT_PREFIX = "base_model.model."
"""Beginning of HF peft's names."""
_WRAPPED = ".base_layer"
ENDS = ("encoder.", "decoder.")
"""Beginnings of the names of what lies outside of the backbone."""


class HfNames:
    """The names that HF peft has for the tensors of one of its methods, if a model has such a one.

    HF peft then loads them into the model's backbone, which is its base model. Of several such methods it
    loads the first.

    Attributes:
        config: what HF peft keeps in ``adapter_config.json``; empty if none of the methods is its.

    Args:
        methods: the methods of the model.
        plain: gives the model without its methods, or with weights of no values.
        seed: the seed of the methods.
    """

    def __init__(self, methods: Sequence[PeftMethod], plain: Callable[[], Backbone], seed: int) -> None:
        self.config: dict[str, Any] = {}
        for number, method in enumerate(methods):
            backbone = plain()
            found = method.peft_config(backbone, TuningContext(0, seed))
            if found is not None:
                self.config = _plain_values(found.to_dict())
                self._own, self._biases = f"{number}.{method.name}.", f"{number}.backbone."
                self._pretrained = set(backbone.backbone_parameters())
                break

    @classmethod
    def of(cls, model: TunedModelSpec) -> Self:
        """The names of a model that a configuration describes."""
        return cls(model.methods, lambda: unfilled(model.backbone, model.fields, model.task), model.seed)

    def theirs(self, name: str) -> str:
        """The name in the folder of a tensor of ``TunedModel.result``."""
        if not self.config or not name.startswith((self._own, self._biases)):
            return name
        if name.startswith(self._own):
            return PEFT_PREFIX + name.removeprefix(self._own)
        layer, _, last = name.removeprefix(self._biases).rpartition(".")
        return f"{PEFT_PREFIX}{layer}{_WRAPPED if layer in self.config['target_modules'] else ''}.{last}"

    def ours(self, name: str) -> str:
        """The name in ``TunedModel.result`` of a tensor of the folder."""
        if not self.config or not name.startswith(PEFT_PREFIX):
            return name
        inside = name.removeprefix(PEFT_PREFIX)
        pretrained = inside.replace(f"{_WRAPPED}.", ".")
        return self._biases + pretrained if pretrained in self._pretrained else self._own + inside


def _plain_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of HF peft as values of JSON, the same in each run."""
    values: dict[str, Any] = json.loads(json.dumps(config, default=_plain))
    if "save_projection" in values:  # fixed matrices follow from their seed
        values["save_projection"] = False
    return values | {"target_modules": sorted(values["target_modules"]), "inference_mode": True}


def _plain(value: object) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(getattr(value, "value", value))
