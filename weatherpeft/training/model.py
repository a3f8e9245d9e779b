"""The spec of a tuned model."""

from weatherpeft.backbones import AnyBackbone
from weatherpeft.fields.variables import FieldSet
from weatherpeft.peft import AnyMethods
from weatherpeft.spec import Spec
from weatherpeft.tasks import AnyTask


class TunedModelSpec(Spec):
    """A tuned model, which can be rebuilt from this spec and its files."""

    backbone: AnyBackbone
    """Backbone of the model."""
    fields: FieldSet
    """Variables that the model sees and declared placeholders."""
    task: AnyTask
    """Task that the model is tuned for."""
    methods: AnyMethods
    """Methods in the order in which they are attached to the backbone."""
    pretrained: bool
    """Whether the model starts from pretrained instead of random weights."""
    seed: int
    """Seed of the run."""
