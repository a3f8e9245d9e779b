"""Models of shapes alone, which take no memory."""

import torch
from torch.overrides import TorchFunctionMode

from weatherpeft.fields.variables import FieldSet
from weatherpeft.interfaces import Backbone, BackboneSpec, Task


class _WithoutMemory(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        place = {"device": "meta"} if function is torch.empty else {}
        return function(*args, **(kwargs or {}) | place)


def unfilled(backbone: BackboneSpec, fields: FieldSet, task: Task, seed: int = 0) -> Backbone:
    """A model with weights on the meta device, which have shapes and no values.

    Args:
        backbone: size of the model.
        fields: variables that the model sees.
        task: task of the model.
        seed: seed of weights that are drawn nevertheless.
    """
    with _WithoutMemory():
        return backbone.build(fields, task, seed)
