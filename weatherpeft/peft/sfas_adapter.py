"""SFAS at work: selection and update streamed through the backward pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import torch
from torch import nn

from weatherpeft.interfaces import Backbone, TuningContext
from weatherpeft.peft.fisher_store import read_fisher
from weatherpeft.peft.noise import uniform_noise
from weatherpeft.peft.per_sample import GradientStream
from weatherpeft.peft.pool import EntrySet, Pool
from weatherpeft.peft.selection import Selection
from weatherpeft.peft.sfas import Sfas
from weatherpeft.peft.sparse_adam import SparseAdam

CHUNK_ENTRIES = 2**15
"""Entries scored at once on the CPU, what fits a core's cache; never changes the result."""
ACCELERATOR_CHUNKS = 128
"""As many of them at once elsewhere, where each call costs more."""


class SfasAdapter:
    """The ``Adapter`` of ``Sfas``.

    One backward pass precedes each step: it fills the selection parameter by parameter and leaves no
    gradient behind. A parameter that it does not reach takes part with a gradient of zero.
    Gradient accumulation over several backward passes is refused, since it would need a dense sum.

    In memory beside the weights: one parameter's gradient and squares, the candidates (a few k), the
    optimizer's state (k) and one bit an entry for what was ever touched. The smoothed Fisher
    information of ``beta > 0`` lies in files of a temporary directory.
    """

    def __init__(self, spec: Sfas, model: Backbone, context: TuningContext) -> None:
        """Unfreeze the pool and register on its gradients; see ``Sfas.attach``."""
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
        counted = cast(nn.Module, model).parameters() if spec.count_of == "model" else frozen.values()
        self._k = round(spec.fraction * sum(parameter.numel() for parameter in counted))
        if not 1 <= self._k <= self._pool.size:
            raise ValueError(
                f"sfas: fraction {spec.fraction} of the {spec.count_of} selects {self._k} entries, "
                f"expected 1 to {self._pool.size}, the size of the pool"
            )
        self._fisher = self._fisher_files() if spec.needs_fisher and context.steps else {}
        self._optimizer = SparseAdam(self._pool, spec.betas, spec.eps, spec.weight_decay)
        self._touched = EntrySet(self._pool.size, self._pool.device)
        if not context.steps:  # only to predict
            return
        for parameter in frozen.values():
            parameter.requires_grad_(True)
        self._stream = GradientStream(model.backbone, frozen, self._consume)
        self._begin(0)

    @property
    def selected(self) -> int:
        """k, the entries updated at each step."""
        return self._k

    @property
    def touched(self) -> int:
        """Entries updated at any step so far: the size of the delta."""
        return len(self._touched)

    @property
    def selection(self) -> torch.Tensor:
        """Pool indices updated at the last step ``(k,)``, ascending."""
        return self._optimizer.index

    def dense_parameters(self) -> dict[str, nn.Parameter]:
        """None: every update of this method is its own."""
        return {}

    def trainable_backbone(self) -> int:
        """The k entries of a step."""
        return self._k

    def step(self, step: int, learning_rate: float) -> None:
        """Select from the last backward pass and update.

        Args:
            step: this step, from 0; steps come one after the other.
            learning_rate: of this step.

        Raises:
            ValueError: another step is due, or no backward pass came before.
        """
        if step != self._step:
            raise ValueError(f"sfas: found step {step}, expected {self._step}")
        if not self._arrived:
            raise ValueError(f"sfas: found no gradient at step {step}, expected a backward pass before it")
        for name in self._pool.parameters.keys() - self._arrived:
            zeros = torch.zeros_like(self._pool.parameters[name], dtype=self._pool.dtype)
            self._consume(name, zeros, zeros)
        index, gradient = self._selection.finish()
        self._optimizer.update(index, gradient, learning_rate)
        self._touched.add(index)
        self._begin(step + 1)

    def result(self) -> dict[str, torch.Tensor]:
        """The touched entries and their values, two tensors a parameter, on the CPU.

        Returns:
            ``sfas.<parameter>.index``, int64 in the flattened parameter, and
            ``sfas.<parameter>.value``, of every parameter with a touched entry.
        """
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._pool.parameters.items():
            start = self._pool.start[name]
            index = self._touched.between(start, start + parameter.numel())
            if len(index):
                tensors[f"sfas.{name}.index"] = index.cpu()
                tensors[f"sfas.{name}.value"] = parameter.detach().view(-1)[index].cpu()
        return tensors

    @torch.no_grad()
    def load_result(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put a saved result on the pretrained weights.

        Raises:
            ValueError: a tensor is not of this pool, or an index comes without its values.
        """
        names = {key.removeprefix("sfas.").rsplit(".", 1)[0] for key in tensors}
        expected = {f"sfas.{name}.{part}" for name in names for part in ("index", "value")}
        if wrong := (expected ^ set(tensors)) | (names - self._pool.parameters.keys()):
            raise ValueError(f"sfas: result does not fit the pool at {', '.join(sorted(wrong))}")
        for name in names:
            index = tensors[f"sfas.{name}.index"].to(self._pool.device)
            entries = self._pool.parameters[name].view(-1)
            entries[index] = tensors[f"sfas.{name}.value"].to(entries)
            self._touched.add(index + self._pool.start[name])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What resuming needs beside the result: the step, the optimizer's state, a smoothed Fisher."""
        state = {
            f"sfas.{name}": tensor.to("cpu", copy=True)
            for name, tensor in self._optimizer.state_dict().items()
        }
        state["sfas.step"] = torch.tensor(self._step)
        if self._spec.beta < 1:
            state |= {f"sfas.fisher.{name}": values.clone() for name, values in self._fisher.items()}
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on where ``state_dict`` was taken, after ``load_result``."""
        self._optimizer.load_state_dict({key.removeprefix("sfas."): value for key, value in state.items()})
        if self._spec.beta < 1:
            for name, values in self._fisher.items():
                values.copy_(state[f"sfas.fisher.{name}"])
        self._begin(int(state["sfas.step"]))

    def _begin(self, step: int) -> None:
        """Await the backward pass of a step."""
        self._step = step
        self._arrived: set[str] = set()
        annealed = self._spec.gamma * (1 - step / self._context.steps)
        self._noise_weight = annealed if self._spec.noise == "additive" else 0.0
        self._selection = Selection(self._k, self._pool.size, self._noise_weight, self._spec.normalizer)

    @torch.no_grad()
    def _consume(self, name: str, gradient: torch.Tensor, square: torch.Tensor) -> None:
        """Offer a parameter's entries to the selection, a chunk at a time."""
        if name in self._arrived:
            raise ValueError(f"sfas: found two gradients of {name} before step {self._step}, expected one")
        if self._step >= self._context.steps:
            raise ValueError(f"sfas: found a gradient after the last of {self._context.steps} steps")
        if not bool(square.isfinite().all()):
            raise ValueError(f"sfas: the gradient of {name} at step {self._step} is not finite")
        self._arrived.add(name)
        start, device = self._pool.start[name], self._pool.device
        flat_gradient, flat_square = gradient.reshape(-1), square.reshape(-1)
        entries = CHUNK_ENTRIES * (1 if device.type == "cpu" else ACCELERATOR_CHUNKS)
        for first in range(0, len(flat_square), entries):
            chunk = slice(first, first + entries)
            fisher = self._smooth(name, chunk, flat_square[chunk])
            if self._noise_weight:
                seed, count = self._context.seed, len(fisher)
                uniform = uniform_noise(seed, self._step, start + first, count, device)
            else:
                uniform = torch.zeros_like(fisher, dtype=torch.float32)
            self._selection.offer(start + first, fisher, uniform, flat_gradient[chunk].to(self._pool.dtype))

    def _smooth(self, name: str, chunk: slice, square: torch.Tensor) -> torch.Tensor:
        """F_t of a chunk, from F_{t−1} in its file and this batch's squares."""
        if not self._fisher:
            return square
        stored = self._fisher[name][chunk]
        if self._spec.beta < 1:
            stored.mul_(self._spec.beta).add_(square.to(stored), alpha=1 - self._spec.beta)
        return stored.to(square)

    def _fisher_files(self) -> dict[str, torch.Tensor]:
        """The warm-up's estimate in file-backed float32 tensors ``(entry,)``, by parameter."""
        if self._context.fisher is None:
            raise ValueError(f"sfas: beta = {self._spec.beta} needs the Fisher warm-up's store, found none")
        self._directory = TemporaryDirectory(prefix="sfas-")
        files: dict[str, torch.Tensor] = {}
        for name, values in read_fisher(self._context.fisher):
            if name not in self._pool.parameters:
                continue
            expected = self._pool.parameters[name].shape
            if values.shape != expected:
                found = f"{tuple(values.shape)}, expected {tuple(expected)}"
                raise ValueError(f"sfas: Fisher information of {name} has shape {found}")
            path = Path(self._directory.name) / str(len(files))
            files[name] = torch.from_file(str(path), shared=True, size=values.numel(), dtype=torch.float32)
            files[name].copy_(values.reshape(-1))
        if missing := self._pool.parameters.keys() - files.keys():
            raise ValueError(f"sfas: the Fisher warm-up's store lacks {min(missing)}")
        return files
