"""What methods that may also train the backbone's biases have in common; light, since specs extend it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from weatherpeft.interfaces import PeftMethod
from weatherpeft.spec import Positive

if TYPE_CHECKING:
    from torch.nn import Parameter

    from weatherpeft.interfaces import Adapter, Backbone
    from weatherpeft.interfaces.method import Merge


class BiasedMethod(PeftMethod):
    """A method that trains parameters of its own and, if asked to, the biases that are left."""

    biases: bool = True
    """Whether the backbone's biases are trained too."""
    bias_learning_rate: Positive | None = None
    """Peak learning rate of the biases; by default that of the method."""

    def peak(self, default: float, parameter: str = "") -> float:
        """See ``PeftMethod.peak``; biases of the backbone may have one of their own."""
        if parameter.startswith("backbone.") and self.bias_learning_rate:
            return self.bias_learning_rate
        return super().peak(default, parameter)

    @property
    def takes(self) -> dict[str, bool]:
        """The biases that are left."""
        return {"biases": False} if self.biases else {}

    def adapter(
        self,
        model: Backbone,
        parameters: Mapping[str, Parameter],
        merge: Mapping[str, Merge] | None = None,
    ) -> Adapter:
        """Train parameters and, if asked to, the biases that no method before has taken.

        Args:
            model: model that the method is attached to.
            parameters: the method's own parameters by name.
            merge: what ``Adapter.merge`` returns.
        """
        from weatherpeft.peft.adapters.dense import DenseAdapter

        return DenseAdapter({**parameters, **self.left_biases(model)}, merge)

    def left_biases(self, model: Backbone) -> dict[str, Parameter]:
        """The biases that no method before has taken, by name; none if the method does not train them."""
        from weatherpeft.peft.adapters.dense import frozen_backbone, is_bias

        return frozen_backbone(model, is_bias) if self.biases else {}
