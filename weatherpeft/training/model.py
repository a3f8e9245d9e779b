"""What rebuilds a tuned model."""

from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.variables import FieldSet
from weatherpeft.peft import AnyMethods
from weatherpeft.spec import Spec
from weatherpeft.tasks import AnyTask


class TunedModelSpec(Spec):
    """What rebuilds a tuned model from its files."""

    backbone: AnyBackbone
    fields: FieldSet
    task: AnyTask
    methods: AnyMethods
    pretrained: bool
    """Start from pretrained weights, or from random ones."""
    seed: int
