"""SFAS at work: selection and update streamed through the backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import torch
from torch import nn

from weatherpeft.interfaces import Backbone, TuningContext
from weatherpeft.interfaces.method import Merge
from weatherpeft.peft.adapters.ranks import mean_over_ranks, several_ranks
from weatherpeft.peft.sfas.file_tensors import FileTensors
from weatherpeft.peft.sfas.gaps import coded, decoded
from weatherpeft.peft.sfas.noise import BLOCK, UniformNoise, reached_level
from weatherpeft.peft.sfas.normalizer import new_normalizer
from weatherpeft.peft.sfas.per_sample import GradientStream
from weatherpeft.peft.sfas.pool import EntrySet, Pool
from weatherpeft.peft.sfas.recompute import RecomputedActivations
from weatherpeft.peft.sfas.scores import Entries, new_score, warm_up
from weatherpeft.peft.sfas.selection import Selection
from weatherpeft.peft.sfas.smoothed_fisher import SmoothedFisher
from weatherpeft.peft.sfas.sparse_adam import SparseAdam
from weatherpeft.peft.sfas.spec import Sfas

CHUNK_ENTRIES = 2**20
"""Entries that the CPU scores at once, a multiple of the noise's blocks. It never changes the result."""
ACCELERATOR_CHUNKS = 16
"""Chunks of this size that other devices score at once, because each call costs more there."""
PARTS = 20
"""Equal parts of a run, in which ``SfasAdapter.updates`` counts."""
_FIRST = 32
"""Multiple of k up to which entries come in eighths of a chunk, because many of the first stay candidates."""


class SfasAdapter:
    """The ``Adapter`` of ``Sfas``.

    Each step follows ``accumulation`` backward passes, one by default. The last of them fills the selection
    parameter by parameter. None of them leaves a gradient behind. A parameter that they do not reach takes
    part with a gradient of zero. Each loss is a mean over a batch, divided by the number of passes; all
    batches have the same size. In a distributed run, all ranks make the same selection from the mean over
    the ranks.

    Memory beside the weights: the gradient and squares of one parameter, the candidates (a few k) and the
    optimizer's state (k). Files of a temporary directory: one bit per entry for what was ever touched; where
    ``beta > 0``, the smoothed Fisher information; where several backward passes precede a step, the sums of
    their gradients and squares, 4 bytes per entry each.
    """

    def __init__(self, spec: Sfas, model: Backbone, context: TuningContext) -> None:
        """Unfreeze the pool and listen to its gradients; see ``Sfas.attach``."""
        frozen = {
            name: parameter
            for name, parameter in model.backbone_parameters().items()
            if not parameter.requires_grad
        }
        if not frozen:
            raise ValueError("sfas: found no frozen backbone parameter, expected a pool to select from")
        self._spec = spec
        self._context = context
        self._pool = Pool(frozen)
        counted = list(frozen.values())
        if spec.count_of == "model":
            ends = (model.encoder.parameters(), model.decoder.parameters())
            counted = [*chain(*ends), *model.backbone_parameters().values()]
        total = sum(parameter.numel() for parameter in counted)
        self._k, self._budget = spec.entries(total, self._pool.size)
        self._fisher: SmoothedFisher | None = None
        if spec.needs_fisher and context.steps:
            start = warm_up(spec.score, context.fisher) if context.fisher else None
            self._fisher = SmoothedFisher(start, self._pool, spec.memory)
        self._score = new_score(spec.score, self._fisher)
        betas = context.betas if spec.betas is None else spec.betas
        decay = context.weight_decay if spec.weight_decay is None else spec.weight_decay
        self._optimizer = SparseAdam(self._pool, betas, spec.eps, decay)
        self._touched = EntrySet(self._pool.size)
        self._updates = torch.zeros(len(self._pool.parameters), min(PARTS, context.steps), dtype=torch.int64)
        if not context.steps:  # only to predict
            return
        for parameter in frozen.values():
            parameter.requires_grad_(True)
        self._sums = FileTensors("sfas-sums-")
        if context.accumulation > 1:
            for name, parameter in frozen.items():
                for kind in ("gradient", "square") if spec.needs_squares else ("gradient",):
                    self._sums.add(f"{name}.{kind}", parameter.numel(), self._pool.dtype)
        RecomputedActivations(model.backbone)
        self._stream = GradientStream(model.backbone, frozen, self._consume)
        self._begin(0)

    @property
    def selected(self) -> int:
        """k, the number of entries that each step updates."""
        return self._k

    @property
    def touched(self) -> int:
        """Number of entries that any step so far has updated: the size of the delta."""
        return len(self._touched)

    @property
    def selection(self) -> torch.Tensor:
        """Pool indices that the last step updated ``(k,)``, ascending."""
        return self._optimizer.index

    def dense_parameters(self) -> dict[str, nn.Parameter]:
        """None: this method makes its updates itself."""
        return {}

    def trainable_backbone(self) -> int:
        """k, the number of entries that a step updates."""
        return self._k

    def updates(self) -> dict[str, torch.Tensor]:
        """How many entries of each parameter the steps of each part of the run have updated ``(part,)``."""
        return dict(zip(self._pool.parameters, self._updates.clone(), strict=True))

    def squared_gradient_norm(self) -> float:
        """Sum of squares of the gradients that the next step uses."""
        _, gradient = self._chosen()
        return float(gradient.double().square().sum())

    def scale_gradients(self, factor: float) -> None:
        """Multiply the gradients that the next step uses, as clipping does."""
        self._chosen()[1].mul_(factor)

    def step(self, step: int, learning_rate: float) -> None:
        """Update the entries that the last backward passes select.

        Args:
            step: number of this step, from 0; no step may be left out.
            learning_rate: learning rate of this step.

        Raises:
            ValueError: another step is due, or no backward pass preceded.
            FloatingPointError: a gradient is not finite.
        """
        if step != self._step:
            raise ValueError(f"sfas: found step {step}, expected {self._step}")
        index, gradient = self._chosen()
        self._optimizer.update(index, gradient, learning_rate)
        if self._selection:
            self._touched.add(index)
        self._updates[:, step * self._updates.shape[1] // self._context.steps] += self._pool.count(index)
        self._begin(step + 1)

    def result(self) -> dict[str, torch.Tensor]:
        """The touched entries and their values, on the CPU.

        Returns:
            For every parameter with a touched entry, ``sfas.<parameter>.gaps``, its indices into the
            flattened parameter as ``gaps.coded`` gives them, and ``sfas.<parameter>.value``, in the
            parameter's type.
        """
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._pool.parameters.items():
            start = self._pool.start[name]
            index = self._touched.between(start, start + parameter.numel())
            if len(index):
                values = parameter.detach().view(-1)[index.to(parameter.device)]
                tensors[f"sfas.{name}.gaps"], tensors[f"sfas.{name}.value"] = coded(index), values.cpu()
        return tensors

    @torch.no_grad()
    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put a saved result on the pretrained weights.

        Raises:
            ValueError: a tensor does not belong to this pool, or an index comes without its value.
        """
        names = {key.removeprefix("sfas.").rsplit(".", 1)[0] for key in tensors}
        expected = {f"sfas.{name}.{part}" for name in names for part in ("gaps", "value")}
        if wrong := (expected ^ set(tensors)) | (names - self._pool.parameters.keys()):
            raise ValueError(f"sfas: result does not fit the pool at {', '.join(sorted(wrong))}")
        for name in names:
            try:
                index = decoded(tensors[f"sfas.{name}.gaps"]).to(self._pool.device)
            except ValueError as error:
                raise ValueError(f"sfas: entries of {name}: {error}") from error
            entries, values = self._pool.parameters[name].view(-1), tensors[f"sfas.{name}.value"]
            inside = bool(((index >= 0) & (index < len(entries))).all())
            if index.shape != values.shape or not inside:
                raise ValueError(
                    f"sfas: result names entries of {name} that are not among its {len(entries)}"
                )
            entries[index] = values.to(entries)
            self._touched.add(index + self._pool.start[name])

    def merge(self) -> dict[str, Merge]:
        """Nothing: the entries are those of pretrained parameters."""
        return {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What resuming needs beside the result: step, optimizer, counts and smoothed Fisher information.

        The last is not a copy, because it may be larger than memory. The next step changes it.
        """
        state = {
            f"sfas.{name}": tensor.to("cpu", copy=True)
            for name, tensor in self._optimizer.state_dict().items()
        }
        state["sfas.step"] = torch.tensor(self._step)
        state["sfas.updates"] = self._updates.clone()
        if self._fisher and self._spec.memory < 1:
            state |= {f"sfas.fisher.{name}": values for name, values in self._fisher.items()}
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put back what ``state_dict`` returned, after ``load_result``."""
        self._optimizer.load_state_dict({key.removeprefix("sfas."): value for key, value in state.items()})
        if self._fisher and self._spec.memory < 1:
            for name, values in self._fisher.items():
                values.copy_(state[f"sfas.fisher.{name}"])
        self._updates.copy_(state["sfas.updates"])
        self._begin(int(state["sfas.step"]))

    def _begin(self, step: int) -> None:
        """Wait for the backward passes of a step."""
        self._step = step
        self._arrived: dict[str, int] = {}
        self._update: tuple[torch.Tensor, torch.Tensor] | None = None
        self._selection: Selection | None = None
        spec = self._spec
        if spec.selects_at(step):
            annealed = spec.gamma * (1 - step / self._context.steps)
            self._noise_weight = annealed if spec.noise == "additive" else 0.0
            normalizer = new_normalizer(spec.normalizer, self._pool.size, spec.quantile)
            new = None if self._budget is None else self._budget - len(self._touched)
            level = reached_level(self._k, self._pool.size)
            self._selection = Selection(self._k, self._pool.size, self._noise_weight, normalizer, new, level)
        else:
            self._kept = {name: (own, local) for name, own, local in self._pool.locate(self.selection)}
            self._kept_gradient = torch.zeros(self._k, dtype=self._pool.dtype, device=self._pool.device)
        self._stream.squares = self._selection is not None and spec.needs_squares

    def _chosen(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The entries that the next step updates, and their gradients. No backward pass may follow."""
        if self._update:
            return self._update
        if not self._arrived:
            raise ValueError(
                f"sfas: found no gradient at step {self._step}, expected a backward pass before it"
            )
        if not self._selection:
            self._update = self.selection, mean_over_ranks(self._kept_gradient)
        else:
            for name in self._pool.parameters:
                self._complete(name)
            self._update = self._selection.finish()
        if not bool(self._update[1].isfinite().all()):
            raise FloatingPointError(f"sfas: a gradient at step {self._step} is not finite")
        return self._update

    def _complete(self, name: str) -> None:
        """Offer a parameter that not all backward passes of this step have reached."""
        number = self._arrived.get(name, 0)
        if number == self._context.accumulation:
            return
        entries, dtype = self._pool.parameters[name].numel(), self._pool.dtype
        kinds = ("gradient", "square") if self._stream.squares else ("gradient",)
        zeros = {kind: torch.zeros(entries, dtype=dtype, device=self._pool.device) for kind in kinds}
        self._offer(name, **({kind: self._sums[f"{name}.{kind}"] for kind in kinds} if number else zeros))

    @torch.no_grad()
    def _consume(self, name: str, gradient: torch.Tensor, square: torch.Tensor | None) -> None:
        """Take in the gradient of a parameter from one backward pass."""
        passes = self._context.accumulation
        number = self._arrived[name] = self._arrived.get(name, 0) + 1
        if number > passes or self._update:
            raise ValueError(
                f"sfas: found {number} gradients of {name} before step {self._step}, expected {passes}"
            )
        if self._step >= self._context.steps:
            raise ValueError(f"sfas: found a gradient after the last of {self._context.steps} steps")
        gradient = gradient.reshape(-1)
        if not self._selection:
            if name in self._kept:
                own, local = self._kept[name]
                self._kept_gradient[own] += gradient[local]
            return
        if square is None and self._stream.squares and (passes > 1 or several_ranks()):
            square = gradient.square()
        values = {"gradient": gradient}
        if square is not None:
            # A pass holds 1/passes of the loss: passes² of its squares, over the number of passes.
            values["square"] = square.reshape(-1) * passes if passes > 1 else square.reshape(-1)
        for kind, part in values.items() if passes > 1 else ():
            total = self._sums[f"{name}.{kind}"]
            values[kind] = (total.copy_(part) if number == 1 else total.add_(part.to(total))).to(part.device)
        if number == passes:
            self._offer(name, **values)

    def _offer(self, name: str, gradient: torch.Tensor, square: torch.Tensor | None = None) -> None:
        """Offer a parameter's entries to the selection, chunk by chunk."""
        assert self._selection
        spec, start, device = self._spec, self._pool.start[name], self._pool.device
        gradient = mean_over_ranks(gradient).to(device, self._pool.dtype)
        if square is not None:
            square = mean_over_ranks(square).to(device)
        weight = self._pool.parameters[name].detach().view(-1)
        entries = CHUNK_ENTRIES * (1 if device.type == "cpu" else ACCELERATOR_CHUNKS)
        if self._selection.seen < _FIRST * self._k:
            entries = max(BLOCK, entries // 8)
        for first in range(0, len(gradient), entries):
            chunk = slice(first, first + entries)
            part = gradient[chunk]
            own = None if not self._stream.squares else part.square() if square is None else square[chunk]
            count, at = len(part), start + first
            noise = None
            if self._noise_weight or spec.draws:
                noise = UniformNoise(self._context.seed, self._step, start, first, count, device)
            score = self._score(Entries(name, chunk, weight[chunk], part, own, noise))
            if spec.noise == "multiplicative":
                assert noise
                score = score * noise.values()
            known = None if self._budget is None else self._touched.mask(at, at + count).to(device)
            try:
                self._selection.offer(at, score, part, noise, known)
            except FloatingPointError as error:
                place = f"sfas: the gradient of {name} at step {self._step}"
                raise FloatingPointError(f"{place}: {error}") from error
