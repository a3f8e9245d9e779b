"""Methods of Hugging Face peft, put into the backbone without wrapping the model.

Heavy: only the methods' ``attach`` imports it.
"""

import peft
from torch import nn

from weatherpeft.interfaces import Backbone
from weatherpeft.peft.adapters.dense import seeded


def linear_layers(model: Backbone, targets: tuple[str, ...]) -> list[str]:
    """Paths below the backbone of the pretrained linear layers whose names are among the targets.

    Args:
        model: layers that another method has added or wrapped are left out.
        targets: names, which are the last parts of the paths, for example ``qkv``.

    Raises:
        ValueError: no layer has the name of a target.
    """
    pretrained = model.backbone_parameters()
    layers = [
        path
        for path, module in model.backbone.named_modules()
        if isinstance(module, nn.Linear) and f"{path}.weight" in pretrained
    ]
    names = {path.rpartition(".")[2] for path in layers}
    for target in targets:
        if target not in names:
            raise ValueError(f"no linear layer of the backbone is named {target!r}; found {sorted(names)}")
    return [path for path in layers if path.rpartition(".")[2] in targets]


def inject(model: Backbone, config: peft.PeftConfig, method: str, seed: int) -> dict[str, nn.Parameter]:
    """Put the layers of a peft configuration into the backbone, in place.

    peft freezes all parameters but its own. What earlier methods have unfrozen is unfrozen again.

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
        peft.inject_adapter_in_model(config, model.backbone)
    del model.backbone.peft_config  # else a second injection warns of a second adapter on the same layers
    for parameter, trained in before.items():
        parameter.requires_grad_(trained)
    return {
        f"{method}.{name.replace('.default', '')}": parameter
        for name, parameter in model.backbone.named_parameters()
        if parameter not in before
    }
