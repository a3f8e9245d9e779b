"""Methods of Hugging Face peft, put into the backbone without wrapping the model.

Heavy: only the methods' ``attach`` imports it.
"""

import warnings
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import peft
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from weatherpeft.interfaces import Backbone
from weatherpeft.interfaces.method import Merge
from weatherpeft.peft.adapters.dense import DenseAdapter, check_tensors, seeded

ADAPTER = "default"
"""Name that peft's layers keep their tensors under."""


def linear_layers(model: Backbone, targets: tuple[str, ...]) -> list[str]:
    """Paths below the backbone of the pretrained linear layers whose names are among the targets.

    Args:
        model: layers that another method has added or wrapped are left out.
        targets: names, which are the last parts of the paths, for example ``qkv``.

    Raises:
        ValueError: no layer has the name of a target.
    """
    return _pretrained(model, targets, nn.Linear, "linear layer")


def frozen_norms(model: Backbone, targets: tuple[str, ...], method: str) -> dict[str, nn.Parameter]:
    """Unfreeze weights and biases of pretrained layer norms, as far as no earlier method trains them.

    Args:
        model: whose layer norms are meant.
        targets: names, which are the last parts of the paths.
        method: prefix of the names.

    Returns:
        The parameters, by name.

    Raises:
        ValueError: no layer norm with weights has the name of a target.
    """
    paths = set(_pretrained(model, targets, nn.LayerNorm, "layer norm with weights"))
    found = {
        f"{method}.{name}": parameter
        for name, parameter in model.backbone_parameters().items()
        if name.rpartition(".")[0] in paths and not parameter.requires_grad
    }
    for parameter in found.values():
        parameter.requires_grad_(True)
    return found


def _pretrained(model: Backbone, targets: tuple[str, ...], kind: type[nn.Module], noun: str) -> list[str]:
    pretrained = model.backbone_parameters()
    layers = [
        path
        for path, module in model.backbone.named_modules()
        if isinstance(module, kind) and f"{path}.weight" in pretrained
    ]
    names = {path.rpartition(".")[2] for path in layers}
    for target in targets:
        if target not in names:
            raise ValueError(f"no {noun} of the backbone is named {target!r}; found {sorted(names)}")
    return [path for path in layers if path.rpartition(".")[2] in targets]


def inject(model: Backbone, config: peft.PeftConfig, method: str, seed: int) -> dict[str, nn.Parameter]:
    """Put the layers of a peft configuration into the backbone, in place.

    peft freezes all parameters but its own. What earlier methods have unfrozen is unfrozen again. The tuner
    is called, as ``peft.inject_adapter_in_model`` does it, which refuses the types whose layers share
    tensors. Each layer holds the shared tensors, so the tuner need not be kept.

    Args:
        model: whose backbone changes; its pretrained parameters stay the same objects.
        config: whose target modules are paths below the backbone.
        method: prefix of the names.
        seed: seed of the initialization.

    Returns:
        The new parameters, by name.
    """
    before = {parameter: parameter.requires_grad for parameter in model.backbone.parameters()}
    with seeded(seed):
        tuner = peft.PEFT_TYPE_TO_TUNER_MAPPING[peft.PeftType(config.peft_type)]
        tuner(model.backbone, config, adapter_name=ADAPTER)
    del model.backbone.peft_config  # else a second injection warns of a second adapter on the same layers
    for parameter, trained in before.items():
        parameter.requires_grad_(trained)
    return {
        f"{method}.{name.replace(f'.{ADAPTER}', '')}": parameter
        for name, parameter in model.backbone.named_parameters()
        if parameter not in before
    }


def merges(model: Backbone, layers: Sequence[str]) -> dict[str, Merge]:
    """How peft's layers become the linear layers that they are around.

    Args:
        model: with peft's layers in its backbone.
        layers: their paths below it.
    """
    return {f"backbone.{path}": partial(_merged, model.backbone.get_submodule(path)) for path in layers}


@torch.no_grad()
def _merged(layer: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What peft makes of the pretrained tensors, which are put back as they were."""
    assert isinstance(layer, BaseTunerLayer)
    base = layer.get_base_layer()
    own = dict(base.named_parameters(recurse=False))
    before = {name: parameter.detach().clone() for name, parameter in own.items()}
    with (
        warnings.catch_warnings()
    ):  # peft warns that it cannot take some types out again, which is done below
        warnings.simplefilter("ignore")
        layer.merge()
        merged = {name: each.detach().clone() for name, each in base.named_parameters(recurse=False)}
        layer.unmerge()
    layer.merged_adapters.clear()
    for name, parameter in own.items():
        parameter.data = before[name]
        setattr(base, name, parameter)
    return {**tensors, **merged}


def layer_tensors(
    model: Backbone, attributes: Collection[str], method: str
) -> dict[str, Mapping[str, torch.Tensor]]:
    """Where peft's layers keep tensors that are not trained.

    Args:
        model: with peft's layers in its backbone.
        attributes: names of the layers' attributes that map peft's adapters to tensors.
        method: prefix of the names.

    Returns:
        The attributes by name; one that several layers share is there once.
    """
    found: dict[str, Mapping[str, torch.Tensor]] = {}
    for path, layer in model.backbone.named_modules():
        for attribute in attributes:
            tensors = getattr(layer, attribute, None)
            if (
                tensors is not None
                and ADAPTER in tensors
                and not any(tensors is one for one in found.values())
            ):
                found[f"{method}.{path}.{attribute}"] = tensors
    return found


class FixedTensorsAdapter(DenseAdapter):
    """Dense parameters, and tensors that are not trained but belong to the result.

    Args:
        parameters: the parameters by unique name; they are unfrozen.
        fixed: where the other tensors are, by unique name. A layer may move its own to another device.
        merge: what ``Adapter.merge`` returns.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        fixed: Mapping[str, Mapping[str, torch.Tensor]],
        merge: Mapping[str, Merge],
    ) -> None:
        super().__init__(parameters, merge)
        self._places = dict(fixed)

    def _fixed(self) -> dict[str, torch.Tensor]:
        return {name: tensors[ADAPTER] for name, tensors in self._places.items()}

    def result(self) -> dict[str, torch.Tensor]:
        """Copies of the parameters and of the fixed tensors, on the CPU."""
        fixed = {name: tensor.to("cpu", copy=True) for name, tensor in self._fixed().items()}
        return super().result() | fixed

    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copy a result into the parameters and the fixed tensors (see ``DenseAdapter.load_result``)."""
        fixed = self._fixed()
        check_tensors(tensors, {**self.dense_parameters(), **fixed})
        super().load_result({name: tensor for name, tensor in tensors.items() if name not in fixed})
        for name, tensor in fixed.items():
            tensor.copy_(tensors[name])
