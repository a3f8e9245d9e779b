"""New output heads of a decoder.

Heavy: only the methods' ``attach`` imports it.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from weatherpeft.interfaces import Backbone
from weatherpeft.interfaces.method import Merge
from weatherpeft.peft.adapters.dense import DenseAdapter

HIDDEN_DEVIATION = 0.02
"""Standard deviation of the initial weights of hidden layers, upstream's and that of arXiv 2506.19088."""


class HeadAdapter(DenseAdapter):
    """Dense parameters that lie in the decoder."""

    def trainable_backbone(self) -> int:
        """Zero: none of the parameters lies in the backbone."""
        return 0


def replace_heads(
    model: Backbone, hidden: Sequence[int], method: str
) -> tuple[dict[str, nn.Parameter], dict[str, Merge]]:
    """Put stacks of linear layers with ReLU between them in place of a decoder's heads.

    The generator of the CPU draws their weights.

    Args:
        model: model whose decoder changes in place.
        hidden: widths of the hidden layers.
        method: prefix of the names.

    Returns:
        The new parameters by ``<method>.<path below the decoder>``, and how a stack becomes a head again,
        which needs one without hidden layers.
    """
    parameters: dict[str, nn.Parameter] = {}
    merges: dict[str, Merge] = {}
    for path, head in model.heads().items():
        widths = (head.in_features, *hidden)
        layers = [_linear(one, other, HIDDEN_DEVIATION) for one, other in pairwise(widths)]
        last = _linear(widths[-1], head.out_features, model.head_deviation)
        new = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())), last).to(head.weight)
        parent, _, name = path.rpartition(".")
        setattr(model.decoder.get_submodule(parent), name, new)
        parameters |= {f"{method}.{path}.{key}": value for key, value in new.named_parameters()}
        merges[f"decoder.{path}"] = partial(_only_layer, new)
    return parameters, merges


def _only_layer(stack: nn.Sequential, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    (layer,) = stack
    return {name: value.detach() for name, value in layer.named_parameters()}


def _linear(width: int, out: int, deviation: float) -> nn.Linear:
    layer = nn.Linear(width, out)
    nn.init.trunc_normal_(layer.weight, std=deviation)
    nn.init.zeros_(layer.bias)
    return layer
