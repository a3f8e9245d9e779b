"""A pretrained model with its methods attached: what fine-tuning trains and prediction rebuilds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import nn

from weatherpeft.artifacts.manifest import checked
from weatherpeft.fields.variables import FieldSet
from weatherpeft.interfaces import Adapter, Backbone, BackboneSpec, PeftMethod, Task, TuningContext
from weatherpeft.peft.adapters.composition import composed
from weatherpeft.samples.batch import Batch, Fields
from weatherpeft.training.memory import save_memory
from weatherpeft.training.merging import check_mergeable, refusal
from weatherpeft.training.model import TunedModelSpec
from weatherpeft.training.optimizer import Peaks
from weatherpeft.training.rollout import Forecasts
from weatherpeft.training.spec import Precision, Training

PRETRAINED = "pretrained.ckpt"
FISHER = "fisher.zarr"


@dataclass(frozen=True)
class TunedModel:
    """A model with its adapters, and the names of everything that is trained.

    Attributes:
        model: the backbone with its methods attached.
        adapters: the adapters in the order of the methods.
        methods: the methods.
    """

    model: Backbone
    adapters: tuple[Adapter, ...]
    methods: tuple[PeftMethod, ...] = ()

    def peaks(self, default: float, ends: float | None = None) -> Peaks:
        """Peak learning rates of everything that is trained.

        Args:
            default: peak of what has none of its own.
            ends: peak of what is trained in encoder and decoder, if not the default.
        """
        at_the_ends, inside = default if ends is None else ends, self._inside_the_ends()
        dense = dict.fromkeys(self._ends(), at_the_ends)
        for method, adapter in zip(self.methods, self.adapters, strict=True):
            for name, parameter in adapter.dense_parameters().items():
                dense[name] = method.peak(at_the_ends if parameter in inside else default, name)
        return Peaks(dense, [method.peak(default) for method in self.methods])

    def dense_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters that AdamW trains, by name: the ends and what the adapters add.

        Raises:
            ValueError: two methods use the same name.
        """
        found = self._ends()
        for adapter in self.adapters:
            for name, parameter in adapter.dense_parameters().items():
                if name in found:
                    raise ValueError(f"two methods train {name}")
                found[name] = parameter
        return found

    def counts(self) -> dict[str, int]:
        """``trainable_backbone``, the paper's count, and ``trainable_total`` with encoder and decoder."""
        backbone, inside = sum(each.trainable_backbone() for each in self.adapters), self._inside_the_ends()
        ends = sum(p.numel() for p in self.dense_parameters().values() if p in inside)
        return {"trainable_backbone": backbone, "trainable_total": backbone + ends}

    def updates(self) -> xr.Dataset | None:
        """How often steps have updated the pretrained parameters, in equal parts of the run.

        Returns:
            ``updates``, with dims ``(parameter, part)``, and ``entries`` of each ``parameter``; None where
            all steps train the same parameters.
        """
        counts = {name: values for adapter in self.adapters for name, values in adapter.updates().items()}
        if not counts:
            return None
        pretrained = self.model.backbone_parameters()
        return xr.Dataset(
            {
                "updates": (("parameter", "part"), torch.stack(list(counts.values())).numpy()),
                "entries": ("parameter", [pretrained[name].numel() for name in counts]),
            },
            coords={"parameter": list(counts)},
        )

    def result(self) -> dict[str, torch.Tensor]:
        """What the run keeps: the trained ends and each adapter's result, prefixed with its position."""
        tensors: dict[str, torch.Tensor] = {name: p.detach().clone() for name, p in self._ends().items()}
        for number, adapter in enumerate(self.adapters):
            tensors |= {f"{number}.{name}": tensor for name, tensor in adapter.result().items()}
        return tensors

    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put a saved result back.

        Raises:
            ValueError: naming a tensor that is missing or unknown, or has another shape.
        """
        left = dict(tensors)
        with torch.no_grad():
            for name, parameter in self._ends().items():
                if name not in left:
                    raise ValueError(f"tuned weights lack {name}")
                if left[name].shape != parameter.shape:
                    found, expected = tuple(left[name].shape), tuple(parameter.shape)
                    raise ValueError(f"tuned weights hold {name} of shape {found}, expected {expected}")
                parameter.copy_(left.pop(name))
        for number, adapter in enumerate(self.adapters):
            prefix = f"{number}."
            own = {
                name.removeprefix(prefix): left.pop(name) for name in list(left) if name.startswith(prefix)
            }
            adapter.load_result(own)
        if left:
            raise ValueError(f"tuned weights hold unknown tensors: {', '.join(left)}")

    @torch.no_grad()
    def merged(self) -> dict[str, torch.Tensor]:
        """A checkpoint from which the upstream package's own model makes the same forecast, but for rounding.

        The model stays as it is. Tensors that no method replaces are its own, not copies.

        Raises:
            ValueError: naming the method, or what else no checkpoint can hold, and what to do instead.
        """
        check_mergeable(self.methods)
        if reason := self.model.kept_apart:
            raise ValueError(refusal("the model", reason))
        tensors = self.model.checkpoint()
        if rounded := [name for name, tensor in tensors.items() if tensor.dtype != torch.float32]:
            raise ValueError(
                f"{rounded[0]} is {tensors[rounded[0]].dtype}, expected float32: "
                "merge a model that was built with precision float32"
            )
        changes = [change for adapter in self.adapters for change in adapter.merge().items()]
        for path, merge in sorted(changes, key=lambda change: -change[0].count(".")):  # from the inside
            prefix = f"{path}."
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            tensors |= {prefix + name: tensor for name, tensor in merge(own).items()}
        return tensors

    def _ends(self) -> dict[str, nn.Parameter]:
        """Parameters of encoder and decoder, as far as no method freezes them."""
        frozen = {end for method in self.methods for end in method.frozen_ends}
        return {
            f"{end}.{name}": parameter
            for end, module in (("encoder", self.model.encoder), ("decoder", self.model.decoder))
            if end not in frozen
            for name, parameter in module.named_parameters()
        }

    def _inside_the_ends(self) -> set[nn.Parameter]:
        return {*self.model.encoder.parameters(), *self.model.decoder.parameters()}


def build_model(
    backbone: BackboneSpec,
    fields: FieldSet,
    task: Task,
    seed: int,
    pretrained: Path | None,
    statistics: Path | tuple[Fields, Fields] | None = None,
) -> Backbone:
    """A backbone for a task, with random weights or pretrained ones.

    Args:
        backbone: size of the model.
        fields: variables that the model sees.
        task: gives the lead time, what the model predicts and how its input is normalized.
        seed: seed of the random weights.
        pretrained: artifact of the pretrain stage, or a checkpoint file; None for random weights.
        statistics: artifact of the task's statistics stage, or the mean and scale that the task reads there;
            None where the backbone knows every variable.

    Raises:
        DamagedError: the weights are not those that their artifact was made with.
    """
    model = backbone.build(fields, task, seed)
    if statistics is not None:
        if isinstance(statistics, Path):
            statistics = task.input_statistics(statistics, fields.measured)
        model.complete_statistics(*statistics)
    if pretrained is not None:
        model.load(checked(pretrained / PRETRAINED if pretrained.is_dir() else pretrained))
    return model


def tuned_model(
    spec: TunedModelSpec,
    device: torch.device,
    pretrained: Path | None,
    training: Training | None = None,
    fisher: Path | None = None,
    statistics: Path | tuple[Fields, Fields] | None = None,
    precision: Precision = "float32",
) -> TunedModel:
    """The model of a run before its first step.

    Args:
        spec: model and its methods.
        device: device that it runs on.
        pretrained: source of its weights, if it starts from pretrained ones.
        training: schedule of the run; None for a model that only predicts.
        fisher: artifact of the fisher stage, for methods that need it.
        statistics: see ``build_model``.
        precision: number format of a backbone that only predicts.

    Raises:
        ValueError: the run starts from pretrained weights and none are given, or the precision does not
            suit its methods.
    """
    if spec.pretrained and pretrained is None:
        raise ValueError("the run starts from pretrained weights, but none are given")
    start = pretrained if spec.pretrained else None
    model = build_model(spec.backbone, spec.fields, spec.task, spec.seed, start, statistics).to(device)
    if training is None:
        tuned = attach(model, spec.methods, TuningContext(0, spec.seed))
        save_memory(model, precision, recompute=False)
        return tuned
    context = TuningContext(
        training.steps,
        spec.seed,
        fisher / FISHER if fisher else None,
        training.accumulation,
        training.weight_decay,
        training.betas,
    )
    tuned = attach(model, spec.methods, context)
    save_memory(model, training.precision, training.recompute)
    return tuned


def attach(model: Backbone, methods: Sequence[PeftMethod], context: TuningContext) -> TunedModel:
    """Freeze a model's backbone, and the ends that its methods freeze, and attach the methods in their order.

    Raises:
        ValueError: the methods cannot be trained together, two of them train the same parameter, or one
            trains a parameter outside of the model. Such a parameter would stay behind when the model moves
            to another device, and a distributed training would not compare it between its processes.
    """
    composed(methods)
    for parameter in model.backbone_parameters().values():
        parameter.requires_grad_(False)
    for end in (end for method in methods for end in method.frozen_ends):
        getattr(model, end).requires_grad_(False)
    adapters = tuple(method.attach(model, context) for method in methods)
    tuned = TunedModel(model, adapters, tuple(methods))
    inside = set(model.parameters())
    trainer = dict.fromkeys(tuned._ends().values(), "every method")
    for method, adapter in zip(methods, tuned.adapters, strict=True):
        for name, parameter in adapter.dense_parameters().items():
            if parameter not in inside:
                raise ValueError(f"{method.name}: the parameter {name} lies outside of the model")
            if parameter in trainer:
                raise ValueError(f"{method.name}: the parameter {name} is trained by {trainer[parameter]}")
            trainer[parameter] = method.name
    tuned.dense_parameters()
    return tuned


def task_loss(
    task: Task,
    scale: Fields,
    device: torch.device,
    points: np.ndarray | None = None,
    forecasts: Forecasts | None = None,
) -> Callable[[Backbone, Batch], torch.Tensor]:
    """The loss of a model on a batch for a task.

    Of a batch with targets of later times it is that of a rollout (see ``training.rollout.Forecasts``).

    Args:
        task: gives the loss.
        scale: what the task's ``loss_scale`` gives.
        device: device of the model.
        points: grid points whose targets count, as positions in a flattened field; all by default.
        forecasts: makes the rollouts, for batches with later targets.
    """
    there = scale.to(device)
    places = None if points is None else torch.from_numpy(points).to(device)

    def counted(field: torch.Tensor) -> torch.Tensor:
        """``(..., latitude, longitude)`` as ``(..., 1, point)``."""
        return field if places is None else field.flatten(-2).index_select(-1, places).unsqueeze(-2)

    def error(prediction: Fields, target: Fields) -> torch.Tensor:
        return task.loss(prediction.map(counted), target.map(counted), there)

    def loss(model: Backbone, batch: Batch) -> torch.Tensor:
        if forecasts is None or not batch.later:
            return error(model(batch), batch.target)
        return forecasts.loss(model, batch, error)

    return loss
