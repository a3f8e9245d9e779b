"""Names of tuned tensors in an adapter's folder: those of HF peft for its methods, otherwise ours."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from weatherpeft.interfaces import PeftMethod, TuningContext
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.shapes import unfilled

_PREFIX = "base_model.model."
ENDS = ("encoder.", "decoder.")
"""Beginnings of the names of what lies outside of the backbone."""


class HfNames:
    """The names that HF peft has for the tensors of one of its methods, if a model has such a one.

    HF peft then loads them into the model's backbone, which is its base model. Of several such methods it
    loads the first.

    Attributes:
        config: what HF peft keeps in ``adapter_config.json``; empty if none of the methods is its.

    Args:
        model: the tuned model.
    """

    def __init__(self, model: TunedModelSpec) -> None:
        self.config: dict[str, Any] = {}
        self._number, self._method, self._wrapped = -1, "", ()
        for number, method in enumerate(model.methods):
            if config := _config(model, method):
                self.config = config
                self._number, self._method = number, method.name
                self._wrapped = tuple(config["target_modules"])
                break

    def theirs(self, name: str) -> str:
        """The name in the folder of a tensor of ``TunedModel.result``."""
        own, biases = f"{self._number}.{self._method}.", f"{self._number}.backbone."
        if self._number < 0 or not name.startswith((own, biases)):
            return name
        if name.startswith(own):
            return _PREFIX + name.removeprefix(own)
        layer, _, last = name.removeprefix(biases).rpartition(".")
        return f"{_PREFIX}{layer}{'.base_layer' if layer in self._wrapped else ''}.{last}"

    def ours(self, names: Sequence[str], found: Sequence[str]) -> Mapping[str, str]:
        """The names of ``TunedModel.result`` by those in the folder; unknown ones stay as they are."""
        known = {self.theirs(name): name for name in names}
        return {name: known.get(name, name) for name in found}


def _config(model: TunedModelSpec, method: PeftMethod) -> dict[str, Any]:
    """A method's configuration of HF peft as plain values, for a backbone of shapes alone."""
    backbone = unfilled(model.backbone, model.fields, model.task)
    found = method.peft_config(backbone, TuningContext(0, model.seed))
    if found is None:
        return {}
    values: dict[str, Any] = json.loads(json.dumps(found.to_dict(), default=_plain, sort_keys=True))
    if "save_projection" in values:  # fixed matrices follow from their seed
        values["save_projection"] = False
    return values | {"target_modules": sorted(values["target_modules"]), "inference_mode": True}


def _plain(value: object) -> Any:
    return sorted(value) if isinstance(value, set | frozenset) else str(getattr(value, "value", value))
