"""Methods on an upstream Aurora that a user has built, in a training loop of the user's own."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import aurora
import torch
from pydantic import TypeAdapter, ValidationError
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointWrapper

from weatherpeft import __version__
from weatherpeft.backbones.aurora.checkpoint import fold_lora
from weatherpeft.backbones.aurora.parts import AuroraParts
from weatherpeft.config_errors import error_lines
from weatherpeft.interfaces import Backbone, PeftMethod, TuningContext
from weatherpeft.peft import AnyMethods
from weatherpeft.spec import check_plain
from weatherpeft.training.fisher import estimate_fisher
from weatherpeft.training.loop import clip
from weatherpeft.training.memory import save_memory
from weatherpeft.training.optimizer import learning_rate, optimizer_of, parameter_groups
from weatherpeft.training.spec import Precision, Training
from weatherpeft.training.tuning import FISHER, TunedModel
from weatherpeft.training.tuning import attach as attach_methods
from weatherpeft.tuned.config import FORMAT, LoopConfig, files_of
from weatherpeft.tuned.layout import check_files, new_folder, read_tuned, write_config, write_tuned
from weatherpeft.tuned.names import HfNames

Sample = TypeVar("Sample")
Methods = Sequence[str | Mapping[str, Any] | PeftMethod]
"""Methods by name, as in a configuration, or as specs."""


class OwnLoop:
    """What a training loop of one's own calls; ``attach`` makes it.

    Attributes:
        tuned: the model with its methods.
        training: schedule, weight decay and betas.
        names: names of what was tuned in a saved folder.
    """

    def __init__(self, tuned: TunedModel, training: Training, steps: int, names: HfNames) -> None:
        self.tuned, self.training, self.names = tuned, training, names
        self._steps, self._done = steps, 0
        self._dense = tuned.dense_parameters()
        self._peaks = tuned.peaks(training.learning_rate)

    @property
    def done(self) -> int:
        """Number of steps so far."""
        return self._done

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for an optimizer of one's own.

        Each has ``params``, ``lr``, ``weight_decay`` and, for ``schedule``, ``peak``, its largest learning
        rate. Methods may have one of their own. Biases and norms have no weight decay.
        """
        return parameter_groups(self._dense, self.training, self._peaks.dense)

    def optimizer(self) -> torch.optim.AdamW:
        """The optimizer of the workflow: AdamW on these groups."""
        return optimizer_of(self._dense, self.training, self._peaks.dense)

    def schedule(self, optimizer: torch.optim.Optimizer) -> None:
        """Set the learning rates of the next step: linear warm-up, then cosine to 0, as in the workflow."""
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(self.training, self._done, group["peak"])

    def clip(self, largest: float) -> None:
        """Scale the gradients down if their norm, as one vector over all parameters, exceeds ``largest``."""
        clip(self._dense.values(), self.tuned.adapters, largest)

    def step(self, rate: float | None = None) -> None:
        """Update what the methods update by themselves. Call it once per step, after the optimizer's step.

        Args:
            rate: learning rate of this step; by default that of the schedule. A method with a peak of its own
                takes it in proportion.

        Raises:
            ValueError: all steps are done.
            FloatingPointError: a gradient is not finite.
        """
        if self._done >= self._steps:
            raise ValueError(f"all {self._steps} steps are done; attach the methods with more steps")
        for adapter, peak in zip(self.tuned.adapters, self._peaks.adapters, strict=True):
            scheduled = learning_rate(self.training, self._done, peak)
            adapter.step(self._done, scheduled if rate is None else rate * peak / self.training.learning_rate)
        self._done += 1

    def save(self, folder: Path | str) -> None:
        """Write what was tuned, and nothing of what is pretrained, as an adapter's folder.

        Of the methods of HF peft itself, ``peft`` loads the weights too.

        Args:
            folder: new folder, which appears when it is complete.

        Raises:
            ValueError: there is something already.
        """
        methods = tuple(_plain(method) for method in self.tuned.methods)
        with new_folder(Path(folder)) as draft:
            write_tuned(self.tuned.result(), self.names, draft)
            write_config(LoopConfig(format=FORMAT, version=__version__, methods=methods), self.names, draft)

    def load(self, folder: Path | str) -> None:
        """Put back what ``save`` or the workflow wrote, with the same methods on the same pretrained weights.

        Args:
            folder: adapter's folder.

        Raises:
            ValueError: it is none, a file is not as it was written, or what it holds does not fit, and where.
        """
        place = Path(folder)
        files = files_of(place)
        check_files(place, files)
        self.tuned.load_result(read_tuned(place, files, lambda: self.names))

    def state_dict(self) -> dict[str, Any]:
        """All that a training needs to go on beside the optimizer's state."""
        return {
            "done": self._done,
            "dense": {name: parameter.detach().clone() for name, parameter in self._dense.items()},
            "adapters": [
                {"result": adapter.result(), "state": adapter.state_dict()} for adapter in self.tuned.adapters
            ],
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what ``state_dict`` returned.

        Raises:
            ValueError: it is of other methods.
        """
        if state["dense"].keys() != self._dense.keys() or len(state["adapters"]) != len(self.tuned.adapters):
            raise ValueError("the state is not of these methods: it holds other parameters")
        for name, parameter in self._dense.items():
            parameter.copy_(state["dense"][name])
        for adapter, own in zip(self.tuned.adapters, state["adapters"], strict=True):
            adapter.load_result(own["result"])
            adapter.load_state_dict(own["state"])
        self._done = int(state["done"])


def attach(
    model: aurora.Aurora,
    methods: Methods,
    *,
    steps: int,
    learning_rate: float = 1e-3,
    warmup_steps: int = 0,
    accumulation: int = 1,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.999),
    precision: Precision = "float32",
    recompute: bool = False,
    fisher: Path | str | None = None,
    seed: int = 0,
) -> OwnLoop:
    """Attach methods to an upstream Aurora, in place. It is called as before.

    The backbone is frozen except for what the methods train; encoder and decoder are trained in full, unless
    a method freezes them. A LoRA of upstream's own is folded into the weights first.

    Args:
        model: with its weights loaded and on its device.
        methods: in the order in which they are attached.
        steps: number of optimizer steps; 0 for a model that only predicts.
        learning_rate: peak of the schedule, where a method has none of its own.
        warmup_steps: steps of linear warm-up from 0.
        accumulation: backward passes before each step, each of a loss divided by their number.
        weight_decay: decoupled weight decay of matrices.
        betas: AdamW's decay rates.
        precision: number format of the backbone.
        recompute: whether blocks are computed again in the backward pass, to save memory.
        fisher: folder of the workflow's Fisher stage or of ``fisher``, if a method needs it.
        seed: of all that methods draw at random.

    Raises:
        ValueError: a method or a number is refused as in a configuration, or the model is no upstream Aurora.
    """
    parsed = _parsed(methods)
    values: dict[str, Any]
    values = {"learning_rate": learning_rate, "warmup_steps": warmup_steps, "accumulation": accumulation}
    values |= {"weight_decay": weight_decay, "betas": betas, "precision": precision, "recompute": recompute}
    try:
        training = Training.parse({"steps": max(steps, 1), "batch_size": accumulation, **values})
    except ValidationError as error:
        raise ValueError("; ".join(error_lines(error))) from error
    needing = [method.name for method in parsed if method.needs_fisher and steps]
    if needing and fisher is None:
        raise ValueError(
            f"{needing[0]} needs the Fisher information: give fisher=, a folder that fisher() wrote"
        )
    store = None if fisher is None else Path(fisher)
    if store is not None and (store / FISHER).is_dir():
        store = store / FISHER
    parts = _parts(model)
    names = HfNames(parsed, lambda: parts, seed)  # of the model as it is without methods
    context = TuningContext(steps, seed, store, accumulation, weight_decay, betas)
    tuned = attach_methods(parts, parsed, context)
    if precision != "float32" or recompute:
        save_memory(parts, precision, recompute)
    return OwnLoop(tuned, training, steps, names)


def fisher(
    model: aurora.Aurora,
    samples: Iterable[Sample],
    loss: Callable[[aurora.Aurora, Sample], torch.Tensor],
    output: Path | str,
) -> Path:
    """Estimate the Fisher information that ``sfas`` may start from. Call it before ``attach``.

    Args:
        model: with its weights loaded and on its device; its weights stay as they are.
        samples: calibration samples or batches of them.
        loss: loss of the model on one of them, the mean over a batch.
        output: new folder.

    Returns:
        The folder, for ``attach(…, fisher=…)``.

    Raises:
        ValueError: there is no sample, a gradient is not finite, or all are zero.
    """
    parts, folder = _parts(model), Path(output)
    folder.mkdir(parents=True, exist_ok=True)

    def own(_: Backbone, sample: Any) -> torch.Tensor:
        return loss(model, sample)

    estimate_fisher(parts, cast(Any, samples), own, folder / FISHER)
    return folder


def _plain(method: str | Mapping[str, Any] | PeftMethod) -> dict[str, Any]:
    """A method as a YAML reader returns it."""
    if isinstance(method, PeftMethod):
        return method.model_dump(mode="json", exclude_unset=True)
    return {"name": method} if isinstance(method, str) else dict(method)


def _parsed(methods: Methods) -> tuple[PeftMethod, ...]:
    values = [_plain(method) for method in methods]
    check_plain(values)
    try:
        parsed: tuple[PeftMethod, ...] = TypeAdapter(AnyMethods).validate_json(json.dumps(values))
    except ValidationError as error:
        raise ValueError("; ".join(f"methods: {line}" for line in error_lines(error))) from error
    return parsed


def _parts(model: aurora.Aurora) -> Backbone:
    """The parts that methods work on.

    Raises:
        ValueError: it is no upstream Aurora, methods are attached already, or its modules are wrapped.
    """
    if not isinstance(model, aurora.Aurora):
        raise ValueError(f"expected an aurora.Aurora of the upstream package, found {type(model).__name__}")
    if any(isinstance(module, CheckpointWrapper) for module in model.modules()):
        raise ValueError(
            "the model's modules are wrapped: use recompute=True, not configure_activation_checkpointing"
        )
    fold_lora(model)
    return cast(Backbone, AuroraParts(model))
