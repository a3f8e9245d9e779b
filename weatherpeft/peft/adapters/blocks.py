"""Small modules that change what a layer of Aurora's blocks returns.

Heavy: only the methods' ``attach`` imports it.
"""

from functools import partial
from typing import Any

from aurora.model.swin3d import Swin3DTransformerBlock
from torch import Tensor, nn

from weatherpeft.interfaces import Backbone


def aurora_blocks(model: Backbone, method: str) -> dict[str, Swin3DTransformerBlock]:
    """The blocks of the backbone by their paths below it, in the order of the forward pass.

    Args:
        model: model that the method is attached to.
        method: name of the method, for the message.

    Raises:
        ValueError: a block is of another kind than Aurora's.
    """
    blocks: dict[str, Swin3DTransformerBlock] = {}
    for attention in model.attention_modules():
        path = attention.rpartition(".")[0]
        block = model.backbone.get_submodule(path)
        if not isinstance(block, Swin3DTransformerBlock):
            raise ValueError(f"{method}: {path} is a {type(block).__name__}, expected Aurora's block")
        blocks[path] = block
    return blocks


def change_output(layer: nn.Module, path: str, method: str, change: nn.Module) -> dict[str, nn.Parameter]:
    """Let a module change what a layer returns.

    The module becomes a child of the layer under the method's name. It gets the layer's output and the
    layer's inputs. It has no reference to the layer, so that a deep copy of the model uses its own.

    Args:
        layer: layer of the backbone.
        path: its path below the backbone.
        method: name of the method.
        change: module that returns the new output.

    Returns:
        The module's parameters by ``<method>.<path>.<name>``.
    """
    layer.add_module(method, change.to(next(layer.parameters())))
    layer.register_forward_hook(partial(_changed, method))
    return {f"{method}.{path}.{name}": parameter for name, parameter in change.named_parameters()}


def _changed(method: str, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    changed: Tensor = getattr(layer, method)(output, *inputs)
    return changed
