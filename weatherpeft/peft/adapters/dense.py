"""What all attached methods share: named parameters that AdamW trains, and their result.

Heavy: only the methods' ``attach`` imports it. Names are ``backbone.<name>`` for pretrained
parameters and ``<method>.<name>`` for a method's own.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch.nn import Parameter

from weatherpeft.interfaces import Backbone
from weatherpeft.interfaces.method import Merge


class DenseAdapter:
    """Parameters that AdamW trains in full: all that most methods need.

    Args:
        parameters: by unique name; they are unfrozen.
        merge: what ``Adapter.merge`` returns.
    """

    def __init__(self, parameters: Mapping[str, Parameter], merge: Mapping[str, Merge] | None = None) -> None:
        self._parameters, self._merge = dict(parameters), dict(merge or {})
        for parameter in self._parameters.values():
            parameter.requires_grad_(True)

    def dense_parameters(self) -> dict[str, Parameter]:
        """The parameters by name."""
        return dict(self._parameters)

    def trainable_backbone(self) -> int:
        """Number of entries of all parameters."""
        return sum(parameter.numel() for parameter in self._parameters.values())

    @property
    def touched(self) -> int:
        """Number of entries of all parameters."""
        return self.trainable_backbone()

    def updates(self) -> dict[str, torch.Tensor]:
        """Empty: all steps train the same parameters."""
        return {}

    def squared_gradient_norm(self) -> float:
        """Zero: all gradients are those of the dense parameters."""
        return 0.0

    def scale_gradients(self, factor: float) -> None:
        """Do nothing: all gradients are those of the dense parameters."""

    def step(self, step: int, learning_rate: float) -> None:
        """Do nothing: AdamW updates all parameters."""

    def result(self) -> dict[str, torch.Tensor]:
        """Copies of the parameters, on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self._parameters.items()}

    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Copy a result into the parameters.

        Args:
            tensors: what ``result`` of the same method on the same backbone returned.

        Raises:
            ValueError: naming the first key that is missing or unexpected, or whose shape or type
                differs; nothing is copied then.
        """
        check_tensors(tensors, self._parameters)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(tensors[name])

    def merge(self) -> dict[str, Merge]:
        """What the method gave; by default nothing, since the parameters are pretrained ones."""
        return dict(self._merge)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Empty: the result and the trainer's AdamW are the whole state."""
        return {}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Accept the empty state.

        Raises:
            ValueError: naming a key of a state that is not empty.
        """
        check_tensors(state, {})


def check_tensors(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    """Check that tensors have the expected keys, shapes and types.

    Raises:
        ValueError: naming the first key that differs, with what was found and expected.
    """
    for name in expected:
        if name not in found:
            raise ValueError(f"found {len(found)} tensors, expected {len(expected)}: {name!r} is missing")
    for name, tensor in found.items():
        if name not in expected:
            raise ValueError(f"found {len(found)} tensors, expected {len(expected)}: {name!r} is unknown")
        wanted = expected[name]
        if tensor.shape != wanted.shape or tensor.dtype != wanted.dtype:
            raise ValueError(
                f"tensor {name!r} is {tuple(tensor.shape)} {tensor.dtype}, "
                f"expected {tuple(wanted.shape)} {wanted.dtype}"
            )


def frozen_backbone(
    model: Backbone, select: Callable[[str], bool] = lambda name: True
) -> dict[str, Parameter]:
    """Pretrained backbone parameters that no earlier method trains.

    The first method of a list that takes a parameter trains, counts and saves it; the later ones do not.

    Args:
        model: with the earlier methods attached.
        select: whether to take the parameter of a pretrained name; all by default.

    Returns:
        The frozen parameters among them, by ``backbone.<name>``.
    """
    return {
        f"backbone.{name}": parameter
        for name, parameter in model.backbone_parameters().items()
        if select(name) and not parameter.requires_grad
    }


def is_bias(name: str) -> bool:
    """Whether a parameter is a bias, of a linear layer or a normalization."""
    return name.endswith(".bias")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed what is drawn on the CPU, and leave the global generators as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
