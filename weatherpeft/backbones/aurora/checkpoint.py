"""What published checkpoints of the upstream package hold beside plain weights."""

import logging
import re
from collections.abc import Mapping

import aurora
import torch
from aurora.model.lora import LoRARollout
from aurora.model.swin3d import WindowAttention

from weatherpeft.backbones.aurora.spec import LoraMode

ALPHA = 8
"""Numerator of the scale of upstream's LoRA, which ``Aurora`` does not let one choose."""
UNNAMED = 7
"""Surface and static variables of the pretrained Aurora, whose files do not name them."""
_LORA = re.compile(r"(.+)\.lora_(qkv|proj)\.loras\.(\d+)\.lora_A")
_ANY_LORA = re.compile(r".+\.lora_(qkv|proj)\.loras\.\d+\.lora_[AB]")
_OTHERS = {
    r"surf_feature_combiner\.|encoder\.atmos_token_embeds(_new)?\.layers\.": (
        "AuroraAirPollution, which embeds every level with weights of its own"
    ),
    r"\.(k_ln|ln_k)\.": "AuroraWave, which has norms in its level aggregation and channels for angles",
    r"encoder\.surf_token_embeds\.weights\.(insolation|scaled_)": (
        "AuroraV1p5, which encodes lead times in another way and transforms variables"
    ),
}
"""Names of weights that only other models have, and which these are."""
_log = logging.getLogger(__name__)


def check_kind(weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse the weights of models that the backbone is not.

    Raises:
        ValueError: saying what does not fit.
    """
    for pattern, model in _OTHERS.items():
        if name := next((name for name in weights if re.search(pattern, name)), None):
            raise ValueError(f"holds {name}: the weights of {model}; the backbone has nothing for them")
    for name in ("encoder.surf_token_embeds.weight", "net.encoder.surf_token_embeds.weight"):
        if name in weights and weights[name].shape[1] != UNNAMED:
            raise ValueError(
                f"holds {weights[name].shape[1]} surface and static variables without names, expected the "
                f"{UNNAMED} of the pretrained Aurora; AuroraV1p5 has such weights"
            )


def folded(weights: Mapping[str, torch.Tensor], mode: LoraMode) -> dict[str, torch.Tensor]:
    """Weights with upstream's LoRA in those of the layers, as upstream computes its first step.

    Args:
        weights: weights by name.
        mode: when upstream uses the LoRA. A file does not tell ``single`` from ``from_second``.
    """
    found = [match for match in map(_LORA.fullmatch, weights) if match]
    plain = {name: tensor for name, tensor in weights.items() if not _ANY_LORA.fullmatch(name)}
    first = [match for match in found if int(match[3]) == 0]
    if not found:
        return plain
    if mode == "from_second":
        _log.info("leaves out the LoRA of %d layers, which starts at the second step", len(first))
        return plain
    for match in first:
        layer = f"{match[1]}.{match[2]}.weight"
        down, up = weights[match[0]], weights[match[0][:-1] + "B"]
        plain[layer] = plain[layer] + ALPHA / len(down) * (up @ down)
    several = " of the first step" if len(found) > len(first) else ""
    _log.info("folds the LoRA%s into the weights of %d layers", several, len(first))
    return plain


def fold_lora(model: aurora.Aurora) -> None:
    """Fold the LoRA of an upstream model into its weights, in place; nothing where it has none.

    Raises:
        ValueError: the LoRA changes from step to step of a forecast, which no weights do.
    """
    layers = [each for each in model.modules() if isinstance(each, WindowAttention)]
    adapted = [each for each in layers if isinstance(each.lora_qkv, LoRARollout)]
    if not adapted:
        return
    if (mode := adapted[0].lora_qkv.mode) != "single":
        raise ValueError(f"the model's LoRA is of lora_mode {mode!r}: expected 'single', or use_lora=False")
    weights = folded(model.state_dict(), mode)
    for attention in adapted:
        for name in ("lora_qkv", "lora_proj"):
            delattr(attention, name)
            setattr(attention, name, _no_update)
    model.use_lora = False
    model.load_state_dict(weights)


def _no_update(*_: object) -> int:
    """What upstream calls in place of a LoRA that is not there."""
    return 0
